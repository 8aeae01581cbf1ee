"""Losses that describe a distribution: each knows the scale of its predictions, simulates, and gives intervals.

Their free parameters (a spread, thresholds) are trained beside the module's. Used by the root modules. Nothing here
knows of models or data.
"""

from lumbre.losses._distribution import DistributionLoss
from lumbre.losses._numbers import GaussianNLL, MixtureDensity, NegativeBinomial, Poisson, Quantiles, StudentNLL
from lumbre.losses._ranks import Cox, Ordinal

__all__ = [
    "Cox",
    "DistributionLoss",
    "GaussianNLL",
    "MixtureDensity",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "Quantiles",
    "StudentNLL",
]
__dir__ = __all__.copy  # names for dir() and tab completion
