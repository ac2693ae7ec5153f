"""Names of the optimizer wrappers with and without AGVM."""

from __future__ import annotations

__all__ = ["PLAIN", "WITH_AGVM"]

PLAIN = ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper")
"""Wrappers without AGVM: in float32, with a loss scale, in bfloat16."""

WITH_AGVM = ("AGVMOptimWrapper", "AmpAGVMOptimWrapper", "BFloat16AGVMOptimWrapper")
"""Wrappers with AGVM, in the same order."""
