"""The blind engine's kernels with torch: layers in float64 on a CPU or a CUDA device, the rest as in numpy.

No compiler is needed. Sums of products are integers below 2^53 and thus exact in any order, as long as no
algorithm leaves the integers: cuDNN, which may choose one that does, is kept out. Where 53 bits do not
suffice the wire is split into limbs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import Operator, Words
from protocols.blind.kernels.portable import EXACT_BITS, PortableKernels, signed
from protocols.blind.layers import ConvTranspose, Dense, Scale, Shape, Term
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError, UserError


@dataclass(frozen=True, repr=False, eq=False)
class TorchOperator(Secret):
    """A term, its signed weights in float64 on the device, and the bits of a limb of the wire."""

    term: Term
    shape: Shape
    weights: torch.Tensor
    bits: int
    limb: int

    def apply(self, x: Words, out: Words) -> None:
        """See `Operator.apply`."""
        if x.dtype != np.uint32 or x.ndim != 4 or x.shape[1:] != self.shape:
            raise ProtocolError("a wire does not fit its layer", "this is a fault of the program; report it")
        half, mask = 1 << (self.bits - 1), (1 << self.bits) - 1
        on_device = torch.from_numpy(np.ascontiguousarray(x).view(np.int32)).to(self.weights.device)
        value = ((on_device.long() + half) & mask) - half
        total = torch.zeros(1, dtype=torch.int64, device=value.device)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
            for shift in range(0, self.bits, self.limb):
                last = shift + self.limb >= self.bits
                part = value >> shift if last else (value >> shift) & ((1 << self.limb) - 1)
                made = self._linear(part.double()).long()
                total = total + ((made & mask) << shift)
        out += (total & mask).to(torch.int32).cpu().numpy().view(np.uint32).reshape(out.shape)

    def _linear(self, x: torch.Tensor) -> torch.Tensor:
        term, w = self.term, self.weights
        if isinstance(term, Scale):
            return x * w[:, None, None]
        if isinstance(term, Dense):
            return functional.linear(x.flatten(1), w)
        if isinstance(term, ConvTranspose):
            more, cut = term.trailing, term.padding
            full = functional.pad(functional.conv_transpose2d(x, w, stride=term.stride), (0, more, 0, more))
            return full[:, :, cut : full.shape[2] - cut, cut : full.shape[3] - cut]
        first, last = term.padding, term.padding + term.trailing
        return functional.conv2d(
            functional.pad(x, (first, last, first, last)), w, stride=term.stride, groups=term.groups
        )


class TorchKernels(PortableKernels):
    """See `Kernels`. device: "cpu", "cuda", or "cuda:N"."""

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        try:
            self.device = torch.device(device)
            torch.zeros(1, dtype=torch.float64, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(
                f"torch cannot compute on {device!r} here", "use cpu, or cuda where it is installed"
            ) from error
        self.name = f"torch/{device}"

    def prepare(self, term: Term, shape: Shape, weights: IntArray, bits: int, wide: bool) -> Operator:  # type: ignore[override]
        """See `Kernels.prepare`."""
        w = signed(weights, bits) if wide else weights
        largest = max(1, int(np.abs(w).max(initial=0)) - 1).bit_length()
        room = EXACT_BITS - largest - max(1, _summands(term, w) - 1).bit_length()
        if room < 2:
            raise ProtocolError("a layer is too wide for exact arithmetic", "use a smaller ring")
        on_device = torch.from_numpy(np.ascontiguousarray(w, np.float64)).to(self.device)
        return TorchOperator(term, shape, on_device, bits, min(bits, room))


def _summands(term: Term, weights: IntArray) -> int:
    """At most so many products make one sum."""
    if isinstance(term, Scale):
        return 1
    return weights[:, 0].size if isinstance(term, ConvTranspose) else max(1, weights[0].size)
