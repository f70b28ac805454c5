"""Where a kill test stops an agent: `kill -9` of itself at a named point, once.

`CRYPDOC_KILL_AT=POINT[#N]` names the point (and the N-th time it is passed). A point is `MOMENT:WHAT`. WHAT is an
effect (`tx/commit`, `say/quote.cfp`, `infer`) or a message that is heard (`quote.propose`). MOMENT is one of

* `before-write`: the decision has been made, nothing of it is written;
* `after-write`: it is written, and nothing of it is done (a heard message: it is not acknowledged yet);
* `after-sign`: a transaction is signed and written, and not sent;
* `after-send`: it has gone out (transaction, message, acknowledgement), and what came of it is not known;
* `before-done`: what came of it is known, and not written.

It does to the agent what a power cut does, and nothing else.
"""

from __future__ import annotations

import os
import signal

MOMENTS = ("before-write", "after-write", "after-sign", "after-send", "before-done")


def _armed() -> tuple[str, int]:
    wanted, _, count = os.environ.get("CRYPDOC_KILL_AT", "").partition("#")
    return wanted, int(count or 1)


_wanted, _left = _armed()


def rearm() -> None:
    """Read the environment again, in a process that was forked with another one."""
    global _wanted, _left
    _wanted, _left = _armed()


def point(moment: str, what: str) -> None:
    """Pass a point; the process dies here when it is the one that was named."""
    global _left
    if not _wanted or f"{moment}:{what}" != _wanted:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


def label(effect_kind: str, body: dict[str, object]) -> str:
    """How an effect is named in a point: `tx/commit`, `say/quote.cfp`, `infer`."""
    if effect_kind in ("transact", "pay"):
        return "tx/" + str(body["step"]).split("/")[0]
    if effect_kind == "say":
        return f"say/{body['conversation']}.{body['performative']}"
    return effect_kind
