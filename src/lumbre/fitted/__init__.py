"""What a trained model can do: evaluate, predict, compare, look inside, save, export; and reading it back.

Used by sklearn, trials and the root modules. Nothing here trains; batches and meters are made by `run`.
"""

from lumbre.fitted._effects import Effects
from lumbre.fitted._evaluation import Evaluation
from lumbre.fitted._fitted import Fitted
from lumbre.fitted._given import DataWarning
from lumbre.fitted._importance import Importance
from lumbre.fitted._load import load, load_history, restored
from lumbre.fitted._suspects import Suspects, suspects
