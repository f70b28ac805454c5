"""The compiler: every kind of layer agrees with torch, everything else is refused by name, nothing ever wraps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models.compile import Compiled, Settings, compile_network
from protocols.blind.bounds import worst_case
from protocols.blind.layers import MAX_CLIP_BITS, Affine, Clip, Conv
from protocols.blind.network import Network
from protocols.blind.reference import run_reference, stochastic
from protocols.errors import UserError

STEP = 1 / 127


class Fn(nn.Module):
    """A module of parts and a function of them."""

    def __init__(self, call: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x, **self.parts)


def images(n: int = 16, channels: int = 3, side: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, -(-side // 4), -(-side // 4), generator=generator) * 2 - 1
    smooth = functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return torch.round(smooth.clamp(-1, 1) / STEP) * STEP


def normal(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels)
    made.running_mean = torch.randn(channels) * 0.2
    made.running_var = torch.rand(channels) + 0.3
    made.weight.data.uniform_(0.5, 1.5)
    made.bias.data.normal_(0, 0.3)
    return made


def opened(compiled: Compiled, batch: Tensor) -> np.ndarray:
    integers = torch.round(batch / STEP).numpy().astype(np.int64)
    result = run_reference(compiled.network, integers, stochastic(np.random.default_rng(0)))
    assert result.overflow == 0
    return result.logits.reshape(len(batch), -1) * compiled.network.topology.logit_scale


def agrees(module: nn.Module, batch: Tensor, tolerance: float = 0.03, low_bits: int = 8) -> Compiled:
    """tolerance: root mean square error by the largest logit. A step is 1/255 of an activation's range."""
    module.eval()
    compiled = compile_network(module, batch, STEP, settings=Settings(low_bits=low_bits))
    with torch.no_grad():
        plain = module(batch).reshape(len(batch), -1).double().numpy()
    got = opened(compiled, batch)
    assert got.shape == plain.shape
    assert float(np.sqrt(((got - plain) ** 2).mean())) < tolerance * max(1e-3, float(np.abs(plain).max()))
    assert worst_case(compiled.network).proved
    assert Network.decode(compiled.network.encode()) == compiled.network
    return compiled


def conv(i: int, o: int, k: int = 3, **more: object) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, **more)  # type: ignore[arg-type]


