"""The inside of a model: layers and their costs, activations, gradients, weights.

Used by fitted, plots, report, run and the root modules. Nothing here changes a model, reads data or draws.
"""

from lumbre.inspection._callback import Inspect, Sample
from lumbre.inspection._passes import (
    Extent,
    Subject,
    look_at_activations,
    look_at_gradients,
    look_at_parameter_gradients,
    look_at_weights,
)
from lumbre.inspection._record import Inspection
from lumbre.inspection._statistics import Histogram, Statistics
from lumbre.inspection._summary import Layer, Summary, summary

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
