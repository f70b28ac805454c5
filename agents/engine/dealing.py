"""What model, dealer and patient say to one another about tapes, over their direct channels.

    model -> dealer    deal (a tape for this session, live) | take (a tape that the model keeps)
    dealer -> model    tape (its name; live: its frames follow) | sorry
    dealer -> patient  seed (the tape's name, its seed, the batch) | sorry
a volume needs many tapes on the same channels, one after another, of the networks of one suite:
    model -> dealer    suite (its networks: the paid id stands for them) | then deal, deal, ...  | over
    dealer -> model    dealing (it agrees) | tape and its frames for each order | sorry
    dealer -> patient  seed for each order
and on a channel of purpose `tapes`, between sessions:
    model -> dealer    stock (count + checked tapes wanted, and the names it keeps)
    dealer -> model    tape, frames, tape, frames, ... | sorry
    model -> dealer    open (the tapes that it picked)
    dealer -> model    opened (their seeds); they are dead for ever
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.blind.dealer import TapeSeeds
from protocols.blind.schedule import MAX_BATCH
from protocols.blind.secret import Secret
from protocols.case.volume import AXES, TASKS
from protocols.codec import decode, encode
from protocols.errors import ProtocolError

STOCK = "tapes"
"""The purpose of a channel on which a model has tapes made for later."""

NAME_BYTES = SEED_BYTES = 32
MAX_KEPT = 1024
_LIMIT = 1 << 20


@dataclass(frozen=True, repr=False)
class Order(Secret):
    """What to deal for: a network, the seed that model and dealer share, the batch."""

    topology: bytes
    network: bytes
    seed: bytes
    batch: int


@dataclass(frozen=True, repr=False)
class StockOrder(Secret):
    """`count` tapes to deal for later, `checked` of them to be opened; kept: those of this dealer's still held."""

    order: Order
    count: int
    checked: int
    kept: tuple[bytes, ...]


def deal_order(order: Order) -> bytes:
    """Asks for a tape for this session, now."""
    return encode(["deal", order.topology, order.network, order.seed, order.batch])


def take_order(tape: bytes, network: bytes, batch: int) -> bytes:
    """Says which kept tape this session uses."""
    return encode(["take", tape, network, batch])


def suite_order(networks: dict[tuple[str, str], bytes]) -> bytes:
    """Says that tapes for the networks of a suite will be ordered, (task, axis) -> hash."""
    return encode(["suite", [[task, axis, name] for (task, axis), name in networks.items()]])


def agreed() -> bytes:
    """The dealer will deal for that suite."""
    return encode(["dealing"])


def over() -> bytes:
    """No more tapes are wanted."""
    return encode(["over"])


def stock_order(wish: StockOrder) -> bytes:
    """Asks for tapes to keep."""
    o = wish.order
    return encode(
        ["stock", o.topology, o.network, o.seed, o.batch, wish.count, wish.checked, list(wish.kept)]
    )


def tape_named(name: bytes) -> bytes:
    """The tape that a session uses, or whose frames follow."""
    return encode(["tape", name])


def seed_given(name: bytes, seed: bytes, batch: int) -> bytes:
    """The patient's part of a tape."""
    return encode(["seed", name, seed, batch])


def sorry(reason: str) -> bytes:
    """No."""
    return encode(["sorry", reason])


def open_order(names: list[bytes]) -> bytes:
    """The tapes to be opened."""
    return encode(["open", names])


def opened(seeds: list[TapeSeeds]) -> bytes:
    """Their seeds."""
    return encode(["opened", [[s.name, s.patient, s.fresh] for s in seeds]])


def _value(frame: bytes, words: dict[str, int], what: str) -> list[Any]:
    """The list in a frame that begins with one of `words` and has as many parts. Raises `ProtocolError`."""
    value = decode(frame, _LIMIT)
    if isinstance(value, list) and len(value) == 2 and value[0] == "sorry" and isinstance(value[1], str):
        raise ProtocolError(f"the dealer refused: {value[1][:200]}", "see its log, or choose another dealer")
    fits = isinstance(value, list) and len(value) > 0 and isinstance(value[0], str)
    if not fits or words.get(value[0]) != len(value):
        raise ProtocolError(f"not {what}")
    return list(value)


