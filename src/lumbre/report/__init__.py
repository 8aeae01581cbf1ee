"""One self-contained HTML file that tells what was trained, on what, how well it does, and how to use it again.

Used by fitted and run. It writes what a record holds, and asks a fitted model for the rest: it has no metrics.
"""

from lumbre.report._record import Reported, RunRecord, record_from
from lumbre.report._write import write_report

__all__ = ["Reported", "RunRecord", "record_from", "write_report"]
