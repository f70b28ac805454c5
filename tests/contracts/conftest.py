"""One world for all contract tests: built once, each test's changes are undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.world import World


@pytest.fixture(scope="session")
def _world() -> World:
    world = World()
    world.add_doctors(24)
    return world


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """Everything deployed, 24 doctors registered, nothing opened yet."""
    members, ballots = dict(_world.members), dict(_world.ballots)
    with _world.chain.undone():
        yield _world
        _world.check_books()
    _world.members, _world.ballots = members, ballots


@pytest.fixture
def bare() -> Iterator[World]:
    """Everything deployed, no doctor, all for one test."""
    world = World()
    yield world
    world.check_books()
