"""One AEA agent, wired from objects: no YAML, no registry, no key in AEA's own wallet.

A role's skill is one handler a conversation and one ticking behaviour; they do nothing but pass what came to the
duty, which owns the case log. Everything runs on one asyncio loop but the decision maker, which has its own thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aea.aea import AEA
from aea.configurations.base import SkillConfig
from aea.connections.base import Connection
from aea.crypto.wallet import Wallet
from aea.identity.base import Identity
from aea.protocols.base import Message
from aea.registries.resources import Resources
from aea.skills.base import Handler, Skill, SkillContext
from aea.skills.behaviours import TickerBehaviour

from agents.framework.decision import DecisionHandler, DecisionMakerPort, Signatory
from agents.framework.messages import AEA_VERSION, MESSAGES, SaidMessage, aea_protocol, to_message
from protocols.dialogues import CONVERSATIONS, Said
from protocols.errors import CrypDocError, WireError

log = logging.getLogger(__name__)

SPEAKS: dict[str, tuple[str, ...]] = {
    "patient": ("quote", "session", "delivery", "disclosure", "purchase"),
    "model": ("quote", "session"),
    "dealer": ("session",),
    "doctor": ("delivery", "disclosure"),
    "researcher": ("purchase",),
}
"""Which conversations a role's skill has handlers for."""

Hear = Callable[[str, Said], None]


class _SaidHandler(Handler):  # type: ignore[misc]
    """Passes a message on to the duty. Never raises: a peer's message must not end the agent."""

    SUPPORTED_PROTOCOL = None
    hear: Hear

    def setup(self) -> None:
        """Nothing to set up."""

    def teardown(self) -> None:
        """Nothing to tear down."""

    def handle(self, message: Message) -> None:
        if not isinstance(message, SaidMessage):
            log.warning("a message of an unknown kind came from %s", message.sender)
            return
        try:
            self.hear(message.sender, message.said)
        except CrypDocError as error:
            log.info("message from %s turned away: %s", message.sender, error)
        except Exception:
            log.exception("a message from %s could not be handled", message.sender)


class _Pulse(TickerBehaviour):  # type: ignore[misc]
    """The agent's pulse: lets the duty look at the chain and at its clock."""

    beat: Callable[[], None]

    def setup(self) -> None:
        """Nothing to set up."""

    def teardown(self) -> None:
        """Nothing to tear down."""

    def act(self) -> None:
        try:
            self.beat()
        except Exception:
            log.exception("the pulse failed")


class AgentRuntime:
    """A running AEA. connection: the wire; hear and beat: the duty's ears and clock."""

    def __init__(
        self,
        role: str,
        address: str,
        public_key: str,
        connection: Connection,
        signatory: Signatory,
        hear: Hear,
        beat: Callable[[], None],
        pulse: float,
    ) -> None:
        identity = Identity(role, address=address, public_key=public_key)
        resources = Resources(role)
        for name in CONVERSATIONS:
            resources.add_protocol(aea_protocol(CONVERSATIONS[name]))
        resources.add_connection(connection)
        self._aea = AEA(
            identity,
            Wallet({}),
            resources,
            data_dir=".",
            loop=asyncio.get_running_loop(),
            period=0.02,
            runtime_mode="async",
            decision_maker_handler_class=DecisionHandler,
            decision_maker_handler_config={"signatory": signatory},
            default_connection=connection.configuration.public_id,
            default_ledger="ethereum",
        )
        resources.add_skill(_skill(role, self._aea, hear, beat, pulse))
        self.signer = DecisionMakerPort(self._aea.context.decision_maker_message_queue.put_nowait)
        self._address = address
        self._ended: asyncio.Future[object] | None = None

    async def start(self) -> None:
        """Start the agent in the running loop and wait until its wire is up."""
        runtime = self._aea.runtime
        runtime.set_loop(asyncio.get_running_loop())
        runtime.start()
        # Cancelling this future would cancel the agent itself, so it is kept.
        ended = self._ended = asyncio.ensure_future(runtime.wait_completed())
        while not (runtime.multiplexer.is_connected and runtime.is_running):
            if ended.done():
                raise _cause(ended.exception())  # a taken port, for one
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop cleanly."""
        self._aea.runtime.stop()
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=15)

    def waiting(self) -> int:
        """How many envelopes came that no handler has seen yet."""
        return int(self._aea.runtime.multiplexer.in_queue.qsize())

    def put(self, to: str, said: Said) -> None:
        """Hand a message to AEA's outbox."""
        self._aea.context.outbox.put_message(message=to_message(said, to=to, sender=self._address))


def _cause(error: BaseException | None) -> CrypDocError:
    """Why the agent ended: our own error under those that AEA wraps it in."""
    seen = error
    while seen is not None and not isinstance(seen, CrypDocError):
        seen = seen.__cause__ or seen.__context__
    if seen is not None:
        return seen
    why = f" ({error})" if error else ""
    return WireError(f"the agent's wire ended while it started{why}", "start it again")


def _skill(role: str, aea: AEA, hear: Hear, beat: Callable[[], None], pulse: float) -> Skill:
    context = SkillContext(aea.context)
    handlers = {}
    for name in SPEAKS[role]:
        kind = type(
            f"{name.title()}Handler", (_SaidHandler,), {"SUPPORTED_PROTOCOL": MESSAGES[name].protocol_id}
        )
        handler = kind(name=name, skill_context=context)
        handler.hear = hear
        handlers[name] = handler
    behaviour = _Pulse(tick_interval=pulse, name="pulse", skill_context=context)
    behaviour.beat = beat
    config = SkillConfig(role, "crypdoc", "1.0.0", aea_version=AEA_VERSION)
    return Skill(config, context, handlers=handlers, behaviours={"pulse": behaviour})
