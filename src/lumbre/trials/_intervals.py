"""Student's t, of which torch has no quantile: intervals of means over folds."""

import math
from collections.abc import Sequence


def corrected_interval(values: Sequence[float], share: float, level: float) -> tuple[float, float, float]:
    """Mean of scores over folds with its interval: the corrected resampled t interval.

    The scores of folds depend on one another, since they share rows to train on: the plain t interval is too narrow.
    Nadeau and Bengio put 1/J + held out/trained on in the place of 1/J in the variance of the mean of J scores.

    Args:
        values: a score of each fit, two or more.
        share: rows held out for each row trained on.
        level: how often such intervals are to hold the mean.

    References:
        Nadeau, Bengio: Inference for the Generalization Error, Machine Learning 52, 2003.
        Bouckaert, Frank: Evaluating the Replicability of Significance Tests for Comparing Learning Algorithms, 2004.
    """
    count = len(values)
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = t_quantile((1 + level) / 2, count - 1) * math.sqrt(variance * (1 / count + share))
    return mean, mean - half, mean + half


def t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t with a whole number of degrees of freedom, for a probability from 1/2 on."""
    low, high = 0.0, 1.0
    while _below(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _below(middle, degrees) < probability else (low, middle)
    return high


def _below(t: float, degrees: int) -> float:
    """P(T < t), by the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for step in range(2 + odd, degrees - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inside) / 2
