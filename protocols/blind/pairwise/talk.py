"""Talks: many exchanges between two sides at once, without I/O.

A talk is one exchange, a generator on either side: it yields what it says and is sent what it hears, in turn; at
first it says b"" if the other side begins. It returns its last words (b"" for none) and what it made. Both sides open
the same talks in the same order, `WINDOW` at a time, so that both and the wire work at once. A frame is the number of
the talk (4 bytes) and words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeAlias, TypeVar

from protocols.blind.secret import Secret
from protocols.errors import ProtocolError

T = TypeVar("T")
Talk: TypeAlias = Generator[bytes, bytes, tuple[bytes, T]]

WINDOW = 4
NUMBER_BYTES = 4


def _bad(why: str) -> ProtocolError:
    return ProtocolError(f"a frame of the preprocessing does not belong: {why}", "start a new session")


class Talks(Secret, Generic[T]):
    """One side of all talks. talks: opened in order. take: what each made, in order.

    `start` and `receive` give the frames to send; both raise `ProtocolError`, after which nothing more is taken.
    rounds: the messages that this side had to wait for, if only one talk were held at a time.
    """

    def __init__(self, talks: Iterator[Talk[T]], take: Callable[[T], None]) -> None:
        self._talks, self._take = talks, take
        self._open: dict[int, Talk[T]] = {}
        self._early: dict[int, deque[bytes]] = {}
        self._made: dict[int, T] = {}
        self._begun = self._taken = self.rounds = 0
        self._more, self._dead = True, False

    @property
    def done(self) -> bool:
        """Nothing is due from the other side."""
        return not self._more and not self._open and not self._dead

    def start(self) -> list[bytes]:
        """Opens the first talks."""
        return self._guarded(lambda out: self._advance(out))

    def receive(self, frame: bytes | memoryview) -> list[bytes]:
        """What the other side said; what to say next."""

        def act(out: list[bytes]) -> None:
            number, words = int.from_bytes(frame[:NUMBER_BYTES], "big"), bytes(frame[NUMBER_BYTES:])
            if not words or len(frame) <= NUMBER_BYTES:
                raise _bad("it is too short")
            if number in self._open:
                self._hear(number, words, out)
            elif self._begun <= number < self._begun + 2 * WINDOW and self._more:
                waiting = self._early.setdefault(number, deque())
                if waiting:
                    raise _bad("it came before its time")
                waiting.append(words)
            else:
                raise _bad("its talk is over, or far ahead")
            self._advance(out)

        return self._guarded(act)

    def _guarded(self, act: Callable[[list[bytes]], None]) -> list[bytes]:
        if self._dead:
            raise ProtocolError("this preprocessing has ended on an error", "start a new session")
        out: list[bytes] = []
        try:
            act(out)
        except BaseException:
            self._dead, self._more = True, False
            self._open, self._early, self._made = {}, {}, {}
            raise
        return out

    def _say(self, number: int, words: bytes, out: list[bytes]) -> None:
        if words:
            out.append(number.to_bytes(NUMBER_BYTES, "big") + words)

    def _hear(self, number: int, words: bytes, out: list[bytes]) -> None:
        self.rounds += 1
        try:
            self._say(number, self._open[number].send(words), out)
        except StopIteration as end:
            last, made = end.value
            self._say(number, last, out)
            del self._open[number]
            self._made[number] = made

    def _advance(self, out: list[bytes]) -> None:
        """Hands over what is made, opens what may be opened."""
        while True:
            while self._taken in self._made:
                self._take(self._made.pop(self._taken))
                self._taken += 1
            if not self._more or self._begun - self._taken >= WINDOW:
                break
            talk = next(self._talks, None)
            if talk is None:
                self._more = False
                if self._early:
                    raise _bad("there is no such talk")
                break
            number, self._begun = self._begun, self._begun + 1
            self._open[number] = talk
            self._say(number, next(talk), out)
            if number in self._early:
                self._hear(number, self._early.pop(number).popleft(), out)
