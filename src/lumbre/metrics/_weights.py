"""Weights of rows in metrics: a row of weight 2 counts like the row twice, one of weight 0 not at all."""

from torch import Tensor

from lumbre.base import DataError, describe, spread
from lumbre.metrics._metric import Metric, widest


def row_weights(metric: Metric, weights: Tensor, values: Tensor) -> Tensor:
    """Weights of shape (rows,) for values of shape (rows, ...), each with that of its row; float64 where there is one.

    Raises:
        DataError: there is not one weight for each row.
    """
    if weights.ndim != 1 or weights.shape != values.shape[:1]:
        raise DataError(
            f"{type(metric).__name__} with weights that are a {describe(weights)}, for a {describe(values)}",
            "a weight for each row, shape (rows,)",
            "weights.squeeze(1), or the weights of these rows alone",
        )
    return spread(weights.to(values.device, widest(values.device)), values)


def weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """The sum of values by their weights, of the same shape; without what has weight 0, be it no number."""
    return (values.where(weights > 0, 0).to(weights.dtype) * weights).sum()
