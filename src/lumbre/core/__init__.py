"""The loop: events, context, plan, history, and `train`, the one function in which epochs and batches are nested.

Used by callbacks, fitted, inspection, plots, preflight, report, resume, run, trials, tune and the root modules. It
knows nothing of files, optimizers or data formats; those come in through the protocols of `base`.
"""

from lumbre.core._context import Context
from lumbre.core._events import AROUND, EVALUATE, INSIDE, PREDICT, Callback, Listeners
from lumbre.core._history import History, format_seconds, format_value
from lumbre.core._loop import evaluate, predict, train
from lumbre.core._plan import Plan
