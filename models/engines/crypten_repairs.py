"""CrypTen 0.4.1, fit for this torch: import `crypten` from here and nowhere else.

CrypTen was written for torch 1. Each repair below says what breaks without it. The last one is of another kind:
the provider that lets one party draw the multiplication triples is taken out, see `forbid_first_party`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
import torch.onnx
from torch.onnx._internal.torchscript_exporter import registration, utils

os.environ.setdefault(
    "GLOO_SOCKET_IFNAME", "lo"
)  # gloo looks the host's name up otherwise, and may find no address

# 1. The registry of ONNX symbols has moved inside torch; CrypTen imports it by its former name.
sys.modules.setdefault("torch.onnx._internal.registration", registration)
if not hasattr(torch.onnx, "register_custom_op_symbolic"):
    torch.onnx.__dict__["register_custom_op_symbolic"] = utils.register_custom_op_symbolic

import crypten  # noqa: E402
import crypten.communicator as communicator  # noqa: E402
import crypten.nn.module as layers  # noqa: E402
from crypten.config import cfg  # noqa: E402
from crypten.nn import onnx_converter  # noqa: E402

__all__ = ["cfg", "communicator", "crypten", "forbid_first_party"]


def _export(file: Any, module: torch.nn.Module, example: Any) -> Any:
    """2. torch exports by Dynamo now, whose graphs CrypTen does not understand: ask for the tracing exporter."""
    torch.onnx.export(
        module,
        example if isinstance(example, tuple) else (example,),
        file,
        dynamo=False,
        do_constant_folding=False,
        export_params=True,
        input_names=["input"],
        output_names=["output"],
        opset_version=onnx_converter._OPSET_VERSION,
    )
    return file


_load = onnx_converter._load_onnx_model


def _load_without_copies(source: Any) -> Any:
    """3. Whoever reads an Identity or a Cast reads its source instead. The exporter lets equal weights share one
    tensor through Identity nodes, which CrypTen has not; and CrypTen takes ONNX's numbers of types for torch's, so
    that a Cast to float cuts a clip's ceiling of 0.996 down to int8's 0. Shared tensors know no type."""
    model = _load(source)
    renamed: dict[str, str] = {}
    for node in [node for node in model.graph.node if node.op_type in ("Identity", "Cast")]:
        renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return model


class ConvTranspose(layers.Module):  # type: ignore[misc]
    """4. ONNX's ConvTranspose: CrypTen's tensors have it, its layers do not. Input, weight, perhaps a bias."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        super().__init__()
        self.options = {
            "stride": attributes.get("strides", 1),
            "padding": attributes.get("pads", [0])[0],
            "output_padding": attributes.get("output_padding", [0])[0],
            "groups": attributes.get("group", 1),
            "dilation": attributes.get("dilations", 1),
        }

    def forward(self, inputs: Any) -> Any:
        """(n, C, H, W) to (n, C', H', W'), as torch.nn.functional.conv_transpose2d."""
        made = inputs[0].conv_transpose2d(inputs[1], **self.options)
        return made if len(inputs) < 3 else made + inputs[2].view(1, -1, 1, 1)

    @staticmethod
    def from_onnx(attributes: dict[str, Any] | None = None) -> ConvTranspose:
        """The layer of an ONNX node."""
        return ConvTranspose(attributes or {})


onnx_converter._export_pytorch_model = _export
onnx_converter._load_onnx_model = _load_without_copies
layers.ConvTranspose = ConvTranspose


def forbid_first_party() -> None:
    """Leave the third-party provider as the only one there is, and as the default.

    CrypTen's own default, the *first-party* provider, lets the model's party draw the triples itself: from the
    values that are opened in one convolution it can then subtract its own mask, and holds the patient's image
    (tests/models/test_engine_crypten.py does so). The homomorphic one is an empty shell.
    """
    providers = crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"]
    for name in [name for name in providers if name != "TTP"]:
        del providers[name]
    cfg.mpc.provider = "TTP"


forbid_first_party()
