"""Metrics: sums kept on the device, read when an epoch ends.

A metric is three functions over tensors, `init`, `update` and `compute`; see `Metric`. Any `torchmetrics.Metric`
may stand beside them in `setup(metrics=[...])`.
"""

from lumbre.metrics._classification import Accuracy as Accuracy
from lumbre.metrics._classification import BinaryAccuracy as BinaryAccuracy
from lumbre.metrics._classification import BinaryAccuracyWithLogits as BinaryAccuracyWithLogits
from lumbre.metrics._meter import LossMeter as LossMeter
from lumbre.metrics._metric import Metric as Metric
from lumbre.metrics._metric import State as State
from lumbre.metrics._regression import MAE as MAE
from lumbre.metrics._regression import MSE as MSE
from lumbre.metrics._regression import RMSE as RMSE
from lumbre.metrics._torchmetrics import as_metric as as_metric
from lumbre.metrics._torchmetrics import as_metrics as as_metrics

__all__ = [
    "MAE",
    "MSE",
    "RMSE",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryAccuracyWithLogits",
    "Metric",
]
