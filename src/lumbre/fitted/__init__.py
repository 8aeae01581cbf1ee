"""What a trained model can do."""

from lumbre.fitted._evaluation import Evaluation as Evaluation
from lumbre.fitted._fitted import Fitted as Fitted
from lumbre.fitted._load import load as load
from lumbre.fitted._load import load_history as load_history
