"""The loop: events, context, plan, history, and `train`, the one function in which epochs and batches are nested.

Used by callbacks, fitted, inspection, plots, report, resume, run, trials, tune and the root modules. It knows nothing
of files, optimizers or data formats; those come in through the protocols of `base`.
"""

from lumbre.core._context import Context as Context
from lumbre.core._events import AROUND as AROUND
from lumbre.core._events import EVALUATE as EVALUATE
from lumbre.core._events import INSIDE as INSIDE
from lumbre.core._events import PREDICT as PREDICT
from lumbre.core._events import Callback as Callback
from lumbre.core._events import Listeners as Listeners
from lumbre.core._history import History as History
from lumbre.core._history import format_seconds as format_seconds
from lumbre.core._history import format_value as format_value
from lumbre.core._loop import evaluate as evaluate
from lumbre.core._loop import predict as predict
from lumbre.core._loop import train as train
from lumbre.core._plan import Plan as Plan
