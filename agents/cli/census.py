"""What the chain shows of everybody: cases, doctors, networks, read at one block so that it belongs together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from contracts.bindings import Contracts, EventSearch, Read
from contracts.bindings.doctors import DoctorState
from contracts.bindings.events import CaseEvent, CaseOpened, Listed, Refunded, Settled
from contracts.chain.client import ChainClient
from protocols.case.view import CaseView
from protocols.specialty import SPECIALTIES, Specialty

T = TypeVar("T")
AT_ONCE = 8
"""Questions under way at once: more would only queue in the node."""
PAGE = 50
MAX_NESTING = 100
"""Brackets in a card: the JSON of many would exhaust the stack."""


@dataclass(frozen=True, slots=True)
class DoctorLine:
    """A doctor in one specialty. state: active, resting, left, or lapsed (its credential is over); money is wei."""

    address: str
    specialty: str
    state: str
    reputation: int
    scored: int
    open_seats: int
    balance_wei: int
    credit_wei: int
    deposit_wei: int


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A network and its owner. name, auc, accuracy: what its card claims, 0 and "" when it says nothing."""

    network: str
    name: str
    owner: str
    specialty: str
    active: bool
    price_wei: int
    reputation: int
    auc: float
    accuracy: float
    balance_wei: int
    credit_wei: int


@dataclass(frozen=True, slots=True)
class Census:
    """Everything, as of `block`, whose timestamp is `now`. cases: newest first, those asked for.

    total, settled, refunded: how many cases there ever were; records: on the market.
    """

    chain_id: int
    block: int
    now: int
    cases: tuple[CaseView, ...]
    doctors: tuple[DoctorLine, ...]
    models: tuple[ModelLine, ...]
    total: int
    settled: int
    refunded: int
    records: int


class Enumerator:
    """Asks one chain about one block."""

    def __init__(self, client: ChainClient, contracts: Contracts, block: int, now: int) -> None:
        self._client = client
        self._contracts = contracts
        self._block = block
        self._now = now
        self._room = asyncio.Semaphore(AT_ONCE)

    async def census(self, limit: int, closed: bool, prefix: str = "") -> Census:
        """Everything; of the cases, the newest `limit` that are open (or closed too), their id beginning so.

        Raises `ChainError`.
        """
        cases, market = self._contracts.cases, self._contracts.market
        ids = await self._ids(cases.opened(), CaseOpened)
        settled = set(await self._ids(cases.search("Settled"), Settled))
        refunded = set(await self._ids(cases.search("Refunded"), Refunded))
        wanted = [i for i in ids if (closed or i not in settled | refunded) and hex(i).startswith(prefix)]
        views = await _all(self._ask(self._view(i)) for i in reversed(wanted[-limit:]))
        fields = SPECIALTIES.values()
        doctors = [line for field in fields for line in await self._doctors(field)]
        models = [line for field in fields for line in await self._models(field)]
        return Census(
            self._client.chain_id,
            self._block,
            self._now,
            tuple(views),
            tuple(sorted(doctors, key=lambda line: -line.reputation)),
            tuple(sorted(models, key=lambda line: -line.reputation)),
            len(ids),
            len(settled),
            len(refunded),
            len(set(await self._ids(market.listings(), Listed))),
        )

    async def _ids(self, search: EventSearch, kind: type[CaseEvent]) -> list[int]:
        found = await self._client.events(search, self._contracts.book.deployed_block, self._block)
        return [event.case_id for event in found if isinstance(event, kind)]

    def _view(self, case_id: int) -> Read[CaseView]:
        return self._contracts.cases.view(case_id, self._block, self._now)

    async def _doctors(self, field: Specialty) -> list[DoctorLine]:
        doctors = self._contracts.doctors
        count = await self._ask(doctors.members_of(field.id))
        pages = [doctors.members_page(field.id, at, min(PAGE, count - at)) for at in range(0, count, PAGE)]
        members = [who for page in await _all(map(self._ask, pages)) for who in page]
        return await _all(self._doctor(who, field) for who in dict.fromkeys(members))

    async def _doctor(self, who: str, field: Specialty) -> DoctorLine:
        c = self._contracts
        found = await self._ask(c.doctors.doctor(who))
        reputation, scored = await self._ask(c.reputation.standing(who, field.id))
        until = dict(zip(found.specialties, found.valid_until, strict=True)).get(field.id, 0)
        state = "active"
        if found.state is not DoctorState.ACTIVE:
            state = "left"
        elif until <= self._now:
            state = "lapsed"
        elif found.resting:
            state = "resting"
        return DoctorLine(
            who,
            field.name,
            state,
            reputation,
            scored,
            found.open_seats,
            await self._balance(who),
            await self._ask(c.cases.credit_of(who)) + await self._ask(c.market.credit_of(who)),
            found.deposit,
        )

    async def _models(self, field: Specialty) -> list[ModelLine]:
        models = self._contracts.models
        count = await self._ask(models.networks_of(field.id))
        pages = [models.networks_page(field.id, at, min(PAGE, count - at)) for at in range(0, count, PAGE)]
        networks = [name for page in await _all(map(self._ask, pages)) for name in page]
        return await _all(self._model(name, field) for name in dict.fromkeys(networks))

    async def _model(self, network: bytes, field: Specialty) -> ModelLine:
        c = self._contracts
        found = await self._ask(c.models.network(network))
        card = _card(found.card)
        return ModelLine(
            "0x" + network.hex(),
            str(card.get("name", ""))[:40],
            found.owner,
            field.name,
            found.active,
            found.price,
            await self._ask(c.reputation.of_network(network, field.id)),
            _figure(card.get("auc")),
            _figure(card.get("accuracy")),
            await self._balance(found.owner),
            await self._ask(c.models.credit_of(found.owner))
            + await self._ask(c.market.credit_of(found.owner)),
        )

    async def _ask(self, question: Read[T]) -> T:
        async with self._room:
            return await self._client.read(question, self._block)

    async def _balance(self, who: str) -> int:
        async with self._room:
            return await self._client.balance(who, self._block)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*work))


def _card(text: str) -> dict[str, Any]:
    """A card on chain is its owner's word: anything may stand there."""
    try:
        found = json.loads(text) if text.count("[") + text.count("{") <= MAX_NESTING else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _figure(value: Any) -> float:
    proper = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if proper else 0.0
