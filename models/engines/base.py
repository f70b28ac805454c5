"""One interface to every engine: the same network, the same call, the same report.

    with make_engine("blind", network) as engine:
        told = engine.predict(images)

| engine | who learns what | for |
|---|---|---|
| `blind` | patient the logits, model the bucket, dealer nothing | use |
| `crypten` | patient the logits, provider nothing; generators and sockets are CrypTen's own | comparison |
| `plain` | whoever runs it: everything | comparison |

An engine's module is imported when it is asked for: CrypTen is an optional extra.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from protocols.blind.network import Network
from protocols.blind.topology import Topology
from protocols.errors import UserError

ENGINES = {
    "blind": "models.engines.blind:BlindEngine",
    "crypten": "models.engines.crypten:CryptenEngine",
    "plain": "models.engines.plain:PlainEngine",
}
WITHOUT_DEALER = "models.engines.dealerless:DealerlessEngine"
DEALERS = ("local", "none")  # of the blind engine: a third process, or patient and model alone (extra `he`)


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer took, online. bytes: both ways, between patient and model."""

    name: str
    seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an engine says of a batch of n images.

    logits: (n, L), real units. bucket: each image's confidence bucket, None where the network has none.
    seconds: online, for the batch, from the image to the opened logits. seconds_ahead: what was done before the
    image was there. bytes_online: both ways, between patient and model. bytes_ahead: correlated randomness, to
    whomever it was sent. rounds: messages that had to be waited for. layers: where the time went; may be empty.
    """

    logits: NDArray[np.float64]
    bucket: tuple[int, ...] | None
    seconds: float
    seconds_ahead: float
    bytes_online: int
    bytes_ahead: int
    rounds: int
    layers: tuple[LayerCost, ...] = ()


class Engine(Protocol):
    """One network, ready to be asked; a context manager that closes itself."""

    name: str

    def predict(self, images: NDArray[np.int8]) -> Prediction:
        """The logits of images (n, C, H, W), integers within the topology's input range.

        Raises `UserError` for images of another shape or range, and when the engine cannot run.
        """

    def close(self) -> None:
        """End its processes and free what it holds; safe to repeat."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing:
    """`with` for an engine that has a `close`."""

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_engine(name: str, network: Network, dealer: str = "local") -> Engine:
    """The engine of that name, for that network. dealer: a word of `DEALERS`; only `blind` works without one.

    Raises `UserError` for a name that is not in `ENGINES`, and for an engine whose extra is not installed.
    """
    check_engine(name, dealer)
    place = WITHOUT_DEALER if dealer == "none" else ENGINES[name]
    module, _, kind = place.partition(":")
    return cast(Engine, getattr(importlib.import_module(module), kind)(network))


def check_engine(name: str, dealer: str = "local") -> None:
    """Raises `UserError` for a choice that there is not."""
    if name not in ENGINES:
        raise UserError(f"there is no engine {name!r}", "choose one of " + ", ".join(ENGINES))
    if dealer not in DEALERS:
        raise UserError(f"there is no dealer {dealer!r} here", "choose one of " + ", ".join(DEALERS))
    if dealer == "none" and name != "blind":
        raise UserError("only the blind engine works without a dealer", "choose --engine blind")


def check_images(topology: Topology, images: NDArray[np.int8]) -> None:
    """Raises `UserError` unless the images are a batch that this network takes."""
    c, h, w = topology.input_shape
    if images.ndim != 4 or images.shape[1:] != (c, h, w) or not len(images):
        raise UserError(
            f"the network takes images of shape (n, {c}, {h}, {w}), n at least 1, and got {images.shape}",
            "prepare the images for this network",
        )
    if images.dtype != np.int8:
        raise UserError(f"the network takes int8 images and got {images.dtype}", "prepare the images for it")
    if images.min() < topology.input_low or images.max() > topology.input_high:
        raise UserError(
            f"an image leaves {topology.input_low}..{topology.input_high}, the network's input range",
            "prepare the images for this network",
        )


def buckets(topology: Topology, logits: NDArray[np.float64]) -> tuple[int, ...] | None:
    """The confidence bucket of each image, from real logits (n, L): how many thresholds |logit|, or the distance of
    two, reaches. None where the network has no thresholds."""
    if not topology.thresholds:
        return None
    opened = logits / topology.logit_scale
    margins = np.abs(opened[:, 0] if opened.shape[1] == 1 else opened[:, 0] - opened[:, 1])
    return tuple(int(sum(margin >= t for t in topology.thresholds)) for margin in margins)
