"""Findings before the costly run: what would train silently wrong, or fail late, is said first."""

from lumbre.preflight._checks import Subject as Subject
from lumbre.preflight._checks import run_checks as run_checks
from lumbre.preflight._finding import Finding as Finding
from lumbre.preflight._finding import Findings as Findings
