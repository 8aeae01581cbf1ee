"""Findings before the costly run: what would train silently wrong, or fail late, is said first.

Used by cli, fitted, report, run, trials, tune and the root modules. The model is left as it was; `run` says
what is looked at, and for how long.
"""

# In the order in which the checks are to run: what costs nothing first.
from lumbre.preflight import (
    _alike,
    _answers,
    _backward,
    _data,
    _domains,
    _endless,
    _free,
    _gradients,
    _influence,
    _labels,
    _learning,
    _metrics,
    _optimizer,
    _options,
    _order,
    _output,
    _padding,
    _scores,
    _state,
    _steps,
    _structure,
    _terms,
    _validation,
    _views,
)
from lumbre.preflight._after import AFTER, found_after
from lumbre.preflight._constant import constant_losses
from lumbre.preflight._explained import codes, explained
from lumbre.preflight._finding import Finding, Findings, PreflightWarning
from lumbre.preflight._registry import CHECKS, Check, run_checks
from lumbre.preflight._structure import FEW_ROWS
from lumbre.preflight._subject import Chosen, Schedule, Subject, Watched

# They register themselves when they are imported.
_FILES = (
    _structure,
    _views,
    _optimizer,
    _options,
    _gradients,
    _backward,
    _learning,
    _steps,
    _output,
    _metrics,
    _influence,
    _padding,
    _domains,
    _endless,
    _free,
    _terms,
    _order,
    _scores,
    _labels,
    _state,
    _validation,
    _alike,
    _data,
    _answers,
)

__all__ = [
    "AFTER",
    "CHECKS",
    "FEW_ROWS",
    "Check",
    "Chosen",
    "Finding",
    "Findings",
    "Schedule",
    "Subject",
    "Watched",
    "codes",
    "constant_losses",
    "explained",
    "found_after",
    "run_checks",
]
