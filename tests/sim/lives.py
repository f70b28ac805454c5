"""Agents that die and come back: which life a task belongs to, what survives it, and where it ends.

An `Agent` is a participant for the whole run: wallet, log, allowance. A `Life` is one process of it: the
duty object, its tasks, its open channels. A crash ends a life at once, wherever it is: its tasks are
cancelled, its log takes no more writes (an open transaction is rolled back, as SQLite does after `kill -9`),
its channels close. The log and the allowance are carried into the next life; nothing else is.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from agents.engine.store import Store
from agents.framework.allowance import Allowance
from agents.keyring import Keyring

if TYPE_CHECKING:
    from tests.sim.world import World

LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class Crash(BaseException):
    """`kill -9`, as the code that was running sees it."""


class Mortal:
    """A database connection that ends with its life. Counts commits, where crashes may be set."""

    def __init__(self, db: sqlite3.Connection, life: Life) -> None:
        self._db, self._life = db, life

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        """As the connection's; a dead agent writes nothing."""
        if not self._life.alive:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Crash
        if sql != "COMMIT":
            return self._db.execute(sql, values)
        try:
            self._life.hit("commit-before")
        except Crash:
            self._db.execute("ROLLBACK")
            raise
        done = self._db.execute(sql)
        self._life.hit("commit-after")
        return done

    def executescript(self, sql: str) -> sqlite3.Cursor:
        """As the connection's."""
        return self._db.executescript(sql)

    def close(self) -> None:
        """The log outlives the process."""


class Agent:
    """One participant. crashes: (kind, count) -> seconds until it comes back, None for never."""

    def __init__(self, world: World, name: str, role: str, secret: bytes) -> None:
        self.world, self.name, self.role = world, name, role
        self.keyring = Keyring(secret)
        self.address = self.keyring.address
        self.log = Store(None)._db
        self.allowance = Allowance(None)
        self.crashes: dict[tuple[str, int], float | None] = {}
        self.hits: Counter[str] = Counter()
        self.lives = 0
        self.life: Life | None = None
        self.gone = False
        self.retired = False
        self.vice = ""
        self.make: Callable[[Agent], Any]
        self.main: Callable[[Any], Coroutine[Any, Any, None]]

    @property
    def up(self) -> bool:
        """Whether a process of it runs."""
        return self.life is not None and self.life.alive

    @property
    def duty(self) -> Any:
        """The running process's duty."""
        assert self.life is not None
        return self.life.duty

    def start(self) -> None:
        """A process starts."""
        if self.gone or self.up:
            return
        self.lives += 1
        self.life = Life(self)
        self.life.begin()

    def arm(self, kind: str, count: int, back: float | None) -> None:
        """Die at the count-th passing of a kind of moment."""
        self.crashes[(kind, count)] = back

    def leave(self) -> None:
        """Vanish for good."""
        if self.up:
            assert self.life is not None
            self.life.end("vanishes", None)
        self.gone = True


class Life:
    """One process."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.world = agent, agent.world
        self.number = agent.lives
        self.alive = True
        self.ready = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.channels: list[Any] = []
        self.context = contextvars.copy_context()
        self.context.run(LIFE.set, self)
        self.duty: Any = None

    def begin(self) -> None:
        """Make the duty and run it."""
        self.world.trace(self.agent.name, f"starts (life {self.number})")
        try:
            self.duty = self.context.run(self.agent.make, self.agent)
        except Crash:
            return  # died while it opened its log
        self.spawn(self._run())

    async def _run(self) -> None:
        try:
            await self.agent.main(self.duty)
        except (Crash, asyncio.CancelledError):
            raise
        except BaseException as error:
            self.world.defect(f"{self.agent.name}'s process ended: {type(error).__name__}: {error}")

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this process."""
        return self.context.run(self.world.loop.create_task, work)

    def hit(self, kind: str) -> None:
        """Pass a moment; raises `Crash` where one was set."""
        if not self.alive:
            raise Crash
        self.agent.hits[kind] += 1
        key = (kind, self.agent.hits[kind])
        if key in self.agent.crashes:
            self.end(f"crashes at {kind} #{key[1]}", self.agent.crashes[key])
            raise Crash

    def end(self, why: str, back: float | None) -> None:
        """The process is gone, now."""
        if not self.alive:
            return
        self.alive = False
        self.world.trace(self.agent.name, why)
        for channel in self.channels:
            channel.cut()
        if back is None:
            self.agent.gone = True
        self.world.loop.call_soon(self._reap, back, context=contextvars.Context())

    def _reap(self, back: float | None) -> None:
        for task in self.tasks:
            task.cancel()
        if self.agent.log.in_transaction:
            self.agent.log.execute("ROLLBACK")
        if back is not None:
            # Not before the cancelled tasks have unwound.
            self.world.loop.call_later(max(back, 0.01), self.agent.start, context=contextvars.Context())


def task_factory(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any
) -> asyncio.Task[Any]:
    """Every task belongs to the life that made it."""
    task = asyncio.Task(work, loop=loop, **more)
    life = LIFE.get()
    if life is not None:
        if len(life.tasks) > 64:
            life.tasks = [t for t in life.tasks if not t.done()]
        life.tasks.append(task)
        if not life.alive:
            task.cancel()
    return task
