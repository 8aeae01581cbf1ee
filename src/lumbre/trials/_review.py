"""Whether the models of a cross-validation differ by more than the rows on which they are judged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lumbre.base import DataError
from lumbre.core import format_value
from lumbre.data import countable, of_seed, take_rows
from lumbre.fitted import Fitted
from lumbre.preflight import Findings, found_after

_Array = np.ndarray[Any, Any]
_DRAWS = 1_999
_CHANCE = 0.002
_SHARE = 0.02


def review_folds(data: Any, models: Sequence[Fitted], held_out: Sequence[Tensor], repeats: int) -> Findings:
    """What the errors of rows say of the models that have not seen them.

    Raises:
        DataError: it is other data.
    """
    rows = countable(data, 0)
    most = max(int(one.max()) for one in held_out) + 1
    if len(rows) < most:
        raise DataError(
            f"{len(rows)} rows", f"the data that the cross-validation took, of {most} rows or more", "review(data)"
        )
    try:
        errors = [
            _errors(model.compare(take_rows(of_seed(rows, 0), places)))
            for model, places in zip(models, held_out, strict=True)
        ]
    except DataError as error:
        return Findings([], [f"LB133: {error.received}"])
    folds = len(models) // repeats
    for start in range(0, len(models), folds):
        some = errors[start : start + folds]
        if unstable(some, _CHANCE / repeats):
            means = [float(one.mean()) for one in some]
            worst = int(np.argmax(np.abs(np.array(means) - np.median(means))))
            one = found_after(
                "LB133",
                f"folds whose mean errors differ by more than their rows explain: {format_value(means[worst])} in fold "
                f"{worst + 1}, {format_value(float(np.median(means)))} in the median of {folds}",
                "fits that come out alike, whichever rows they are trained on",
                f"models[{start + worst}].plot(), to see how that fit went; a lower lr, a warm-up or more epochs; "
                "recipe.ensemble(data), which averages",
            )
            return Findings([one])
    return Findings([])


def _errors(frame: Any) -> _Array:
    """How wrong each row is: its loss, or what stands for it."""
    if "correct" in frame:
        frame = frame[frame["truth"].notna()]
    if "loss" in frame:
        wrong = frame["loss"]
    else:
        wrong = 1 - frame["correct"].astype(float) if "correct" in frame else frame["residual"] ** 2
    return wrong.groupby(frame["row"]).mean().to_numpy(float)


def unstable(errors: Sequence[_Array], chance: float = _CHANCE) -> bool:
    """Whether the means of the folds differ by more than chance: a permutation test, and a size.

    The rows are dealt to the folds again 1,999 times; so far apart the means lie once in 500 times or less by chance.
    And which fold a row is in must explain 2 % of the variance of the errors (omega squared), since in many rows
    a test finds differences that do not matter.

    Args:
        errors: of the rows of each fold.
        chance: how often by chance.
    """
    every = np.concatenate(errors)
    sizes = np.array([len(one) for one in errors])
    if len(sizes) < 2 or sizes.min() < 2 or not np.isfinite(every).all():
        return False
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    centred = every - every.mean()
    between = float((np.add.reduceat(centred, starts) ** 2 / sizes).sum())
    total = float((centred**2).sum())
    within = (total - between) / max(len(every) - len(sizes), 1)
    if total == 0 or (between - (len(sizes) - 1) * within) / (total + within) < _SHARE:
        return False
    generator = np.random.default_rng(0)
    as_far = sum(
        float((np.add.reduceat(generator.permutation(centred), starts) ** 2 / sizes).sum()) >= between
        for _ in range(_DRAWS)
    )
    return (as_far + 1) / (_DRAWS + 1) <= chance
