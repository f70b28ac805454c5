"""Between asyncio and the trio thread: a call across either way, and nothing shared but its arguments."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import trio

from protocols.errors import WireError

T = TypeVar("T")


def stopped() -> WireError:
    """The error of using a node that does not run."""
    return WireError("the node has stopped", "start it again")


class Bridge:
    """Made on the trio thread, inside the nursery that its calls run in."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._token = trio.lowlevel.current_trio_token()

    def post(self, function: Callable[..., object], *arguments: Any) -> bool:
        """Runs a function on the trio thread, soon. Callable from any thread; False when trio has ended."""
        try:
            self._token.run_sync_soon(function, *arguments)
        except trio.RunFinishedError:
            return False
        return True

    async def call(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """From asyncio: the result of a trio function. Cancelling the caller cancels it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        scope: trio.CancelScope = trio.CancelScope()

        async def run() -> None:
            settle: Callable[[], None] = lambda: future.set_exception(stopped())  # noqa: E731
            try:
                with scope:
                    result = await function(*arguments)
                    settle = lambda: future.set_result(result)  # noqa: E731
            except Exception as error:
                failure = error
                settle = lambda: future.set_exception(failure)  # noqa: E731
            finally:
                _post_to(loop, lambda: None if future.done() else settle())

        def start() -> None:
            try:
                self._nursery.start_soon(run)
            except RuntimeError:  # the nursery has closed
                _post_to(loop, lambda: None if future.done() else future.set_exception(stopped()))

        if not self.post(start):
            raise stopped()
        try:
            return await future
        except asyncio.CancelledError:
            self.post(scope.cancel)
            raise

    async def ask(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., Coroutine[Any, Any, T]],
        *arguments: Any,
    ) -> T:
        """From trio: the result of an asyncio coroutine function on `loop`. Cancellation cancels it."""
        done = trio.Event()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = loop.create_task(function(*arguments))
            tasks.append(task)
            task.add_done_callback(lambda _: self.post(done.set))

        if not _post_to(loop, start):
            raise stopped()
        try:
            await done.wait()
        except trio.Cancelled:
            _post_to(loop, lambda: tasks[0].cancel() if tasks else None)
            raise
        if tasks[0].cancelled():
            raise stopped()
        return tasks[0].result()


def _post_to(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> bool:
    with contextlib.suppress(RuntimeError):  # the loop has closed
        loop.call_soon_threadsafe(function)
        return True
    return False
