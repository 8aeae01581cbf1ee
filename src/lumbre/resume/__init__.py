"""A run that is kept in a folder and goes on after a stop."""

from lumbre.resume._facts import ONLY_TELL as ONLY_TELL
from lumbre.resume._keeper import KeptRun as KeptRun
from lumbre.resume._keeper import kept_run as kept_run
