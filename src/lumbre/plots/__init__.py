"""Pictures from records. Each function gives a plotnine object that can be extended and saved."""

from lumbre.plots._finders import plot_learning_rates as plot_learning_rates
from lumbre.plots._history import plot_history as plot_history
from lumbre.plots._inspection import feature_maps as feature_maps
from lumbre.plots._inspection import layer_histograms as layer_histograms
from lumbre.plots._inspection import layer_planes as layer_planes
from lumbre.plots._inspection import training_ridges as training_ridges
from lumbre.plots._inspection import update_ratios as update_ratios

__all__ = [
    "feature_maps",
    "layer_histograms",
    "layer_planes",
    "plot_history",
    "plot_learning_rates",
    "training_ridges",
    "update_ratios",
]
