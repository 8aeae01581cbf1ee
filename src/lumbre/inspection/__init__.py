"""The inside of a model: activations, gradients and weights, as numbers and as tensors. Nothing here changes it."""

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

__all__ = [
    "Extent",
    "Histogram",
    "Inspect",
    "Inspection",
    "Sample",
    "Statistics",
    "Subject",
    "look_at_activations",
    "look_at_gradients",
    "look_at_parameter_gradients",
    "look_at_weights",
]
