"""Serves a page's application on this machine's own address."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from agents.pages.guard import TOKEN
from protocols.errors import WireError


@dataclass(frozen=True, slots=True)
class Served:
    """A page that is being served. `url` holds its key: show it to its owner alone."""

    url: str
    port: int
    runner: web.AppRunner

    async def close(self) -> None:
        await self.runner.cleanup()


def note_url(path: Path, served: Served) -> None:
    """Write a page's address, whose key opens it, where this user alone can read it."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(served.url + "\n")


async def serve_again(app: web.Application, port: int, noted: Path) -> Served:
    """Serves as `serve` does; port 0 takes the one that `noted` names from before, if it is to be had still.

    The key is new at every start, but a page that is still open finds its agent again and can say so.
    """
    if port == 0:
        try:
            return await serve(app, urlsplit(noted.read_text("utf-8").strip()).port or 0)
        except (OSError, ValueError, WireError):
            return await serve(app, 0)
    return await serve(app, port)


async def serve(app: web.Application, port: int = 0) -> Served:
    """Serves on 127.0.0.1; port 0 takes a free one. WireError when the port cannot be had."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    try:
        await site.start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        fault = (
            f"port {port} of this machine is taken" if taken else f"port {port} cannot be opened ({error})"
        )
        raise WireError(fault, "stop what holds it, or choose another port (0 takes a free one)") from error
    real = int(runner.addresses[0][1])
    key = f"#token={app[TOKEN]}" if TOKEN in app else ""
    return Served(f"http://127.0.0.1:{real}/{key}", real, runner)
