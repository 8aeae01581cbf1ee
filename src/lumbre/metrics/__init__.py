"""Metrics: sums kept on the device, read when an epoch ends.

A metric is three functions over tensors, `init`, `update` and `compute`; see `Metric`. Any `torchmetrics.Metric`
may stand beside them in `setup(metrics=[...])`.

Used by fitted, nets, run, trials and the root modules. Nothing here knows of models, or reads a value within an epoch.
"""

from lumbre.metrics._classification import Accuracy, BinaryAccuracy, BinaryAccuracyWithLogits, Perplexity, TopKAccuracy
from lumbre.metrics._counting import (
    F1,
    BinaryCohenKappa,
    BinaryConfusionMatrix,
    BinaryF1,
    BinaryMatthewsCorrelation,
    BinaryPrecision,
    BinaryRecall,
    CohenKappa,
    ConfusionMatrix,
    MatthewsCorrelation,
    Precision,
    Recall,
)
from lumbre.metrics._from import From
from lumbre.metrics._ignored import for_loss, ignored_by
from lumbre.metrics._meter import LossMeter, check_weighing
from lumbre.metrics._metric import Metric, State, merge
from lumbre.metrics._ranking import AUROC, AveragePrecision, BinaryAUROC, BinaryAveragePrecision
from lumbre.metrics._regression import MAE, MSE, R2, RMSE
from lumbre.metrics._sets import Sets, as_sets
from lumbre.metrics._torchmetrics import as_metric

__all__ = [
    "AUROC",
    "F1",
    "MAE",
    "MSE",
    "R2",
    "RMSE",
    "Accuracy",
    "AveragePrecision",
    "BinaryAUROC",
    "BinaryAccuracy",
    "BinaryAccuracyWithLogits",
    "BinaryAveragePrecision",
    "BinaryCohenKappa",
    "BinaryConfusionMatrix",
    "BinaryF1",
    "BinaryMatthewsCorrelation",
    "BinaryPrecision",
    "BinaryRecall",
    "CohenKappa",
    "ConfusionMatrix",
    "From",
    "MatthewsCorrelation",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "Sets",
    "TopKAccuracy",
]
__dir__ = __all__.copy  # names for dir() and tab completion
