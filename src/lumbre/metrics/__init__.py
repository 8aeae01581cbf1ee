"""Metrics: sums kept on the device, read when an epoch ends.

A metric is three functions over tensors, `init`, `update` and `compute`; see `Metric`. Any `torchmetrics.Metric`
may stand beside them in `setup(metrics=[...])`.

Used by run and the root modules. Nothing here knows of models, or reads a value within an epoch.
"""

from lumbre.metrics._classification import Accuracy as Accuracy
from lumbre.metrics._classification import BinaryAccuracy as BinaryAccuracy
from lumbre.metrics._classification import BinaryAccuracyWithLogits as BinaryAccuracyWithLogits
from lumbre.metrics._classification import Perplexity as Perplexity
from lumbre.metrics._classification import TopKAccuracy as TopKAccuracy
from lumbre.metrics._counting import F1 as F1
from lumbre.metrics._counting import BinaryCohenKappa as BinaryCohenKappa
from lumbre.metrics._counting import BinaryConfusionMatrix as BinaryConfusionMatrix
from lumbre.metrics._counting import BinaryF1 as BinaryF1
from lumbre.metrics._counting import BinaryMatthewsCorrelation as BinaryMatthewsCorrelation
from lumbre.metrics._counting import BinaryPrecision as BinaryPrecision
from lumbre.metrics._counting import BinaryRecall as BinaryRecall
from lumbre.metrics._counting import CohenKappa as CohenKappa
from lumbre.metrics._counting import ConfusionMatrix as ConfusionMatrix
from lumbre.metrics._counting import MatthewsCorrelation as MatthewsCorrelation
from lumbre.metrics._counting import Precision as Precision
from lumbre.metrics._counting import Recall as Recall
from lumbre.metrics._ignored import for_loss as for_loss
from lumbre.metrics._meter import LossMeter as LossMeter
from lumbre.metrics._metric import Metric as Metric
from lumbre.metrics._metric import State as State
from lumbre.metrics._metric import merge as merge
from lumbre.metrics._ranking import AUROC as AUROC
from lumbre.metrics._ranking import AveragePrecision as AveragePrecision
from lumbre.metrics._ranking import BinaryAUROC as BinaryAUROC
from lumbre.metrics._ranking import BinaryAveragePrecision as BinaryAveragePrecision
from lumbre.metrics._regression import MAE as MAE
from lumbre.metrics._regression import MSE as MSE
from lumbre.metrics._regression import R2 as R2
from lumbre.metrics._regression import RMSE as RMSE
from lumbre.metrics._sets import Sets as Sets
from lumbre.metrics._sets import as_sets as as_sets
from lumbre.metrics._torchmetrics import as_metric as as_metric

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
    "MatthewsCorrelation",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "Sets",
    "TopKAccuracy",
]
__dir__ = __all__.copy  # names for dir() and tab completion