GOOD: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Sequential(conv(3, 4)),
    "stride": lambda: nn.Sequential(conv(3, 4, stride=2, padding=1), nn.ReLU(), conv(4, 2)),
    "same": lambda: nn.Sequential(conv(3, 4, 4, padding="same"), nn.ReLU(), conv(4, 2)),
    "groups": lambda: nn.Sequential(conv(3, 6, groups=3), nn.ReLU(), conv(6, 4, groups=2)),
    "depthwise": lambda: nn.Sequential(
        conv(3, 8), nn.ReLU6(), conv(8, 8, groups=8), nn.ReLU6(), conv(8, 2, 1)
    ),
    "oblong": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (1, 5), padding=(0, 2)), nn.ReLU(), nn.Conv2d(4, 2, (3, 1), padding=(1, 0))
    ),
    "dilated": lambda: nn.Sequential(conv(3, 4, dilation=2, padding=2), nn.ReLU(), conv(4, 2)),
    "transposed": lambda: nn.Sequential(
        conv(3, 4, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, 2), nn.ReLU(), conv(3, 2, 1)
    ),
    "transposed, odd": lambda: nn.Sequential(
        nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=1), nn.ReLU(), conv(4, 2, 1)
    ),
    "transposed, groups": lambda: nn.Sequential(conv(3, 4), nn.ReLU(), nn.ConvTranspose2d(4, 4, 3, groups=2)),
    "linear": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(432, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 2)
    ),
    "batch norm after": lambda: nn.Sequential(conv(3, 4, bias=False), normal(4), nn.ReLU(), conv(4, 2)),
    "batch norm before": lambda: nn.Sequential(normal(3), conv(3, 4), nn.ReLU(), normal(4), conv(4, 2)),
    "batch norm, padded": lambda: nn.Sequential(normal(3), conv(3, 4, padding=1), nn.ReLU(), conv(4, 2)),
    "relu6": lambda: nn.Sequential(conv(3, 4), nn.Hardtanh(0, 0.4), conv(4, 2), nn.Identity()),
    "hardtanh, signed": lambda: nn.Sequential(conv(3, 4), nn.Hardtanh(-0.3, 0.4), conv(4, 2)),
    "max pool": lambda: nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(3, 2, 1), conv(4, 2)),
    "max pool, then relu": lambda: nn.Sequential(conv(3, 4), nn.MaxPool2d(2), nn.ReLU(), conv(4, 2)),
    "max pool, signed": lambda: nn.Sequential(conv(3, 4), nn.MaxPool2d(2), conv(4, 2)),
    "max pool of the image": lambda: nn.Sequential(nn.MaxPool2d(2), conv(3, 2)),
    "average pool": lambda: nn.Sequential(
        conv(3, 4), nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.ReLU(), conv(4, 2)
    ),
    "average of a sum": lambda: nn.Sequential(conv(3, 4), nn.AvgPool2d(2), nn.ReLU(), conv(4, 2)),
    "adaptive": lambda: nn.Sequential(
        conv(3, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(5),
        conv(4, 5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ),
    "mean": lambda: Fn(lambda x, a, b: b(a(x).relu().mean((2, 3))), a=conv(3, 6), b=nn.Linear(6, 2)),
    "residual": lambda: Fn(
        lambda x, a, b, c: c((b((h := a(x).relu())) + h).relu()),
        a=conv(3, 4),
        b=conv(4, 4, padding=1),
        c=conv(4, 2),
    ),
    "linear bottleneck": lambda: Fn(
        lambda x, a, b, c, d: d(c(functional.relu6(b(h := a(x)))) + h),
        a=conv(3, 4, 1),
        b=conv(4, 12, 1),
        c=conv(12, 4, 1),
        d=conv(4, 2, 1),
    ),
    "concat": lambda: Fn(
        lambda x, a, b, c: c(torch.cat([a(x).relu(), b(x), x], 1)),
        a=conv(3, 4, padding=1),
        b=conv(3, 2, 1),
        c=conv(9, 2),
    ),
    "relu of a concat": lambda: Fn(
        lambda x, a, b, c: c(torch.cat([a(x), b(x)], 1).relu_()),
        a=conv(3, 4, 1),
        b=conv(3, 2, 1),
        c=conv(6, 2),
    ),
    "upsampling": lambda: nn.Sequential(conv(3, 4), nn.ReLU(), nn.Upsample(scale_factor=2), conv(4, 2)),
    "interpolate": lambda: Fn(lambda x, a: a(functional.interpolate(x, scale_factor=3)), a=conv(3, 2)),
    "padding apart": lambda: Fn(
        lambda x, a, b: b(a(functional.pad(x, (0, 1, 0, 1))).relu()), a=conv(3, 4, stride=2), b=conv(4, 2)
    ),
    "normalised inside": lambda: Fn(lambda x, a, b: b(a((x - 0.1) / 0.5).relu()), a=conv(3, 4), b=conv(4, 2)),
    "one logit without an axis": lambda: Fn(
        lambda x, a, b: b(torch.flatten(a(x).relu(), 1))[:, 0], a=conv(3, 2), b=nn.Linear(200, 1)
    ),
    "activation last": lambda: nn.Sequential(conv(3, 4), nn.ReLU()),
}


@pytest.mark.parametrize("name", GOOD)
def test_layer_agrees_with_torch(name: str) -> None:
    torch.manual_seed(2)
    agrees(GOOD[name](), images())


BAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sigmoid": (lambda: nn.Sequential(conv(3, 2), nn.Sigmoid()), "1 \\(sigmoid\\)"),
    "gelu": (lambda: nn.Sequential(conv(3, 2), nn.GELU(), conv(2, 2)), "gelu"),
    "product": (lambda: Fn(lambda x, a: a(x) * a(x), a=conv(3, 2)), "mul"),
    "group norm": (lambda: nn.Sequential(conv(3, 4), nn.GroupNorm(2, 4)), "group_norm"),
    "ceil": (
        lambda: nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        "rounds its output",
    ),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), "bilinear"),
    "reflection": (lambda: nn.Sequential(nn.ReflectionPad2d(1), conv(3, 2)), "reflect|pad"),
    "uneven stride": (lambda: nn.Conv2d(3, 2, 3, (1, 2)), "stride differs"),
    "signed padded maximum": (lambda: nn.Sequential(conv(3, 2), nn.MaxPool2d(3, 1, 1)), "may be negative"),
    "border average": (lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False), "border"),
    "oblong, unpadded": (lambda: nn.Conv2d(3, 2, (1, 3)), "different amounts"),
    "slice": (lambda: Fn(lambda x, a: a(x)[:, :1], a=conv(3, 2)), "slice"),
    "two outputs": (lambda: Fn(lambda x, a: (a(x), a(x)), a=conv(3, 2)), "one output"),  # type: ignore[arg-type, return-value]
    "branch on data": (
        lambda: Fn(lambda x, a: a(x) if x.sum() > 0 else -a(x), a=conv(3, 2)),
        "cannot be traced",
    ),
    "not finite": (
        lambda: nn.Sequential(conv(3, 2), Fn(lambda x: x / 0.0), nn.ReLU()),
        "by zero",
    ),
    "transpose": (lambda: Fn(lambda x, a: a(x).transpose(1, 2), a=conv(3, 2)), "transpose"),
}


