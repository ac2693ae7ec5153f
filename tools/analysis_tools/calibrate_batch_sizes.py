"""Measure a training's iterations by size on this device; print batch sizes for it."""

import sys
from pathlib import Path

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import run_command
from mms_plugin.commands.calibrate_batch_sizes import main

if __name__ == "__main__":
    run_command(main)
