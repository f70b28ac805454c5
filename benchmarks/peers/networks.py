"""The networks on which engines are compared: LeNet, ResNet18, a small U-Net, with random weights from one seed.

Weights and batch statistics are those of random images, so activations have the sizes of a trained network's; speed
does not depend on them. `folded` is what every engine is given: batch norm is inside the convolutions.

    module = folded(make("resnet18-3x64x64"))

`steps` tells a folded network as a list of plain operations, for an engine without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

SEED = 1
_WARM_SIDE, _WARM_BATCHES = 64, 8


class Normed(nn.Sequential):
    """Convolution and batch norm, until `folded` makes one of them."""

    def __init__(self, inputs: int, out: int, kernel: int, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, out, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out))


def lenet(channels: int, side: int, pooling: str = "max") -> nn.Module:
    """LeNet-5: two 5x5 convolutions with pooling, three dense layers, two logits."""
    last = ((side - 4) // 2 - 4) // 2
    pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5), nn.ReLU(), pool(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), pool(2), nn.Flatten()),
        *(nn.Linear(16 * last * last, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2)),
    )


class Block(nn.Module):
    """Two 3x3 convolutions, and what skips them."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = Normed(inputs, out, 3, stride), Normed(out, out, 3)
        self.middle, self.last = nn.ReLU(), nn.ReLU()
        self.skip = Normed(inputs, out, 1, stride) if stride != 1 or inputs != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.last(self.second(self.middle(self.first(x))) + self.skip(x))
        return made


def resnet18(channels: int, side: int, pooling: str = "average") -> nn.Module:
    """ResNet18 with 64 to 512 channels, two logits; the stem pools 3x3 with stride 2, by default the average."""
    pool = nn.MaxPool2d(3, 2, 1) if pooling == "max" else nn.AvgPool2d(3, 2, 1)
    layers: list[nn.Module] = [Normed(channels, 64, 7, 2), nn.ReLU(), pool]
    width = 64
    for out, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        layers.append(Block(width, out, stride))
        width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2))


def _twice(inputs: int, out: int) -> nn.Sequential:
    return nn.Sequential(Normed(inputs, out, 3), nn.ReLU(), Normed(out, out, 3), nn.ReLU())


class UNet(nn.Module):
    """A U-Net of depth 4: 16 channels at full size, 256 at the bottom; transposed convolutions up; one mask."""

    def __init__(self, channels: int, pooling: str = "max", base: int = 16, depth: int = 4) -> None:
        super().__init__()
        width = [base << level for level in range(depth + 1)]
        inputs = [channels, *width]
        self.depth = depth
        self.down = nn.ModuleList(_twice(inputs[level], width[level]) for level in range(depth + 1))
        self.pool = nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(width[i + 1], width[i], 2, 2) for i in range(depth))
        self.join = nn.ModuleList(_twice(2 * width[level], width[level]) for level in range(depth))
        self.mask = nn.Conv2d(base, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, side, side) to (n, 1, side, side); sides are multiples of 2^depth."""
        kept = []
        for level in range(self.depth):
            x = self.down[level](x)
            kept.append(x)
            x = self.pool(x)
        x = self.down[self.depth](x)
        for level in reversed(range(self.depth)):
            x = self.join[level](torch.cat([self.up[level](x), kept[level]], 1))
        made: Tensor = self.mask(x)
        return made


def unet(channels: int, side: int, pooling: str = "max") -> nn.Module:
    """See `UNet`."""
    return UNet(channels, pooling)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A network by name. shape: of one image."""

    build: Callable[..., nn.Module]
    shape: tuple[int, int, int]


