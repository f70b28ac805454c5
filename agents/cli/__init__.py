"""The `crypdoc` command."""

from agents.cli.main import main

__all__ = ["main"]
