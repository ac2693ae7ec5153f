"""Predict what a training will cost from its config, without data or a GPU."""

import sys
from pathlib import Path

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import run_command
from mms_plugin.commands.training_cost import main

if __name__ == "__main__":
    run_command(main)