NETWORKS = {
    "lenet-1x32x32": Benchmark(lenet, (1, 32, 32)),
    "lenet-3x32x32": Benchmark(lenet, (3, 32, 32)),
    "lenet-1x128x128": Benchmark(lenet, (1, 128, 128)),
    "resnet18-3x64x64": Benchmark(resnet18, (3, 64, 64)),
    "resnet18-3x224x224": Benchmark(resnet18, (3, 224, 224)),
    "unet-1x128x128": Benchmark(unet, (1, 128, 128)),
    "unet-1x256x256": Benchmark(unet, (1, 256, 256)),
}
QUICK = ("lenet-1x32x32", "lenet-3x32x32")


def make(name: str, pooling: str = "") -> nn.Module:
    """The network of that name in eval mode, batch norm still apart. pooling: 'max' or 'average', not its own."""
    chosen = NETWORKS[name]
    channels, side, _ = chosen.shape
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(SEED)
    module = chosen.build(channels, side, **({"pooling": pooling} if pooling else {}))
    module.train()
    warm = side if chosen.build is lenet else min(side, _WARM_SIDE)
    with torch.no_grad():
        for _ in range(_WARM_BATCHES):
            module(torch.randn(4, channels, warm, warm))
    torch.random.set_rng_state(generator_state)
    return module.eval()


def image(name: str, n: int = 1) -> Tensor:
    """The images (n, C, H, W) that every engine is asked about, standard normal, cut at 4, in steps of 1 / 31."""
    drawn = torch.randn(n, *NETWORKS[name].shape, generator=torch.Generator().manual_seed(7))
    return torch.round(drawn.clamp(-4, 4) * 31) / 31


def folded(module: nn.Module) -> nn.Module:
    """The same network, batch norm inside the convolutions; changes `module`."""
    for part in module.modules():
        if isinstance(part, Normed) and len(part) == 2:
            conv, norm = part[0], part[1]
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            part[0] = fuse_conv_bn_eval(conv, norm)
            del part[1]
    return module.eval()


Step = dict[str, Any]


def steps(module: nn.Module) -> tuple[list[Step], dict[str, Tensor]]:
    """A folded network as operations in order, and its weights.

    A step is {"kind", "inputs": numbers of earlier steps, and what the kind needs}; step 0 is the image. Kinds: image,
    conv, transposed, dense, relu, max, average, mean, flatten, add, concat.
    """
    graph = fx.symbolic_trace(module)
    parts = dict(graph.named_modules())
    made: list[Step] = []
    place: dict[fx.Node, int] = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            break
        sources = [place[source] for source in node.all_input_nodes]
        if node.op == "call_module" and isinstance(parts[node.target], nn.Identity):
            place[node] = sources[0]
            continue
        made.append({"inputs": sources, **_step(node, parts)})
        place[node] = len(made) - 1
    return made, {name: value.detach() for name, value in graph.named_parameters()}


def _step(node: fx.Node, parts: dict[str, nn.Module]) -> Step:
    if node.op == "placeholder":
        return {"kind": "image"}
    if node.op == "call_function":
        return {"kind": "concat" if node.target is torch.cat else "add"}
    name = str(node.target)
    part = parts[name]
    named = {"name": name}
    if isinstance(part, nn.Conv2d):
        return {"kind": "conv", "stride": part.stride[0], "padding": _one(part.padding), **named}
    if isinstance(part, nn.ConvTranspose2d):
        return {"kind": "transposed", "stride": part.stride[0], **named}
    if isinstance(part, nn.MaxPool2d | nn.AvgPool2d):
        kind = "max" if isinstance(part, nn.MaxPool2d) else "average"
        sizes = (_one(part.kernel_size), _one(part.stride), _one(part.padding))
        return {"kind": kind, "kernel": sizes[0], "stride": sizes[1], "padding": sizes[2]}
    kinds = {nn.Linear: "dense", nn.ReLU: "relu", nn.AdaptiveAvgPool2d: "mean", nn.Flatten: "flatten"}
    return {"kind": kinds[type(part)], **named}


def _one(size: int | str | Sequence[int]) -> int:
    if isinstance(size, str):
        raise TypeError("a padding by name is not told")
    return size if isinstance(size, int) else size[0]
