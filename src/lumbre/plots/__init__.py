"""Pictures from records, and from a fitted model and data. Charts are plotnine objects, to be extended and saved.

Used by fitted, report, trials, tune and the root modules. It draws what it is given: no steps, files or devices.
"""

from lumbre.plots._calibration import calibration as calibration
from lumbre.plots._comparison import Examples as Examples
from lumbre.plots._comparison import FittedModel as FittedModel
from lumbre.plots._confusion import confusion as confusion
from lumbre.plots._curves import precision_recall as precision_recall
from lumbre.plots._curves import roc as roc
from lumbre.plots._finders import plot_learning_rates as plot_learning_rates
from lumbre.plots._history import plot_history as plot_history
from lumbre.plots._inspection import feature_maps as feature_maps
from lumbre.plots._inspection import layer_histograms as layer_histograms
from lumbre.plots._inspection import layer_planes as layer_planes
from lumbre.plots._inspection import training_ridges as training_ridges
from lumbre.plots._inspection import update_ratios as update_ratios
from lumbre.plots._numbers import predicted_vs_true as predicted_vs_true
from lumbre.plots._numbers import residuals as residuals
from lumbre.plots._pictures import PictureGrid as PictureGrid
from lumbre.plots._pictures import as_shown as as_shown
from lumbre.plots._pictures import beside as beside
from lumbre.plots._pictures import is_images as is_images
from lumbre.plots._pictures import most_wrong as most_wrong
from lumbre.plots._pictures import predictions_grid as predictions_grid
from lumbre.plots._plane import decision_regions as decision_regions
from lumbre.plots._rates import plot_rates as plot_rates
from lumbre.plots._trials import plot_trial_parameter as plot_trial_parameter
from lumbre.plots._trials import plot_trials as plot_trials
from lumbre.plots._weights import weight_distributions as weight_distributions

__all__ = [
    "PictureGrid",
    "calibration",
    "confusion",
    "decision_regions",
    "feature_maps",
    "layer_histograms",
    "layer_planes",
    "most_wrong",
    "plot_history",
    "plot_learning_rates",
    "plot_rates",
    "plot_trial_parameter",
    "plot_trials",
    "precision_recall",
    "predicted_vs_true",
    "predictions_grid",
    "residuals",
    "roc",
    "training_ridges",
    "update_ratios",
    "weight_distributions",
]
__dir__ = __all__.copy  # names for dir() and tab completion
