"""The C kernels; sizes are checked (ValueError), types are not: see `native.py` for what the buffers hold."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
Clip: TypeAlias = tuple[int, int, int, int, int]

LAYOUT: int

def levels() -> list[int]: ...
def conv(level: int, wide: bool, sizes: tuple[int, ...], weights: Buffer, /) -> object: ...
def conv_apply(conv: object, images: int, x: Buffer, out: Buffer, /) -> None: ...
def grouped(
    level: int, sizes: tuple[int, ...], images: int, weights: Buffer, x: Buffer, out: Buffer, /
) -> None: ...
def transposed(conv: object, sizes: tuple[int, ...], images: int, x: Buffer, out: Buffer, /) -> None: ...
def scale(images: int, channels: int, pixels: int, weights: Buffer, x: Buffer, out: Buffer, /) -> None: ...
def pack(level: int, width: int, words: Buffer, /) -> bytes: ...
def unpack(level: int, width: int, data: Buffer, out: Buffer, /) -> None: ...
def clip_open(
    level: int, clip: Clip, index: Buffer, data: Buffer, z0: Buffer, p: Buffer, opened: Buffer, /
) -> bytes: ...
def clip_answer(
    level: int, clip: Clip, index: Buffer, data: Buffer, message: Buffer, wire: Buffer, /
) -> bytes: ...
def clip_close(
    level: int, clip: Clip, index: Buffer, data: Buffer, opened: Buffer, reply: Buffer, out: Buffer, /
) -> None: ...
def clip_deal(
    level: int,
    clip: Clip,
    index: Buffer,
    data: Buffer,
    fresh: Buffer,
    made_index: Buffer,
    made_data: Buffer,
    /,
) -> None: ...