@pytest.mark.parametrize("name", BAD)
def test_everything_else_is_refused_by_name(name: str) -> None:
    make, why = BAD[name]
    with pytest.raises(UserError, match=why) as error:
        compile_network(make(), images(4, side=13), STEP)
    assert error.value.remedy


def test_images_of_a_wrong_kind_are_refused() -> None:
    for batch in (torch.zeros(3, 8, 8), torch.zeros(0, 3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.int64)):
        with pytest.raises(UserError, match="float tensor"):
            compile_network(conv(3, 2), batch, STEP)


def lenet() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        conv(3, 6, 5), nn.ReLU(), nn.AvgPool2d(2), conv(6, 8, 3), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 20), nn.ReLU(), nn.Linear(20, 1),
    )  # fmt: skip


def test_no_image_can_make_it_wrap() -> None:
    """Calibrated on tame images, shown the wildest: also those that follow the first layer's weights."""
    module = lenet()
    compiled = compile_network(module, images(8, side=16) / 10, STEP)
    integers = [np.sign(np.random.default_rng(i).normal(size=(3, 16, 16))) * 127 for i in range(4)]
    for channel in compiled.network.weights[0][0]:
        tiled = np.tile(channel, (1, 4, 4))[:, :16, :16]
        integers += [np.where(tiled > 0, 127, -127), np.where(tiled > 0, -127, 127)]
    result = run_reference(compiled.network, np.stack(integers), stochastic(np.random.default_rng(0)))
    assert result.overflow == 0


def test_batch_norm_leaves_no_layer_of_its_own() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(normal(3), conv(3, 4), normal(4), nn.ReLU(), conv(4, 2), normal(2)).eval()
    nodes = compile_network(module, images(), STEP).network.topology.nodes
    assert [type(n) for n in nodes] == [Affine, Clip, Affine]


def test_dilation_is_zeros_in_a_larger_kernel() -> None:
    compiled = compile_network(conv(3, 2, dilation=2), images(), STEP)
    (node,) = compiled.network.topology.nodes
    assert isinstance(node, Affine)
    assert node.terms == (Conv(0, 2, 5),)
    assert not compiled.network.weights[0][0][:, :, 1::2].any()


def test_a_ceiling_that_the_worst_case_dwarfs_is_refused_by_name() -> None:
    module = nn.Sequential(conv(3, 4), nn.Hardtanh(0, 0.001), conv(4, 2))
    with pytest.raises(UserError, match=r"layer '0 .*worst case") as error:
        compile_network(module, images(), STEP)
    assert "max_high_bits" in error.value.remedy


