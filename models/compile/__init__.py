"""From a float network in torch to an integer one that is proved never to wrap.

    compiled = compile_network(module, calibration, input_scale=1 / 127)
    compiled.network             # a `protocols.blind.network.Network`
    compiled.report.as_text()    # layer by layer: digits, shift, headroom, what calibration covered

Any feed-forward module of the layers in `trace.HANDLERS` will do, however it is written: `trace.py` reads the
operations off `torch.export`, `fold.py` brings them into the node set of the blind engine, `calibrate.py` measures
activations, `quantise.py` chooses integers, and `protocols.blind.bounds` proves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.compile.calibrate import check, measure
from models.compile.fold import fold
from models.compile.quantise import Settings, quantise
from models.compile.report import LayerReport, Report
from models.compile.trace import trace
from protocols.blind.network import Network

DEFAULTS = Settings()

__all__ = ["Compiled", "LayerReport", "Report", "Settings", "compile_network"]


@dataclass(frozen=True)
class Compiled:
    """The integer network, and how it came about. Both belong to the model's owner: the report tells of weights."""

    network: Network
    report: Report


def compile_network(
    module: nn.Module,
    calibration: Tensor,
    input_scale: float,
    thresholds: Sequence[float] = (),
    settings: Settings = DEFAULTS,
) -> Compiled:
    """The integer network of a float one.

    calibration: images in real units, (n, C, H, W), whole multiples of `input_scale` within 127 steps of 0; their
    activations fit. thresholds: the confidence buckets' three floors for |logit| (one logit) or for the margin of
    two, in the float network's logits. Raises `UserError` that names the layer which the blind engine cannot run
    or prove, and what to do about it. The same weights and images give the same network.
    """
    graph = fold(trace(module, calibration))
    check(graph, module, calibration[:2])
    return Compiled(*quantise(graph, measure(graph, calibration), input_scale, thresholds, settings))
