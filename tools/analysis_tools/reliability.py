"""Reliability diagram of a classifier: accuracy by confidence, with the gap.

Evaluates CONFIG's test data with CHECKPOINT, draws the diagram with the histogram of
confidences, and writes the bins as JSON beside it.
"""

import sys
from pathlib import Path

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import run_command
from mms_plugin.commands.reliability import main

if __name__ == "__main__":
    run_command(main)
