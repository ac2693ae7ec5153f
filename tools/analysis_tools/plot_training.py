"""Draw what trainings did, from their work dirs: sizes, rates, losses, metrics, AGVM.

Reads the log that MMEngine's LocalVisBackend writes (on by default) and the config
dumped beside it. A resumed training is joined; one that still runs is drawn so far.
"""

import sys
from pathlib import Path

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import run_command
from mms_plugin.commands.plot_training import main

if __name__ == "__main__":
    run_command(main)
