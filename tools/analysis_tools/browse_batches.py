"""Draw real batches of a config's training, as the network gets them, at each size.

One sheet for the first full batch of each size: augmented, padded, with labels, boxes
and masks; and one with all sizes to scale. A config without
MultiScaleVariableBatchSampler gives one sheet.
"""

import sys
from pathlib import Path

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import run_command
from mms_plugin.commands.browse_batches import main

if __name__ == "__main__":
    run_command(main)