def test_a_ring_too_small_is_refused() -> None:
    with pytest.raises(UserError):
        compile_network(lenet(), images(side=16), STEP, settings=Settings(ring_bits=8, low_bits=8))


def test_thresholds_are_in_opened_units() -> None:
    topology = compile_network(lenet(), images(side=16), STEP, (0.02, 0.05, 0.1)).network.topology
    assert topology.thresholds == tuple(round(value / topology.logit_scale) for value in (0.02, 0.05, 0.1))
    assert topology.bucket_of(topology.thresholds[1]) == 2


def test_the_same_weights_are_the_same_network_and_the_module_is_left_alone() -> None:
    module = lenet()
    module.train()
    module[1].eval()
    one, other = (compile_network(module, images(side=16), STEP).network for _ in range(2))
    assert one.network_hash() == other.network_hash()
    assert module.training
    assert not module[1].training


def test_report_tells_of_every_layer() -> None:
    report = compile_network(lenet(), images(side=16), STEP).report
    assert len(report.layers) == 4
    assert all(0 < layer.use <= 1 and layer.largest_weight < 1 << 15 for layer in report.layers)
    assert all(layer.coverage > 0.95 for layer in report.layers)
    assert report.as_text().count("\n") == 4


@pytest.mark.parametrize("low_bits", [5, 7, 10])
def test_fewer_levels_are_coarser(low_bits: int) -> None:
    agrees(lenet(), images(side=16), 0.4 / 2 ** (low_bits - 5) + 0.05, low_bits)


def test_a_clip_of_many_high_bits_has_fewer_low_bits() -> None:
    """The second ceiling is far below the worst case, so 7 high bits leave room for 9 low ones of the 10 asked for."""
    torch.manual_seed(0)
    module = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8), nn.Hardtanh(0, 0.05), conv(8, 2))
    compiled = agrees(module, images(), low_bits=10)
    clips = [node for node in compiled.network.topology.nodes if isinstance(node, Clip)]
    assert [clip.low_bits for clip in clips] == [10, 9]
    assert [clip.low_bits for clip in clips] == [layer.low_bits for layer in compiled.report.layers[:-1]]
    assert all(clip.low_bits == min(10, MAX_CLIP_BITS - clip.high_bits) for clip in clips)


@st.composite
def modules(draw: st.DrawFn) -> tuple[nn.Module, int]:
    """Random chains with skips, joins and poolings on 3 x 12 x 12."""
    plan = draw(
        st.lists(
            st.sampled_from(["conv", "norm", "relu", "relu6", "max", "skip", "join", "deep", "up"]),
            max_size=6,
        )
    )
    seed = draw(st.integers(0, 1 << 16))
    return _Random(plan, seed), seed


class _Random(nn.Module):
    def __init__(self, plan: list[str], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.plan = plan
        parts: list[nn.Module] = []
        c = 3
        for word in plan:
            made: nn.Module = nn.Identity()
            if word in ("conv", "skip", "join"):
                made = conv(c, c, padding=1)
                c = 2 * c if word == "join" else c
            elif word == "norm":
                made = normal(c)
            elif word == "deep":
                made = conv(c, c, padding=1, groups=c)
            parts.append(made)
        self.parts = nn.ModuleList(parts)
        self.last = nn.Linear(c, 2)

    def forward(self, x: Tensor) -> Tensor:
        for word, part in zip(self.plan, self.parts, strict=True):
            if word in ("conv", "norm", "deep"):
                x = part(x)
            elif word == "relu":
                x = x.relu()
            elif word == "relu6":
                x = functional.relu6(x)
            elif word == "max":
                x = functional.max_pool2d(x, 2, 1)
            elif word == "skip":
                x = x + part(x)
            elif word == "join":
                x = torch.cat([x, part(x)], 1)
            else:
                x = functional.interpolate(x, scale_factor=2)[..., :, :] if x.shape[2] < 20 else x
        return self.last(x.mean((2, 3)))


@settings(max_examples=25, deadline=None)
@given(modules())
def test_random_networks_compile_and_agree(made: tuple[nn.Module, int]) -> None:
    agrees(made[0], images(8), 0.1)
