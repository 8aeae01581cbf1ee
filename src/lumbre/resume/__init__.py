"""A run that is kept in a folder and goes on after a stop: its keeper, its state, and whether it is the same run.

Used by trials and the root modules. The loop only calls the keeper; the files themselves are written by `storage`.
"""

from lumbre.resume._facts import ONLY_TELL
from lumbre.resume._keeper import KeptRun, kept_run
