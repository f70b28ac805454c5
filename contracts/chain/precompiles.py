"""The bn254 precompiles (EIP-196, EIP-197) for py-evm, whose own take seconds a pairing: these take
milliseconds.

Same inputs, outputs, failures and gas (EIP-1108) as py-evm's; the tests compare them.
"""

from __future__ import annotations

from eth.abc import ComputationAPI
from eth.exceptions import VMError
from eth.vm.forks.shanghai.computation import ShanghaiComputation
from eth.vm.forks.shanghai.state import ShanghaiState
from eth_typing import Address

from protocols.crypto.bls import decode_g1, decode_g2, encode_g1
from protocols.crypto.bn254 import PointG1, g1_add, g1_mul, pairing_is_one
from protocols.errors import ProtocolError

_ADD_GAS, _MUL_GAS = 150, 6_000
_PAIRING_GAS, _PAIR_GAS, _PAIR_BYTES = 45_000, 34_000, 192


def _words(data: bytes, count: int) -> list[int]:
    """The first `count` words; what is missing is zero."""
    padded = data[: 32 * count].ljust(32 * count, b"\0")
    return [int.from_bytes(padded[i : i + 32], "big") for i in range(0, 32 * count, 32)]


def _give_point(computation: ComputationAPI, point: PointG1) -> ComputationAPI:
    computation.output = b"".join(c.to_bytes(32, "big") for c in encode_g1(point))
    return computation


def ec_add(computation: ComputationAPI) -> ComputationAPI:
    """Precompile 6: the sum of two points of G1."""
    computation.consume_gas(_ADD_GAS, reason="ECADD")
    words = _words(computation.msg.data_as_bytes, 4)
    try:
        return _give_point(computation, g1_add(decode_g1(words[:2]), decode_g1(words[2:])))
    except ProtocolError as error:
        raise VMError(str(error)) from None


def ec_mul(computation: ComputationAPI) -> ComputationAPI:
    """Precompile 7: a multiple of a point of G1."""
    computation.consume_gas(_MUL_GAS, reason="ECMUL")
    words = _words(computation.msg.data_as_bytes, 3)
    try:
        return _give_point(computation, g1_mul(decode_g1(words[:2]), words[2]))
    except ProtocolError as error:
        raise VMError(str(error)) from None


def ec_pairing(computation: ComputationAPI) -> ComputationAPI:
    """Precompile 8: whether a product of pairings is one."""
    data = computation.msg.data_as_bytes
    count, rest = divmod(len(data), _PAIR_BYTES)
    if rest:
        raise VMError("the pairing's input is not a whole number of pairs")
    computation.consume_gas(_PAIRING_GAS + count * _PAIR_GAS, reason="ECPAIRING")
    words = _words(data, 6 * count)
    try:
        pairs = [
            (decode_g1(words[i : i + 2]), decode_g2(words[i + 2 : i + 6])) for i in range(0, 6 * count, 6)
        ]
    except ProtocolError as error:
        raise VMError(str(error)) from None
    computation.output = bytes(31) + bytes([pairing_is_one(pairs)])
    return computation


class FastComputation(ShanghaiComputation):
    """Shanghai's computation with these precompiles."""

    _precompiles = {  # noqa: RUF012
        **ShanghaiComputation.get_precompiles(),
        Address(bytes(19) + b"\x06"): ec_add,
        Address(bytes(19) + b"\x07"): ec_mul,
        Address(bytes(19) + b"\x08"): ec_pairing,
    }


class FastState(ShanghaiState):
    """Shanghai's state, executing with these precompiles."""

    computation_class = FastComputation