def _key(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != NAME_BYTES:
        raise ProtocolError("a name or seed is not 32 bytes")
    return value


def _number(value: Any, most: int, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ProtocolError(f"a number is not within {least}..{most}")
    return value


def _order(topology: Any, network: Any, seed: Any, batch: Any) -> Order:
    if not isinstance(topology, bytes):
        raise ProtocolError("the topology is not bytes")
    return Order(topology, _key(network), _key(seed), _number(batch, MAX_BATCH))


def read_session_order(frame: bytes) -> Order | tuple[bytes, bytes, int]:
    """The model's opening frame of a session: to deal live, or (tape, network, batch). Raises `ProtocolError`."""
    value = _value(frame, {"deal": 5, "take": 4}, "an order to deal")
    if value[0] == "deal":
        return _order(*value[1:])
    return _key(value[1]), _key(value[2]), _number(value[3], MAX_BATCH)


def is_suite_order(frame: bytes) -> bool:
    """Whether the model's opening frame of a session is for a volume."""
    value = decode(frame, _LIMIT)
    return isinstance(value, list) and value[:1] == ["suite"]


def read_suite_order(frame: bytes) -> dict[tuple[str, str], bytes]:
    """(task, axis) -> hash. Raises `ProtocolError`."""
    rows = _value(frame, {"suite": 2}, "an order for a suite")[1]
    if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) != 3 for row in rows):
        raise ProtocolError("the networks of a suite are malformed")
    if any(not isinstance(part, str) for row in rows for part in row[:2]):
        raise ProtocolError("the networks of a suite are malformed")
    found = {(task, axis): _key(name) for task, axis, name in rows}
    if len(found) != len(rows) or any(task not in TASKS or axis not in tuple(AXES) for task, axis in found):
        raise ProtocolError("a suite has one network for a task and an axis, and no others")
    return found


def read_next_order(frame: bytes) -> Order | None:
    """The next tape wanted for a volume, None when there is none. Raises `ProtocolError`."""
    value = _value(frame, {"deal": 5, "over": 1}, "an order to deal")
    return None if value[0] == "over" else _order(*value[1:])


def read_stock_order(frame: bytes) -> StockOrder:
    """The model's opening frame on a `tapes` channel. Raises `ProtocolError`."""
    value = _value(frame, {"stock": 8}, "an order for tapes")
    if not isinstance(value[7], list) or len(value[7]) > MAX_KEPT:
        raise ProtocolError(f"more than {MAX_KEPT} tapes are kept")
    count, checked = _number(value[5], MAX_KEPT), _number(value[6], MAX_KEPT, 0)
    return StockOrder(_order(*value[1:5]), count, checked, tuple(map(_key, value[7])))


def read_tape_named(frame: bytes) -> bytes:
    """A tape's name. Raises `ProtocolError`."""
    return _key(_value(frame, {"tape": 2}, "a tape's name")[1])


def tape_of(word: list[Any]) -> bytes:
    """A tape's name, from the word `tape` between the sessions of a volume. Raises `ProtocolError`."""
    return _key(word[1])


def read_seed(frame: bytes) -> tuple[bytes, bytes, int]:
    """(tape, seed, batch) that the dealer gave the patient. Raises `ProtocolError`."""
    value = _value(frame, {"seed": 4}, "a seed")
    return _key(value[1]), _key(value[2]), _number(value[3], MAX_BATCH)


def read_open_order(frame: bytes) -> list[bytes]:
    """The tapes to open. Raises `ProtocolError`."""
    value = _value(frame, {"open": 2}, "a list of tapes to open")[1]
    if not isinstance(value, list) or len(value) > MAX_KEPT:
        raise ProtocolError("not a list of tapes to open")
    return [_key(name) for name in value]


def read_opened(frame: bytes) -> list[TapeSeeds]:
    """The seeds of opened tapes. Raises `ProtocolError`."""
    value = _value(frame, {"opened": 2}, "opened seeds")[1]
    if not isinstance(value, list) or any(not isinstance(v, list) or len(v) != 3 for v in value):
        raise ProtocolError("not opened seeds")
    return [TapeSeeds(*map(_key, v)) for v in value]
