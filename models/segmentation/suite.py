"""The networks of a segmentation: one for each task and axis, in a folder.

    FOLDER/lung/z.safetensors   FOLDER/lung/z.card.json   ...   FOLDER/infection/x.safetensors

A .safetensors file holds the integer network under "network" (compressed as .xz) and the float weights beside it, in
half precision: the integer network was made from those very numbers. The suite that comes with CrypDoc is `BUILT_IN`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.segmentation.card import SegCard
from models.segmentation.plan import AXES, TASKS, Plan
from models.zoo import WEIGHTS, unpacked
from protocols.blind.network import Network
from protocols.case.volume import suite_identity
from protocols.errors import CrypDocError, UserError

if TYPE_CHECKING:
    from models.networks.unet import UNet

BUILT_IN = WEIGHTS / "chest-ct"
NAME = "chest-ct-suite"
_MAX_CARD_BYTES = 64 * 1024
_REMEDY = "name a folder with lung/ and infection/ in it, each with x, y, z .safetensors and their .card.json"


@dataclass(frozen=True)
class SegNetwork:
    """One network of a suite: its file, its card, its integer form for the card's side."""

    path: Path
    card: SegCard
    network: Network

    def at(self, side: int) -> Network:
        """The integer network for images of another side: the same weights; its hash differs, as its shape does."""
        if side == self.card.side:
            return self.network
        top = self.network.topology
        resized = replace(top, input_shape=(top.input_shape[0], side, side))
        salt = hashlib.blake2b(self.network.encode(), digest_size=32, person=b"crypdoc/side").digest()
        return Network(resized, self.network.weights, self.network.biases, salt)

    def plain(self) -> UNet:
        """The float network, as it was before quantisation. Raises `UserError` on a damaged file."""
        from safetensors.torch import load

        from models.networks.unet import UNet

        try:
            state = load(self.path.read_bytes())
            module = UNet(self.card.slices, **self.card.architecture)
            found = module.load_state_dict(
                {name: value.float() for name, value in state.items() if name != "network"}, strict=False
            )
            if found.unexpected_keys or any(
                not key.endswith("num_batches_tracked") for key in found.missing_keys
            ):
                raise ValueError("weights are missing, or are of another network")
        except Exception as error:
            raise UserError(f"the float weights in {self.path.name} are damaged", _REMEDY) from error
        return module.eval()


@dataclass(frozen=True)
class Suite:
    """name: for people. networks: by (task, axis); not every axis need be there."""

    name: str
    networks: Mapping[tuple[str, str], SegNetwork]

    @property
    def axes(self) -> str:
        """The axes for which both tasks have a network."""
        return "".join(a for a in AXES if all((task, a) in self.networks for task in TASKS))

    @property
    def identity(self) -> bytes:
        """32 public bytes that name the suite on chain; see `suite_identity`."""
        return suite_identity(
            {place: bytes.fromhex(one.card.network_hash) for place, one in self.networks.items()}
        )

    def of(self, plan: Plan, sweep: int) -> SegNetwork:
        """The network of one sweep. Raises `UserError` where the suite has none for it."""
        wanted = plan.sweeps[sweep]
        found = self.networks.get((wanted.task, wanted.axis))
        if found is None:
            raise UserError(
                f"the suite {self.name} has no network for {wanted.task} along {wanted.axis}",
                f"choose axes among {self.axes or 'those of another suite'}",
            )
        return found


def load_suite(folder: str | Path | None = None, infection: Path | None = None) -> Suite:
    """The networks in a folder, by default those that come with CrypDoc.

    infection: where lung and infection lie in folders of their own, as BUNET keeps them; `folder` is the lung's then.
    Raises `UserError`: no such folder, nothing in it, a damaged file, a card that belongs to another network.
    """
    if folder is None or (str(folder) == NAME and not Path(folder).is_dir()):
        root = {task: BUILT_IN / task for task in TASKS}
        name = NAME
    elif infection is not None:
        root, name = {"lung": Path(folder), "infection": infection}, infection.resolve().parent.name
    else:
        root, name = {task: Path(folder) / task for task in TASKS}, Path(folder).resolve().name
    found: dict[tuple[str, str], SegNetwork] = {}
    for task, place in root.items():
        if not place.is_dir():
            raise UserError(f"there is no folder of networks {place}", _REMEDY)
        for axis in AXES:
            if (file := place / f"{axis}.safetensors").is_file():
                found[task, axis] = load_one(file, task, axis)
    suite = Suite(name, found)
    if not suite.axes:
        raise UserError(f"no axis has a network for both lung and infection in {name}", _REMEDY)
    return suite


def load_one(path: Path, task: str, axis: str) -> SegNetwork:
    """One network of a suite. Raises `UserError` as `load_suite` does."""
    from safetensors.numpy import load

    beside = path.with_name(f"{axis}.card.json")
    try:
        if beside.stat().st_size > _MAX_CARD_BYTES:
            raise UserError(f"the card {beside} is too long", _REMEDY)
        card = SegCard.from_json(beside.read_text(encoding="utf-8"))
        stored = np.asarray(load(path.read_bytes())["network"], dtype=np.uint8).tobytes()
        network = Network.decode(unpacked(stored))
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read ({error.strerror})", _REMEDY) from error
    except UserError:
        raise
    except (Exception, CrypDocError) as error:  # the safetensors parser has its own, undeclared errors
        raise UserError(f"the network file {path} is damaged or not a CrypDoc network", _REMEDY) from error
    shape = (card.slices, card.side, card.side)
    if card.network_hash != network.network_hash().hex() or network.topology.input_shape != shape:
        raise UserError(f"{path} and its card do not belong together", _REMEDY)
    if (card.task, card.axis) != (task, axis):
        raise UserError(
            f"{path} is a network for {card.task} along {card.axis}", f"put it where {task} and {axis} say"
        )
    return SegNetwork(path, card, network)
