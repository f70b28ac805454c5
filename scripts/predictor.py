#!/usr/bin/env python3
"""CrypDoc's own way: a patient service, a doctor service, one CSV line a scan. See --help.

Any Python may start it: it goes on in the project's own environment, which scripts/setup makes.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOME = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(HOME, "bin", "python")


def enter() -> None:
    """Go on in the project's environment; without one, say how to make it and end."""
    if os.path.realpath(sys.prefix) == os.path.realpath(HOME):
        return
    if os.access(PYTHON, os.X_OK):
        os.execv(PYTHON, [PYTHON, os.path.abspath(__file__), *sys.argv[1:]])  # noqa: S606 (our own environment)
    try:
        import agents.classic  # noqa: F401 (CrypDoc is installed where we run)
    except ImportError:
        sys.stderr.write(
            "predictor: the project has no environment yet; make it with scripts/setup and start again.\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    try:
        enter()
        from agents.classic.service import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)
