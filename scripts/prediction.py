#!/usr/bin/env python3
"""Segment many volumes at once, laid out as BUNET lays them out; each as `crypdoc segment` does it.

python scripts/prediction.py --model_infection_dir D --model_lung_dir D --test_data_dir D [--out DIR] [--engine blind]

    TEST_DATA_DIR/ID/ID.npz          a volume (X, Y, Z) under the key `array`
    TEST_DATA_DIR/ID/ID_label.npz    the infection as it was drawn, under the same key; without it there is no Dice
                                     against labels

A model folder holds x, y and z .safetensors with their .card.json beside them, such as
models/weights/chest-ct/infection and models/weights/chest-ct/lung. Results go to OUT/ID, and a table of all to
OUT/predictions.json; given again, the command takes what is finished from there. A volume that cannot be read is told
and left out; the command then ends with an error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agents.cli.common import quiet_logs
from agents.cli.predictions import predictions

if __name__ == "__main__":
    os.umask(0o077)  # masks of a patient are their owner's alone
    quiet_logs()
    predictions(prog_name="prediction.py")
