"""Starts agents and processes for a test, and stops them whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from wire_harness import Agent, Peer


@pytest.fixture
async def agent() -> AsyncIterator[Callable[..., Awaitable[Agent]]]:
    """`await agent(number, ...)`: a running agent in this process."""
    running: list[Agent] = []

    async def start(*arguments: Any, **named: Any) -> Agent:
        made = Agent(*arguments, **named)
        running.append(made)
        await made.connection.connect()
        return made

    yield start
    for made in reversed(running):
        await made.connection.disconnect()


@pytest.fixture
async def peer() -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """`await peer(number, ...)`: a running agent in a process of its own."""
    running: list[Peer] = []

    async def start(*arguments: Any, **named: Any) -> Peer:
        made = Peer(*arguments, **named)
        running.append(made)
        return await made.start()

    yield start
    for made in running:
        await made.kill()
