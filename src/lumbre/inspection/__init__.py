"""The inside of a model: layers and their costs, activations, gradients, weights.

Used by fitted, plots, report, run and the root modules. Nothing here changes a model, reads data or draws.
"""

from lumbre.inspection._callback import Inspect as Inspect
from lumbre.inspection._callback import Sample as Sample
from lumbre.inspection._passes import Extent as Extent
from lumbre.inspection._passes import Subject as Subject
from lumbre.inspection._passes import look_at_activations as look_at_activations
from lumbre.inspection._passes import look_at_gradients as look_at_gradients
from lumbre.inspection._passes import look_at_parameter_gradients as look_at_parameter_gradients
from lumbre.inspection._passes import look_at_weights as look_at_weights
from lumbre.inspection._record import Inspection as Inspection
from lumbre.inspection._statistics import Histogram as Histogram
from lumbre.inspection._statistics import Statistics as Statistics
from lumbre.inspection._summary import Layer as Layer
from lumbre.inspection._summary import Summary as Summary
from lumbre.inspection._summary import summary as summary

__all__ = [
    "Extent",
    "Histogram",
    "Inspect",
    "Inspection",
    "Layer",
    "Sample",
    "Statistics",
    "Subject",
    "Summary",
    "look_at_activations",
    "look_at_gradients",
    "look_at_parameter_gradients",
    "look_at_weights",
    "summary",
]
