"""What the tests of the zoo share."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# The made data and the shrunk families of the recipes' tests; the tools.
sys.path[:0] = [str(TESTS / "test_recipes"), str(TESTS.parent)]
