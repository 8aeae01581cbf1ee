"""What several models have learned together: means over them, with intervals from how far they differ."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lumbre.base import DataError
from lumbre.fitted import Effects, Importance
from lumbre.trials._intervals import t_quantile

if TYPE_CHECKING:
    import pandas as pd


def joint_importance(each: Sequence[Importance]) -> Importance:
    """The mean importance of each feature, with its interval over the models."""
    by_name = [{name: value for name, value, _, _ in one.values} for one in each]
    values: list[tuple[str | int, float, float, float]] = []
    for name, *_ in each[0].values:
        mean, low, high = _interval(np.array([one[name] for one in by_name]))
        values.append((name, float(mean), float(low), float(high)))
    values.sort(key=lambda line: -line[1])
    baseline = float(np.mean([one.baseline for one in each]))
    return replace(each[0], baseline=baseline, values=tuple(values), models=len(each))


def joint_effects(each: Sequence[Effects]) -> Effects:
    """Mean slopes with their intervals over the models; mean curves and surfaces."""
    slopes = [one.slopes for one in each]
    mean, low, high = _interval(np.stack([one["slope"].to_numpy(float) for one in slopes]))
    found: dict[str, Any] = {"slopes": slopes[0].assign(slope=mean, low=low, high=high)}
    for part in ("curves", "individual", "surface"):
        if getattr(each[0], part) is not None:
            found[part] = _mean([getattr(one, part) for one in each])
    return replace(each[0], **found, models=len(each))


def _interval(values: "np.ndarray[Any, Any]") -> Any:
    """Mean and 95 % interval of (models, ...), by the standard deviation over the models."""
    half = t_quantile(0.975, len(values) - 1) * values.std(axis=0, ddof=1)
    mean = values.mean(axis=0)
    return mean, mean - half, mean + half


def _mean(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """The mean response at each place; places that are numbers are equal up to rounding."""
    if any(len(one) != len(frames[0]) for one in frames):
        raise DataError(
            "curves of the models with different numbers of points",
            "the same places for all models",
            "ensemble.models[0].effects(data, feature) for one of them",
        )
    return frames[0].assign(response=np.mean([one["response"].to_numpy(float) for one in frames], axis=0))
