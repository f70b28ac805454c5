"""Where a kill test stops an agent: `kill -9` of itself at a named point, once.

`CRYPDOC_KILL_AT=POINT[#N]` names the point (and the N-th time it is passed). Points are
`MOMENT:WHAT`, MOMENT one of `before-write`, `after-write`, `after-sign`, `after-send`, WHAT the event or effect:
`before-write:tx/commit`. It does to the agent what a power cut does, and nothing else.
"""

from __future__ import annotations

import os
import signal

_wanted, _, _count = os.environ.get("CRYPDOC_KILL_AT", "").partition("#")
_left = int(_count or 1)


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
