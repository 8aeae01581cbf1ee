"""Which rows may be wrong: labels that models which have not seen them doubt, rows that stand twice, weak groups."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, describe, import_extra, leaves
from lumbre.data import FrameData, WeightedRows, countable, group_numbers
from lumbre.fitted._compare import class_numbers, probabilities
from lumbre.fitted._given import given_batches
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd

_Array = np.ndarray[Any, Any]
_NEAR = 0.1
_LEVEL = 0.05
_FEWEST = 10
_NEIGHBOURS = 4
_PIECE = 1 << 24
_SHOWN = 8


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Suspects:
    """Rows of a data set that may be wrong. `CrossValidation.suspects` makes it.

    Attributes:
        labels: row, given and probable (classes), score (1 minus the quality that cleanlab gives the label: 1 minus
            its probability), suspect (whether confident learning takes it for an error); most suspicious first.
        duplicates: row, other, distance (0 where both are equal, 1 where they are as far apart as a row and its
            nearest are in the median), same_label; nearest first.
        groups: group, rows, error (share that is predicted wrong), rest (that of all other rows), p (Fisher's exact
            test, one-sided, by Holm for the number of groups), weak (p below 0.05); weakest first. None without `by`.
    """

    labels: "pd.DataFrame"
    duplicates: "pd.DataFrame"
    groups: "pd.DataFrame | None"

    def frame(self) -> "pd.DataFrame":
        """The labels: a DataFrame with the columns row, given, probable, score and suspect, most suspicious first."""
        return self.labels.copy()

    def __repr__(self) -> str:
        found: Any = self.labels[self.labels["suspect"]]
        lines = [f"Suspects: {len(found):,} labels of {len(self.labels):,} rows that are probably wrong"]
        if len(found):
            lines.append(found.head(_SHOWN).to_string(index=False, float_format="{:.3f}".format))
        differ = self.duplicates["same_label"].tolist().count(False)
        lines.append(f"{len(self.duplicates):,} rows that are there twice, or nearly, {differ:,} with another label")
        if self.groups is not None:
            columns = (self.groups[name].tolist() for name in ("weak", "group", "error", "rest"))
            weak_ones = [
                f"{name} ({own:.1%}, the rest {rest:.1%})"
                for weak, name, own, rest in zip(*columns, strict=True)
                if weak
            ]
            said = ", ".join(weak_ones)
            lines.append(f"groups that are predicted worse than the rest: {said or 'none'}")
        return "\n".join(lines)


def suspects(session: Session, data: Any, predictions: Nested, by: Any, *, duplicates: bool) -> Suspects:
    """What is suspicious in rows with predictions of models that have not seen them.

    Args:
        session: one of the models, for its classes and the encoding of frames.
        data: all rows, with targets.
        predictions: for each row, in order; NaN where there is none.
        by: of groups: the name of a column, or a value for each row; or None.
        duplicates: whether to look for rows that are there twice.

    Raises:
        MissingExtraError: cleanlab is not installed.
        DataError: there are other rows than predictions, or truth and prediction are no classes.
    """
    given, truth, inputs = _gathered(session, data, keep=duplicates)
    if not isinstance(predictions, Tensor) or len(predictions) != len(truth):
        raise DataError(
            f"{len(truth)} rows, and predictions that are a {describe(predictions)}",
            "the data that the cross-validation took, and a prediction for each of its rows",
            "found = recipe.cross_validate(data); found.suspects(data)",
        )
    there = predictions.reshape(len(predictions), -1).isfinite().all(1)
    some = probabilities(session, predictions[there])
    numbers = class_numbers(predictions[there], given[there], session.ignored)
    if numbers is None:
        raise DataError(
            f"targets that are a {describe(given)}, which are no classes",
            "one class for each row",
            'fitted.examples(data, choose="worst") for numbers',
        )
    count = some.shape[1]
    names = session.classes if session.classes is not None and len(session.classes) == count else tuple(range(count))
    rows = there.nonzero()[:, 0]
    right = numbers >= 0
    rows, numbers, shares = rows[right].numpy(), numbers[right].numpy(), some[right].double().numpy()
    if len(np.unique(numbers)) < 2:
        raise DataError(f"{len(rows)} labels of one class", "labels of two classes or more", "all rows")
    grouped = None if by is None else _groups(*_groups_of(data, by, rows), shares.argmax(1) != numbers)
    return Suspects(_labels(rows, numbers, shares, names), _duplicates(inputs, truth), grouped)


def _gathered(session: Session, data: Any, *, keep: bool) -> tuple[Tensor, _Array, Tensor]:
    """The targets of all rows, the same as numbers to compare, and the input as a table, without rows if not kept."""
    targets: list[Tensor] = []
    inputs: list[Tensor] = []
    for batch in given_batches(session, data, need_target=True).epoch(1):
        if not isinstance(batch.target, Tensor):
            raise DataError(f"targets that are a {describe(batch.target)}", "a tensor of classes", "one target")
        targets.append(batch.target.cpu())
        if keep:
            inputs.append(_flat(batch.input))
    given = torch.cat(targets)
    flat = given.reshape(len(given), -1)
    truth = flat.argmax(1) if flat.shape[1] > 1 else flat[:, 0]
    return given, truth.numpy(), torch.cat(inputs) if keep else torch.zeros(0, 1)


def _labels(rows: _Array, given: _Array, shares: _Array, names: Sequence[Any]) -> "pd.DataFrame":
    import pandas as pd

    filtered: Any = import_extra("cleanlab.filter", "suspects", "find labels that are wrong")
    ranked: Any = import_extra("cleanlab.rank", "suspects", "find labels that are wrong")
    shares = shares / shares.sum(1, keepdims=True)
    issues = filtered.find_label_issues(given, shares, n_jobs=1)
    score = 1 - ranked.get_label_quality_scores(given, shares)
    kinds = list(names)
    frame = pd.DataFrame(
        {
            "row": rows,
            "given": pd.Categorical.from_codes(given, categories=kinds),
            "probable": pd.Categorical.from_codes(shares.argmax(1), categories=kinds),
            "score": score,
            "suspect": issues,
        }
    )
    return frame.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def _duplicates(table: Tensor, truth: _Array) -> "pd.DataFrame":
    import pandas as pd

    near, distance = _nearest(table - table.mean(0)) if len(table) > 1 else (np.empty(0, int), np.empty(0))
    usual = float(np.median(distance)) if len(distance) else 0.0
    # Where most rows have a twin, such as in tables of a few categories, a distance has no measure: equal rows count.
    found = np.flatnonzero(distance <= _NEAR * usual)
    found = found[~((near[near[found]] == found) & (near[found] < found))]  # of two rows that name each other, one line
    frame = pd.DataFrame(
        {
            "row": found,
            "other": near[found],
            "distance": distance[found] / (usual or 1.0),
            "same_label": truth[found] == truth[near[found]],
        }
    )
    return frame.sort_values("distance", kind="stable", ignore_index=True)


def _flat(input: Nested) -> Tensor:
    """A batch of an input as a table, float32 on the CPU."""
    parts = list(leaves(input))
    if any(not isinstance(one, Tensor) or one.is_nested for one in parts):
        raise DataError(f"an input that is a {describe(input)}", "tensors", "padded sequences")
    return torch.cat([one.reshape(len(one), -1).float().cpu() for one in parts], 1)


def _nearest(table: Tensor) -> tuple[_Array, _Array]:
    """The nearest other row of each, and its distance; looked for in pieces of 64 MiB."""
    rows = len(table)
    squares = table.square().sum(1)
    near, distance = np.empty(rows, dtype=np.int64), np.empty(rows)
    count = min(_NEIGHBOURS, rows - 1)
    step = max(1, _PIECE // max(rows, 2 * count * table.shape[1]))  # of distances, and of neighbours in float64
    for start in range(0, rows, step):
        these = torch.arange(start, min(start + step, rows))
        found = squares[these, None] + squares - 2 * table[these] @ table.T
        found[torch.arange(len(these)), these] = math.inf
        some = found.topk(count, largest=False).indices
        # Products of float32 do not know small distances: those of the nearest few are taken again.
        exact = (table[these, None].double() - table[some].double()).square().sum(2)
        best = exact.min(1)
        near[these.numpy()] = some.gather(1, best.indices[:, None])[:, 0].numpy()
        distance[these.numpy()] = best.values.sqrt().numpy()
    return near, distance


def _groups(numbers: _Array, names: Sequence[Any], wrong: _Array) -> "pd.DataFrame":
    import pandas as pd

    stats: Any = import_extra("scipy.stats", "suspects", "compare groups")
    total, errors = len(wrong), int(wrong.sum())
    lines: list[tuple[Any, int, float, float, float]] = []
    for number, name in enumerate(names):
        mine = numbers == number
        count, own = int(mine.sum()), int(wrong[mine].sum())
        if count < _FEWEST or count == total:
            continue
        p = float(stats.hypergeom.sf(own - 1, total, errors, count))
        lines.append((name, count, own / count, (errors - own) / (total - count), p))
    frame = pd.DataFrame(lines, columns=["group", "rows", "error", "rest", "p"])
    frame = frame.sort_values(["p", "error"], ascending=[True, False], kind="stable", ignore_index=True)
    holm = np.minimum(1.0, np.maximum.accumulate(frame["p"].to_numpy() * np.arange(len(frame), 0, -1)))
    return frame.assign(p=holm, weak=holm < _LEVEL)


def _groups_of(data: Any, by: Any, rows: _Array) -> tuple[_Array, list[Any]]:
    """The number of each row's group, and the names of the groups.

    Raises:
        DataError: there is not a group for each row of the data.
    """
    accepted: Any = countable(data, 0)
    numbers = group_numbers(accepted, by)
    source = accepted.source if isinstance(accepted, WeightedRows) else accepted
    values = np.asarray(source.column(by) if isinstance(by, str) and isinstance(source, FrameData) else by)
    assert numbers is not None
    first = np.unique(numbers, return_index=True)[1]
    return numbers[rows], values[first].tolist()
