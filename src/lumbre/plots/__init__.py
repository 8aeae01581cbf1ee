"""Pictures from records, and from a fitted model and data. Charts are plotnine objects, to be extended and saved.

Used by fitted, report, trials, tune and the root modules. It draws what it is given: no steps, files or devices.
"""

from lumbre.plots._attribution import plot_attribution, plot_attribution_maps
from lumbre.plots._baselines import plot_baselines
from lumbre.plots._calibration import calibration
from lumbre.plots._comparison import Examples, FittedModel
from lumbre.plots._confusion import confusion
from lumbre.plots._curves import precision_recall, roc
from lumbre.plots._effects import plot_effect_surface, plot_effects, plot_slopes
from lumbre.plots._finders import drawn_or_printed, plot_batch_sizes, plot_learning_rates
from lumbre.plots._history import plot_history
from lumbre.plots._importance import plot_importance
from lumbre.plots._inspection import feature_maps, layer_histograms, layer_planes, training_ridges, update_ratios
from lumbre.plots._numbers import predicted_vs_true, residuals
from lumbre.plots._pictures import (
    PictureGrid,
    as_shown,
    beside,
    is_images,
    most_wrong,
    predictions_grid,
    under_pictures,
)
from lumbre.plots._plane import decision_regions
from lumbre.plots._rates import plot_rates
from lumbre.plots._theme import light_to_dark, theme
from lumbre.plots._trials import plot_trial_parameter, plot_trials
from lumbre.plots._weights import weight_distributions

__all__ = [
    "PictureGrid",
    "calibration",
    "confusion",
    "decision_regions",
    "feature_maps",
    "layer_histograms",
    "layer_planes",
    "most_wrong",
    "plot_attribution",
    "plot_attribution_maps",
    "plot_baselines",
    "plot_batch_sizes",
    "plot_effect_surface",
    "plot_effects",
    "plot_history",
    "plot_importance",
    "plot_learning_rates",
    "plot_rates",
    "plot_slopes",
    "plot_trial_parameter",
    "plot_trials",
    "precision_recall",
    "predicted_vs_true",
    "predictions_grid",
    "residuals",
    "roc",
    "theme",
    "training_ridges",
    "update_ratios",
    "weight_distributions",
]
__dir__ = __all__.copy  # names for dir() and tab completion
