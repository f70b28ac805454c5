"""One agent's process: `crypdoc ARGUMENTS` in a process forked from one that has imported everything already.

It is a process like any other (own memory, own keys, killed with `kill -9`); only the seconds of importing are saved.
`python -m agents.cli` does the same, and the end-to-end tests of bad situations start agents that way.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import agents.cli.chain
import agents.cli.roles
import agents.dealer.duty
import agents.doctor.desk
import agents.doctor.duty
import agents.engine.duty
import agents.engine.errands
import agents.model.duty
import agents.patient.duty
import agents.patient.session
import agents.researcher.duty
import contracts.chain.embedded  # noqa: F401 (imported before the fork, used after it)
from agents.cli.main import main
from agents.engine import faults

CLAIM_AFTER = 10.0
COLLECT_SECONDS = 6.0


def act(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Be the command until it ends. The log gets what it prints. Shorter waits than at home, nothing else is new."""
    os.environ.update(environment)
    faults.rearm()
    agents.model.duty.CLAIM_AFTER = CLAIM_AFTER
    agents.engine.errands.COLLECT_SECONDS = COLLECT_SECONDS
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1)  # where a process that hangs stands: asked for by the runner
    sys.argv = ["crypdoc", *arguments]
    main()
