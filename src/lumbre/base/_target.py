"""A target with the weights of its rows: the form in which weights travel to losses, divisors and graphs."""

from typing import NamedTuple

from torch import Tensor

from lumbre.base._nested import Nested


class Weighted(NamedTuple):
    """A target whose rows have weights.

    Attributes:
        target: of the rows.
        weights: of shape (rows,), float64 (float32 where the device has no float64), 0 or more.
    """

    target: Nested
    weights: Tensor


def spread(weights: Tensor, values: Tensor) -> Tensor:
    """Weights of rows, shape (rows,), for values of shape (rows, ...): every value has that of its row."""
    return weights.reshape(-1, *(1,) * (values.ndim - 1)).expand(values.shape)
