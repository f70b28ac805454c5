"""The command's entry: subcommands are imported when they are used, so that `crypdoc --help` is quick."""

from __future__ import annotations

import importlib
import os
from typing import Any

import click

COMMANDS = {
    "demo": "agents.cli.demo:demo",
    "patient": "agents.cli.roles:patient",
    "doctor": "agents.cli.roles:doctor",
    "model": "agents.cli.roles:model",
    "dealer": "agents.cli.roles:dealer",
    "researcher": "agents.cli.roles:researcher",
    "chain": "agents.cli.chain:chain",
    "deploy": "agents.cli.chain:deploy",
    "keys": "agents.cli.keys:keys",
    "status": "agents.cli.status:status",
    "verify": "agents.cli.verify:verify",
    "train": "agents.cli.train:train",
    "evaluate": "agents.cli.evaluate:evaluate",
    "segment": "agents.cli.segment:segment",
}


class Lazy(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="crypdoc")
def crypdoc(**_: Any) -> None:
    """A scan read by a model that never sees it and by a blind panel of doctors, paid for agreeing on the truth.

    \b
    See it all at once, on this machine:
        crypdoc demo
    \b
    Or start the parts yourself, on one machine or on five:
        crypdoc chain                                a chain of your own (or use any EVM chain)
        crypdoc keys new --keystore attester.json    a wallet, encrypted
        crypdoc deploy --attester 0x...              the contracts; writes addresses.json
        crypdoc dealer                               prints where it can be joined
        crypdoc model --join /ip4/.../p2p/...        sells predictions on scans it cannot see
        crypdoc doctor --credential me.json --join /ip4/.../p2p/...
        crypdoc patient scan.jpg --join /ip4/.../p2p/...
        crypdoc status                               cases, panels, balances, reputations
        crypdoc verify certificate.json              whether a diagnosis is the panel's
    \b
    Or make a network of your own:
        crypdoc train --help

    Every command has a --help that teaches.
    """


def main() -> None:
    """The console script. What it and its children write is their owner's alone: case logs hold scans."""
    from agents.cli.common import quiet_logs

    os.umask(0o077)
    quiet_logs()
    crypdoc()
