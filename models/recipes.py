"""How each committed network is trained: `models.train` follows these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from models.compile import Settings
from models.train_augment import Augment
from models.train_export import CALIBRATION
from models.train_loop import Plan

_SKIN = Augment(
    any_way=True, zoom=(-0.25, 0.08), stretch=0.05, gain=0.1, offset=0.08, tint=0.04, blur=0.15, shift=0.05
)
_TRANSFER = Plan(body=0.5, decay=0.05, frozen=6)


@dataclass(frozen=True)
class Recipe:
    """One committed network. subject: whose pictures it learns from, a key of `models.train.SUBJECTS`.

    share: of the teacher's probability in the target, the rest being the label (Hinton 2015); 0 for no teacher.
    rounded_epochs: how many epochs, the last ones, feel activations of `rounded_bits` bits (`models.qat`).
    refine: a second training after the first, all of whose epochs feel them.
    roundings: runs of the integer network on each picture held out, each with its own stochastic rounding.
    calibration: pictures on which the compiler measures activations; what is larger than on these is cut.
    source: side at which pictures are held before they are cropped at random to the network's own.
    """

    name: str
    architecture: str
    subject: str
    plan: Plan
    dropout: float = 0.3
    share: float = 0.0
    source: int | None = None
    rounded_epochs: int = 0
    refine: Plan | None = None
    rounded_bits: int = 8
    settings: Settings = field(default_factory=Settings)
    calibration: int = CALIBRATION
    roundings: int = 3


RECIPES = {
    made.name: made
    for made in (
        Recipe("LeNet", "LeNet", "brain", Plan(epochs=60, draws=3), dropout=0.5, share=0.7),
        Recipe("BigLeNet", "BigLeNet", "brain", Plan(epochs=60, draws=3), dropout=0.5, share=0.7),
        Recipe("ResNet18", "ResNet18", "brain", Plan(epochs=30, draws=3, decay=0.05), share=0.7),
        Recipe(
            "EfficientNet-Lite0",
            "EfficientNet-Lite0",
            "brain",
            replace(_TRANSFER, epochs=10, draws=3, rate=1e-3, mixup=0.3),
            refine=replace(_TRANSFER, epochs=3, draws=2, rate=3e-4, mixup=0.2),
            settings=Settings(low_bits=9),
            share=0.5,
            roundings=1,
        ),
        Recipe(
            "EfficientNet-Lite0-skin",
            "EfficientNet-Lite0",
            "skin",
            replace(_TRANSFER, epochs=10, rate=2e-3, mixup=0.2, average=0.99, side_share=0.5, augment=_SKIN),
            source=192,
            rounded_epochs=3,
            settings=Settings(low_bits=10),
            calibration=320,
            roundings=1,
        ),
    )
}
