"""Gradient descent as every network here is trained: seeded by epoch, averaged, and able to go on after a stop.

All chance in epoch e comes from (seed, e) alone, so a run that was killed and resumed after any epoch ends in
the same weights as one that was not. What is kept is the exponential moving average of the weights (Polyak 1992,
decay warmed up), with batch norm's statistics measured anew for it on the training images.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from models.networks.backbone import Backbone
from models.train_augment import Augment, augmented, plain

_WARM = 0.1  # part of the steps over which the rate rises
_BATCHES_FOR_NORM = 30
_CLIP = 5.0  # largest norm of a step's gradient


@dataclass(frozen=True)
class Plan:
    """How to train. rate: the largest learning rate; the layers before the last take `body` times that.

    mixup: Beta parameter (Zhang 2018), 0 for none. smoothing: of the labels. average: decay of the moving average.
    side_share: weight of the side task (`Lessons.side`) in the loss. frozen: leading layers that stay as they are.
    """

    epochs: int = 30
    batch: int = 32
    rate: float = 2e-3
    body: float = 1.0
    decay: float = 0.02
    mixup: float = 0.4
    smoothing: float = 0.05
    average: float = 0.98
    side_share: float = 0.0
    frozen: int = 0
    draws: int = 1  # how often an epoch meets each picture
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True)
class Material:
    """What is learnt from. images: int8 (n, variants, channels, S, S), S at least the network's side.

    targets: float32 (n, variants, outputs) probabilities (one output: of the second class; else of each class).
    side: int64 (n,) class of a side task, whose logits follow the outputs, or None.
    """

    images: NDArray[np.int8]
    targets: NDArray[np.float32]
    side: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images)


class Trainer:
    """A network in training; `epoch()` goes one on, `state()` and `restore()` carry it over a stop."""

    def __init__(self, network: Backbone, side: int, material: Material, plan: Plan, seed: int) -> None:
        self.network, self.side, self.material, self.plan, self.seed = network, side, material, plan, seed
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for layer in list(network.layers)[: plan.frozen]:
            layer.requires_grad_(False)
        last = set(network.last.parameters())
        body = [p for p in network.parameters() if p.requires_grad and p not in last]
        self._optimiser = torch.optim.AdamW(
            [{"params": body, "share": plan.body}, {"params": list(last), "share": 1.0}],
            plan.rate,
            weight_decay=plan.decay,
        )
        self._average = copy.deepcopy(network)
        self.done = 0
        self.steps_an_epoch = max(1, math.ceil(len(material) * plan.draws / plan.batch))

    def epoch(self, on_step: Callable[[], None] = lambda: None) -> float:
        """One pass over the pictures; the mean loss."""
        torch.manual_seed(self.seed * 100_003 + self.done)
        rng = np.random.default_rng([self.seed, self.done])
        self._learning_mode()
        losses = []
        for at, (images, targets, side) in enumerate(self._batches(rng)):
            self._set_rate(self.done * self.steps_an_epoch + at)
            loss = self._loss(images, targets, side)
            self._optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
            self._optimiser.step()
            self._follow(self.done * self.steps_an_epoch + at)
            losses.append(float(loss.detach()))
            on_step()
        self.done += 1
        return float(np.mean(losses))

    def result(self) -> Backbone:
        """The averaged network, its batch norm measured for it, in evaluation mode; training can go on after it."""
        made = copy.deepcopy(self._average)
        norms = [
            m
            for layer in list(made.layers)[self.plan.frozen :]
            for m in layer.modules()
            if isinstance(m, nn.BatchNorm2d)
        ]
        if norms:
            made.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over all batches
                norm.train()
            torch.manual_seed(self.seed)
            rng = np.random.default_rng([self.seed, 1 << 20])
            with torch.no_grad():
                for at, (images, _, _) in enumerate(self._batches(rng, mixed=False)):
                    made(images)
                    if at + 1 >= _BATCHES_FOR_NORM:
                        break
        return made.eval()

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on, in torch's and Python's own types."""
        return {
            "done": self.done,
            "network": self.network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state()` gave."""
        self.network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.done = int(state["done"])

    def _learning_mode(self) -> None:
        self.network.train()
        for layer in list(self.network.layers)[: self.plan.frozen]:
            layer.eval()

    def _set_rate(self, step: int) -> None:
        """Cosine to zero after a linear rise."""
        part = step / (self.plan.epochs * self.steps_an_epoch)
        height = (
            part / _WARM if part < _WARM else 0.5 * (1 + math.cos(math.pi * (part - _WARM) / (1 - _WARM)))
        )
        for group in self._optimiser.param_groups:
            group["lr"] = self.plan.rate * group["share"] * max(height, 1e-3)

    def _follow(self, step: int) -> None:
        keep = min(self.plan.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(self._average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
            for kept, current in zip(self._average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(current)

    def _loss(self, images: torch.Tensor, targets: torch.Tensor, side: torch.Tensor | None) -> torch.Tensor:
        logits = self.network(images)
        outputs = targets.shape[1]
        main = logits[:, :outputs]
        smooth = self.plan.smoothing
        if outputs == 1:
            loss = binary_cross_entropy_with_logits(main, targets * (1 - smooth) + smooth / 2)
        else:
            loss = cross_entropy(main, targets * (1 - smooth) + smooth / outputs)
        if side is not None:
            loss = loss + self.plan.side_share * cross_entropy(logits[:, outputs:], side)
        return loss

    def _batches(
        self, rng: np.random.Generator, mixed: bool = True
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """Each picture `draws` times in random order, one of its variants each time."""
        material, plan = self.material, self.plan
        order = np.concatenate([rng.permutation(len(material)) for _ in range(plan.draws)])
        for chosen in np.array_split(order, self.steps_an_epoch):
            variant = rng.integers(0, material.images.shape[1], len(chosen))
            images = augmented(material.images[chosen, variant], self.side, plan.augment, rng)
            targets = torch.from_numpy(material.targets[chosen, variant])
            side = None
            if material.side is not None:
                kinds = int(material.side.max()) + 1
                side = torch.eye(kinds)[torch.from_numpy(material.side[chosen])]
            if mixed and plan.mixup > 0:
                share = float(rng.beta(plan.mixup, plan.mixup))
                other = torch.from_numpy(rng.permutation(len(chosen)))
                images = share * images + (1 - share) * images[other]
                targets = share * targets + (1 - share) * targets[other]
                side = None if side is None else share * side + (1 - share) * side[other]
            yield images.contiguous(memory_format=torch.channels_last), targets, side


def logits_of(network: nn.Module, images: NDArray[np.int8], side: int | None = None) -> NDArray[np.float64]:
    """Logits (n, outputs) of prepared images, int8 (n, channels, S, S), reduced to `side` if that is given."""
    network.eval()
    rows = []
    with torch.no_grad():
        for start in range(0, len(images), 32):
            batch = plain(images[start : start + 32], side or images.shape[-1])
            rows.append(network(batch.contiguous(memory_format=torch.channels_last)).double().numpy())
    return np.concatenate(rows)
