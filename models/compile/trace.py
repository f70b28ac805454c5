"""torch to graph: reads the operations off `torch.export`, which sees through however the module is written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from models.compile.calibrate import evaluating
from models.compile.convolution import Window, convolution, transposed
from models.compile.graph import (
    Act,
    Dense,
    Flat,
    GlobalMean,
    Graph,
    Grow,
    Image,
    Join,
    Pad,
    Part,
    Pool,
    Real,
    Scale,
    Sum,
    channel_scale,
    unsupported,
)
from protocols.blind.layers import Shape
from protocols.errors import UserError

_BATCH = 2  # traced with two images, so that no layer mistakes the batch for a side of length one
_REMEDY = (
    "replace it by a layer that `docs/blind-inference.md` lists, or cut it off and apply it to the logits"
)


def trace(module: nn.Module, images: torch.Tensor) -> Graph:
    """The graph of a feed-forward module in its evaluation form. images: (n, C, H, W), for their shape.

    Raises `UserError` on a module that cannot be traced, or has a layer that the blind engine cannot run.
    """
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise UserError("calibration images must be a float tensor (n, C, H, W)", "prepare them first")
    parameter = next(module.parameters(), torch.zeros(0))
    example = torch.zeros(_BATCH, *images.shape[1:], dtype=parameter.dtype)
    try:
        with warnings.catch_warnings(), evaluating(module):
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,)).run_decompositions({})
    except Exception as error:  # torch raises anything here; none of it is for a user
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the network cannot be traced ({why[:200]})", "make its forward one fixed sequence of layers"
        ) from error
    return _Tracer(program).run((int(images.shape[1]), int(images.shape[2]), int(images.shape[3])))


class _Tracer:
    """values: what each fx node became: a value of the graph, or a constant tensor."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self.program = program
        self.graph = Graph()
        self.values: dict[fx.Node, int] = {}
        self.constants: dict[fx.Node, torch.Tensor] = {}

    def run(self, shape: Shape) -> Graph:
        self.graph.add(Image(), shape)
        held = self._held()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name in held:
                    self.constants[node] = held[node.name]
                else:
                    self.values[node] = 0
            elif node.op == "call_function":
                self.call(node)
            elif node.op == "output":
                self.finish(node)
        return self.graph

    def _held(self) -> dict[str, torch.Tensor]:
        signature, program = self.program.graph_signature, self.program
        held = {**program.state_dict, **program.constants}
        names = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        return {node: held[name].detach() for node, name in names.items()}

    def finish(self, node: fx.Node) -> None:
        outputs: Any = node.args[0]
        if not isinstance(outputs, tuple | list) or len(outputs) != 1 or outputs[0] not in self.values:
            raise UserError("the network does not have exactly one output", "return the logits alone")
        self.graph.output = self.values[outputs[0]]

    def call(self, node: fx.Node) -> None:
        read = [a for a in node.all_input_nodes if a in self.values]
        if not read:
            self.constants[node] = self.constant_of(node)
            return
        handler = HANDLERS.get(_operation(node))
        if handler is None:
            raise unsupported(name_of(node), f"the blind engine has no {_operation(node)}", _REMEDY)
        self.values[node] = handler(self, node)

    def constant_of(self, node: fx.Node) -> torch.Tensor:
        """What does not depend on the image is worked out here."""
        made = fx.node.map_arg((node.args, node.kwargs), lambda n: self.constants[n])
        target: Any = node.target
        result: torch.Tensor = target(*made[0], **made[1])
        return result

    def value(self, node: Any) -> int:
        """The value that an fx node became."""
        return self.values[node]

    def real(self, node: Any) -> Real:
        """A constant's numbers."""
        return np.asarray(self.constants[node].double().numpy(), np.float64)

    def shape(self, node: fx.Node) -> Shape:
        """The shape of a node's result without the batch, three axes."""
        sizes = tuple(int(n) for n in node.meta["val"].shape)
        if not 2 <= len(sizes) <= 4 or sizes[0] != _BATCH:
            if sizes == (_BATCH,):
                return 1, 1, 1
            raise unsupported(
                name_of(node), f"it makes an array of shape {sizes}", "keep to (n, C, H, W) or (n, C)"
            )
        return sizes[1], (*sizes, 1)[2], (*sizes, 1, 1)[3]

    def arguments(self, node: fx.Node) -> dict[str, Any]:
        """The arguments by the names in torch's own schema, defaults filled in."""
        target: Any = node.target
        made = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
        made |= dict(zip((a.name for a in target._schema.arguments), node.args, strict=False))
        return made | dict(node.kwargs)


