"""From a trained U-Net to the files of a suite."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from models.compile import Compiled, Settings, compile_network
from models.networks.unet import UNet
from models.segmentation.card import SegCard
from protocols.blind.network import Network

INPUT_SCALE = 1 / 127  # real value of one grey step
SETTINGS = Settings(low_bits=8)


def halved(module: UNet) -> UNet:
    """The network with weights as half precision holds them: what is stored, and what is compiled."""
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(value.half().float())
    return module.eval()


def integer(module: UNet, images: NDArray[np.int8], settings: Settings = SETTINGS) -> Compiled:
    """The network compiled. images: of the training volumes, int8 (n, 5, side, side), on which activations are seen.
    Raises `UserError` where no scales make it provable."""
    plain = module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return compile_network(plain, torch.from_numpy(images).float() * INPUT_SCALE, INPUT_SCALE, (), settings)


def encode(module: UNet, network: Network) -> bytes:
    """The bytes of a .safetensors file; see `suite.py`."""
    tensors: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(value.half().numpy())
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    tensors["network"] = np.frombuffer(lzma.compress(network.encode(), preset=9), dtype=np.uint8)
    made: bytes = save(tensors)
    return made


def write(folder: Path, card: SegCard, module: UNet, network: Network) -> None:
    """Both files of one network, the weights first: a card without them is refused."""
    place = folder / card.task
    place.mkdir(parents=True, exist_ok=True)
    for name, data in (
        (f"{card.axis}.safetensors", encode(module, network)),
        (f"{card.axis}.card.json", card.to_json().encode()),
    ):
        part = place / f"{name}.part"
        part.write_bytes(data)
        part.replace(place / name)
