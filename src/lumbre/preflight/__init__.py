"""Findings before the costly run: what would train silently wrong, or fail late, is said first.

Used by report, run and the root modules. The model is left as it was; `run` says what is looked at, and for how long.
"""

# In the order in which the checks are to run: what costs nothing first.
from lumbre.preflight import _data, _gradients, _labels, _optimizer, _output, _structure
from lumbre.preflight._finding import Finding as Finding
from lumbre.preflight._finding import Findings as Findings
from lumbre.preflight._registry import CHECKS as CHECKS
from lumbre.preflight._registry import Check as Check
from lumbre.preflight._registry import run_checks as run_checks
from lumbre.preflight._structure import FEW_ROWS as FEW_ROWS
from lumbre.preflight._subject import Schedule as Schedule
from lumbre.preflight._subject import Subject as Subject

# They register themselves when they are imported.
_FILES = (_structure, _optimizer, _gradients, _output, _labels, _data)

__all__ = ["CHECKS", "FEW_ROWS", "Check", "Finding", "Findings", "Schedule", "Subject", "run_checks"]
