#!/usr/bin/env python3
"""`crypdoc train` under the name that CrypDoc's users know: `python scripts/enc_train.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agents.cli.common import quiet_logs
from agents.cli.train import train

if __name__ == "__main__":
    quiet_logs()
    train(prog_name="enc_train.py")