def name_of(node: fx.Node) -> str:
    """The qualified name of the layer that an operation stands in, and the operation."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path} ({_operation(node)})" if path else _operation(node)


def _operation(node: fx.Node) -> str:
    target: Any = node.target
    name = str(getattr(target, "_opname", getattr(target, "__name__", target)))
    return name.rstrip("_")


def _pair(value: Any) -> tuple[int, int]:
    several = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return several[0], several[-1]


def _conv(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    weight = t.real(a["weight"])
    dilation = _pair(a["dilation"])
    if isinstance(a["padding"], str):
        wide = [
            0 if a["padding"] == "valid" else (n - 1) * d
            for n, d in zip(weight.shape[2:], dilation, strict=True)
        ]
        sides = wide[1] // 2, wide[1] - wide[1] // 2, wide[0] // 2, wide[0] - wide[0] // 2
    else:
        rows, columns = _pair(a["padding"])
        sides = columns, columns, rows, rows
    source = t.value(a["input"])
    before = t.graph.ops[source]
    if isinstance(before, Pad):
        sides = tuple(s + p for s, p in zip(sides, before.sides, strict=True))  # type: ignore[assignment]
        source = before.source
    window = Window(_pair(a["stride"]), dilation, sides)
    part = convolution(name_of(node), source, weight, int(a["groups"]), window)
    return _sum(t, node, part, a["bias"])


def _conv_transpose(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    rows, columns = _pair(a["padding"])
    window = Window(_pair(a["stride"]), _pair(a["dilation"]), (columns, columns, rows, rows))
    weight, extra = t.real(a["weight"]), _pair(a["output_padding"])
    part = transposed(name_of(node), t.value(a["input"]), weight, int(a["groups"]), window, extra)
    return _sum(t, node, part, a["bias"])


def _linear(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    if node.meta["val"].ndim != 2:
        raise unsupported(name_of(node), "it is a fully connected layer on images", "flatten before it")
    weight = t.real(a["weight"])
    part = Part(Dense(t.value(a["input"]), len(weight)), weight)
    return _sum(t, node, part, a["bias"])


def _sum(t: _Tracer, node: fx.Node, part: Part, bias: Any) -> int:
    shape = t.shape(node)
    offset = np.zeros(shape[0]) if bias is None else t.real(bias)
    return t.graph.add(Sum(name_of(node), (part,), offset), shape)


def _batch_norm(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    mean, var = t.real(a["running_mean"]), t.real(a["running_var"])
    factor = 1 / np.sqrt(var + float(a["eps"]))
    if a["weight"] is not None:
        factor = factor * t.real(a["weight"])
    shift = -mean * factor + (t.real(a["bias"]) if a["bias"] is not None else 0)
    return channel_scale(t.graph, t.value(a["input"]), factor, shift, name_of(node))


def _cut(low: float, high: float) -> Callable[[_Tracer, fx.Node], int]:
    def made(t: _Tracer, node: fx.Node) -> int:
        return _act(t, node, t.value(node.args[0]), low, high)

    return made


def _act(t: _Tracer, node: fx.Node, source: int, low: float, high: float) -> int:
    if not (low <= 0 < high) or (low == -np.inf and high != np.inf):
        raise unsupported(
            name_of(node), f"it cuts to {low}..{high}", "cut to a range from 0 or below to above 0"
        )
    return t.graph.add(Act(name_of(node), source, low, high), t.shape(node))


def _clamp(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    low = a["min_val"] if "min_val" in a else a.get("min")
    high = a["max_val"] if "max_val" in a else a.get("max")
    ends = float("-inf") if low is None else float(low), float("inf") if high is None else float(high)
    return _act(t, node, t.value(node.args[0]), *ends)


def _pool(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    maximum = _operation(node).startswith("max")
    kernel, padding = _pair(a["kernel_size"]), _pair(a["padding"])
    stride = _pair(a["stride"]) if a["stride"] else kernel
    same = all(p[0] == p[1] for p in (kernel, padding, stride))
    if not same or _pair(a.get("dilation", 1)) != (1, 1):
        raise unsupported(name_of(node), "its blocks are not square", "pool square blocks, without dilation")
    uneven = padding[0] and not maximum and not a["count_include_pad"]
    if uneven or (not maximum and a["divisor_override"]):
        raise unsupported(name_of(node), "it divides by different numbers at the border", "count the padding")
    h, w = t.shape(node)[1:]
    exact = tuple(
        (n + 2 * padding[0] - kernel[0]) // stride[0] + 1 for n in t.graph.shapes[t.value(a["self"])][1:]
    )
    if exact != (h, w):
        raise unsupported(name_of(node), "it rounds its output size up", "set ceil_mode to False")
    op = Pool(name_of(node), t.value(a["self"]), kernel[0], stride[0], padding[0], maximum)
    return t.graph.add(op, t.shape(node))


def _adaptive_pool(t: _Tracer, node: fx.Node) -> int:
    source = t.value(node.args[0])
    shape, before = t.shape(node), t.graph.shapes[source]
    if shape[1:] == before[1:]:
        return source
    if shape[1:] == (1, 1):
        return t.graph.add(GlobalMean(name_of(node), source), shape)
    factors = {(n // m, n % m) for n, m in zip(before[1:], shape[1:], strict=True)}
    factor, rest = factors.pop()
    if factors or rest:
        raise unsupported(
            name_of(node), "its blocks are not square and equal", "use an output size that divides"
        )
    return t.graph.add(Pool(name_of(node), source, factor, factor, 0, False), shape)


def _mean(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    source = t.value(a["self"])
    axes = {int(axis) % node.args[0].meta["val"].ndim for axis in a["dim"] or ()}  # type: ignore[union-attr]
    if axes != {2, 3}:
        raise unsupported(
            name_of(node), f"it takes the mean over {sorted(axes)}", "take it over height and width"
        )
    return t.graph.add(GlobalMean(name_of(node), source), t.shape(node))


def _channel_constant(t: _Tracer, node: fx.Node, other: Any) -> Real | None:
    """A constant as one number a channel; None when it is a value of the graph."""
    if isinstance(other, fx.Node) and other in t.values:
        return None
    array = np.asarray(float(other)) if isinstance(other, int | float) else t.real(other)
    c = t.shape(node)[0]
    rank = node.meta["val"].ndim
    sizes = (1,) * (rank - array.ndim) + array.shape
    if array.ndim > rank or array.size not in (1, c) or (array.size > 1 and sizes[1] != c):
        raise unsupported(
            name_of(node), "its constant differs from place to place", "use one number a channel"
        )
    return np.broadcast_to(array.reshape(-1), (c,)).astype(np.float64)


def _arithmetic(t: _Tracer, node: fx.Node) -> int:
    kind, name = _operation(node), name_of(node)
    left, right = node.args[0], node.args[1]
    if float(node.kwargs.get("alpha", 1) or 1) != 1:  # type: ignore[arg-type]
        raise unsupported(name, "it scales what it adds", "multiply in a layer of its own")
    one, two = (_channel_constant(t, node, x) for x in (left, right))
    shape, c = t.shape(node), t.shape(node)[0]
    sign = -1.0 if kind == "sub" else 1.0
    if one is None and two is None:
        sources = t.value(left), t.value(right)
        if kind not in ("add", "sub") or any(t.graph.shapes[s] != shape for s in sources):
            raise unsupported(name, f"the blind engine has no {kind} of two wires like these", _REMEDY)
        parts = tuple(Part(Scale(s), np.full(c, f)) for s, f in zip(sources, (1.0, sign), strict=True))
        return t.graph.add(Sum(name, parts, np.zeros(c)), shape)
    source = t.value(right if one is not None else left)
    constant = one if two is None else two
    if t.graph.shapes[source] != shape or constant is None or (kind == "div" and one is not None):
        raise unsupported(name, f"the blind engine has no {kind} like this", _REMEDY)
    if kind == "div" and not constant.all():
        raise unsupported(name, "it divides by zero", "mend the constant")
    if kind in ("mul", "div"):
        return channel_scale(t.graph, source, constant if kind == "mul" else 1 / constant, np.zeros(c), name)
    if one is not None:
        return channel_scale(t.graph, source, np.full(c, sign), constant, name)
    return channel_scale(t.graph, source, np.ones(c), sign * constant, name)


def _cat(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    if int(a["dim"]) % node.meta["val"].ndim != 1:
        raise unsupported(name_of(node), "it joins along another axis than the channels", "join along axis 1")
    return t.graph.add(Join(name_of(node), tuple(t.value(x) for x in a["tensors"])), t.shape(node))


def _upsample(t: _Tracer, node: fx.Node) -> int:
    source = t.value(node.args[0])
    (_, h, w), (_, ho, wo) = t.graph.shapes[source], t.shape(node)
    if ho % h or wo % w or ho // h != wo // w:
        raise unsupported(name_of(node), "it does not grow by a whole number", "use a whole scale_factor")
    return t.graph.add(Grow(name_of(node), source, ho // h), t.shape(node))


def _reshape(t: _Tracer, node: fx.Node) -> int:
    source = t.value(node.args[0])
    shape, before = t.shape(node), t.graph.shapes[source]
    if shape == before:
        return source
    if shape == (prod(before), 1, 1):
        return t.graph.add(Flat(name_of(node), source), shape)
    raise unsupported(name_of(node), f"it reshapes {before} to {shape}", "only flattening is possible")


def _pad(t: _Tracer, node: fx.Node) -> int:
    a = t.arguments(node)
    sides = [int(n) for n in a["pad"]]
    if a.get("mode", "constant") != "constant" or float(a.get("value") or 0) or len(sides) != 4:
        raise unsupported(
            name_of(node), "it pads with something other than zeros around the image", "pad with zeros"
        )
    if any(_operation(reader) != "conv2d" for reader in node.users):
        raise unsupported(
            name_of(node), "it pads before a layer that is no convolution", "pad in that layer instead"
        )
    op = Pad(name_of(node), t.value(node.args[0]), (sides[0], sides[1], sides[2], sides[3]))
    return t.graph.add(op, t.shape(node))


def _same(t: _Tracer, node: fx.Node) -> int:
    return t.value(node.args[0])


HANDLERS: dict[str, Callable[[_Tracer, fx.Node], int]] = (
    dict.fromkeys(("conv2d", "convolution"), _conv)
    | {"conv_transpose2d": _conv_transpose, "linear": _linear, "cat": _cat, "mean": _mean}
    | dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm)
    | {"relu": _cut(0.0, np.inf), "relu6": _cut(0.0, 6.0), "hardtanh": _clamp, "clamp": _clamp}
    | {"clamp_min": _clamp, "clamp_max": _clamp}
    | {"max_pool2d": _pool, "avg_pool2d": _pool, "adaptive_avg_pool2d": _adaptive_pool}
    | dict.fromkeys(("add", "sub", "mul", "div"), _arithmetic)
    | {"upsample_nearest2d": _upsample, "pad": _pad, "constant_pad_nd": _pad}
    | dict.fromkeys(("view", "reshape", "flatten", "squeeze", "unsqueeze", "select"), _reshape)
    | dict.fromkeys(("dropout", "clone", "contiguous", "alias", "detach", "getitem", "to", "_to_copy"), _same)
)
