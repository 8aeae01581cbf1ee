"""Pictures from records. Each function gives a plotnine object that can be extended and saved."""

from lumbre.plots._finders import plot_learning_rates as plot_learning_rates
from lumbre.plots._history import plot_history as plot_history

__all__ = ["plot_history", "plot_learning_rates"]
