"""Train a model from a config of any MMEngine library."""

import sys
from pathlib import Path

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mms_plugin.cli import run_command
from mms_plugin.commands.train import main

if __name__ == "__main__":
    run_command(main)
