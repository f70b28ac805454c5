"""What the commands share: options, opening of keystores and address books, running a duty, errors for people."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from agents.engine.duty import Duty, Setup
from agents.keyring import Keyring
from agents.keystore import create, load
from contracts.chain.address_book import AddressBook
from protocols.case.policy import SpendingPolicy
from protocols.errors import CrypDocError

F = TypeVar("F", bound=Callable[..., Any])
ETHER = 10**18
HOME = Path("~/.crypdoc")


class Wei(click.ParamType):
    """An amount of money: `0.05`, `0.05ether`, `20finney`, `1000wei`."""

    name = "amount"
    units: ClassVar[dict[str, int]] = {
        "wei": 1,
        "gwei": 10**9,
        "finney": 10**15,
        "ether": ETHER,
        "eth": ETHER,
    }

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The amount in wei."""
        from decimal import Decimal, InvalidOperation

        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        number = text.rstrip("abcdefghijklmnopqrstuvwxyz").strip()
        unit = text[len(number) :].strip() or "ether"
        try:
            wei = Decimal(number) * self.units[unit]
        except (InvalidOperation, KeyError):
            self.fail(f"{value!r} is no amount of money; write it like 0.05ether or 20finney")
        if wei < 0 or wei != wei.to_integral_value():
            self.fail(f"{value!r} is no whole number of wei, zero or more")
        return int(wei)


WEI = Wei()


def network_options(command: F) -> F:
    """--data, --keystore, --rpc, --book, --join, --host, --port, --tls-port, --reach, --cap-case, --cap-day."""
    options = [
        click.option(
            "--data", type=click.Path(path_type=Path), help="Folder of this agent's log. [~/.crypdoc/ROLE]"
        ),
        click.option(
            "--keystore", type=click.Path(path_type=Path), help="Encrypted key file. [DATA/keystore.json]"
        ),
        click.option("--name", default="", help="What this agent is called on screens. [the role]"),
        click.option(
            "--rpc", default="http://127.0.0.1:8545", envvar="CRYPDOC_RPC", show_default=True, help="Chain."
        ),
        click.option(
            "--book",
            type=click.Path(path_type=Path),
            default=Path("addresses.json"),
            envvar="CRYPDOC_BOOK",
            show_default=True,
            help="Address book that `crypdoc deploy` wrote.",
        ),
        click.option(
            "--join",
            multiple=True,
            envvar="CRYPDOC_JOIN",
            metavar="MULTIADDR",
            help="Where another agent can be dialled, as it printed it (/ip4/.../p2p/...). One is enough.",
        ),
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option("--port", default=0, help="libp2p port, 0 for a free one."),
        click.option("--tls-port", default=0, help="Port of the direct channel, 0 for a free one."),
        click.option("--reach", default="", help="Name or address that others dial, when it is not --host."),
        click.option(
            "--cap-case", type=WEI, default="1ether", show_default=True, help="Most that a case may cost."
        ),
        click.option(
            "--cap-day", type=WEI, default="5ether", show_default=True, help="Most that a day may cost."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def fold(error: CrypDocError) -> str:
    """An error as one sentence."""
    text = str(error)
    return text if text.endswith(".") else text + "."


def guarded(command: F) -> F:
    """A command whose errors reach people as one sentence and an exit code, never as a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except CrypDocError as error:
            click.echo(f"crypdoc: {fold(error)}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo(
                "crypdoc: stopped; what was begun is written down and goes on at the next start", err=True
            )
            sys.exit(130)

    return run  # type: ignore[return-value]


def engine_options(command: F) -> F:
    """--engine and --dealer, for a command that evaluates networks on this machine."""
    engine = click.option(
        "--engine",
        default="blind",
        show_default=True,
        type=click.Choice(["blind", "crypten", "plain"]),
        help="How networks are evaluated. crypten needs `scripts/setup crypten`.",
    )
    dealer = click.option(
        "--dealer",
        default="local",
        show_default=True,
        type=click.Choice(["local", "none"]),
        help="Who makes the randomness of the blind engine: a third process, or patient and model alone "
        "(needs `scripts/setup he`; slow).",
    )
    return engine(dealer(command))


def open_keystore(path: Path) -> Keyring:
    """The keyring of a keystore; a missing one is made, so that a first start needs one command."""
    path = path.expanduser()
    if path.exists():
        return load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    click.echo(f"making a new wallet in {path}; its password protects everything, choose it well", err=True)
    return create(path)


def make_setup(role: str, options: dict[str, Any], extra: dict[str, Any]) -> Setup:
    """The setup of a duty from command line options (see `network_options`)."""
    data = Path(options["data"] or HOME / role).expanduser()
    keyring = open_keystore(Path(options["keystore"] or data / "keystore.json"))
    return Setup(
        name=options["name"] or role,
        data=data,
        keyring=keyring,
        book=AddressBook.load(Path(options["book"])),
        rpc=options["rpc"],
        policy=SpendingPolicy(role, options["cap_case"], options["cap_day"]),
        host=options["host"],
        port=options["port"],
        tls_port=options["tls_port"],
        reach=options["reach"],
        bootstrap=tuple(options["join"]),
        options=extra,
    )


async def _say_where(duty: Duty[Any]) -> None:
    """Once it is up, say how others reach it."""
    while duty.seen_block < 0:
        await asyncio.sleep(0.1)
    for address in duty.multiaddrs:
        click.echo(f"{duty.setup.name}: others reach it with --join {address}")


def run_duty(
    make: Callable[[], Duty[Any]], work: Callable[[Any], Coroutine[Any, Any, int]] | None = None
) -> int:
    """Run a duty until it is told to stop (Ctrl-C, SIGTERM) or `work` is over; the exit code."""

    async def go() -> int:
        duty = make()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, duty.stopping.set)
        code = 0
        main = asyncio.create_task(duty.run())
        hail = asyncio.create_task(_say_where(duty))
        if work is not None:
            side = asyncio.create_task(work(duty))
            done, _ = await asyncio.wait({main, side}, return_when=asyncio.FIRST_COMPLETED)
            if side in done:
                duty.stopping.set()
                code = side.result()
            else:
                side.cancel()
        try:
            await main
        finally:
            hail.cancel()
        return code

    return asyncio.run(go())


def quiet_logs(level: int = logging.WARNING) -> None:
    """Libraries speak up for warnings only; the full log goes to the agent's data folder."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("aea", "libp2p", "asyncio", "trio", "multiaddr", "aiohttp"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name != "aiohttp" else logging.WARNING)
