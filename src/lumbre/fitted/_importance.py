"""How much worse a model predicts when a feature says nothing: permutation importance, with intervals.

The rows are cut into blocks at random. For each permutation the blocks stand in a circle of random order, the rows of
each get the feature's values of the next one, and loss or metric are taken again. How the result changes when a block
is left out, where it receives and where it gives (the jackknife), shows all uncertainty: of rows and of permutations.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import (
    Batch,
    DataError,
    Losses,
    Nested,
    OptionError,
    at_least,
    concatenate,
    did_you_mean,
    html_table,
    leaves,
    map_leaves,
    stream,
)
from lumbre.core import format_value
from lumbre.data import RowFeed
from lumbre.devices import seeder
from lumbre.fitted._features import Feature, Name, features_of, grouped, is_table, rows_in_batch, some_rows
from lumbre.metrics import LossMeter, Metric, as_metric
from lumbre.processes import World
from lumbre.run import Session, make_meter

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

_MOST_BLOCKS = 20
_ROWS_OF_BLOCK = 10
# Student's t, 97.5 %, for 1 to 30 degrees of freedom.
T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Importance:
    """By how much loss or metric get worse when a feature is shuffled, with 95 % intervals.

    Above 0 the model needs the feature; where the interval covers 0, the data do not show that it does. The interval
    is meant for other rows and other permutations alike: Student's t around the jackknife over blocks of rows. Of
    correlated features each can stand in for the others, and all look unimportant: `groups="correlated"` shuffles
    them together.

    Attributes:
        metric: what was measured.
        baseline: its value on the rows as they are.
        rows: how many there were.
        repeats: permutations of each feature.
        values: (feature, importance, low, high), the most important first.
        columns: whether features are columns, or groups of them, rather than steps or patches.
        models: of how many models it is the mean, with intervals over them; 1 of a `Fitted`.

    Example:
        >>> import lumbre as lb, torch
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> line = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.Adam
        ... )
        >>> line = line.set_hparams(in_features=3, out_features=1).set_opt_hparams(lr=0.1)
        >>> fitted = line.fit((x, x[:, :1] + 3 * x[:, 1:2]), epochs=20, verbose=False)
        >>> fitted.importance((x, x[:, :1] + 3 * x[:, 1:2])).frame()["feature"].tolist()
        [1, 0, 2]
    """

    metric: str
    baseline: float
    rows: int
    repeats: int
    values: tuple[tuple[Name, float, float, float], ...]
    columns: bool = False
    models: int = 1

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns feature, importance, low and high, the most important feature first."""
        import pandas as pd

        return pd.DataFrame(list(self.values), columns=["feature", "importance", "low", "high"])

    def plot(self) -> "ggplot":
        """The importances with their intervals, or the patches of images as a map; a plotnine object.

        Raises:
            MissingExtraError: plotnine is not installed.
        """
        from lumbre.plots import plot_importance

        return plot_importance(self.frame(), self.metric)

    def __repr__(self) -> str:
        width = max(len(str(line[0])) for line in self.values)
        lines = (
            f"  {name!s:<{width}}  {value:>9.4g}  ({low:.4g} to {high:.4g})" for name, value, low, high in self.values
        )
        return "\n".join([self._head, *lines])

    def _repr_html_(self) -> str:
        lines = [(str(name), f"{value:.4g} ({low:.4g} to {high:.4g})") for name, value, low, high in self.values]
        return f"<p>{self._head}</p>" + html_table([("feature", "importance"), *lines])

    @property
    def _head(self) -> str:
        return (
            f"Importance: how much worse {self.metric} ({format_value(self.baseline)}) gets when a feature is shuffled;"
            f" 95 % intervals{f' over {self.models} models' if self.models > 1 else ''}, {self.rows:,} rows,"
            f" {self.repeats} permutations"
        )


def importance(
    session: Session,
    batches: RowFeed,
    metric: str | Metric | None,
    repeats: int,
    groups: Mapping[str, Sequence[Name]] | str | None,
    patches: int | None,
    seed: int,
    batch_size: int | None,
) -> Importance:
    """The importance of each feature of the rows behind `batches`."""
    at_least(1, repeats=repeats)
    at_least(0, seed=seed)
    count = len(batches.source)
    if count < 4:
        raise DataError(f"{count} rows", "at least 4, of which each can be given the values of another", "more rows")
    name, sign, metrics = measured(session, metric)
    batch = some_rows(batches)
    features = grouped(features_of(session.encoding, batch, patches), groups, batch)
    generator = torch.Generator().manual_seed(stream(seed, "importance"))
    blocks = torch.randperm(count, generator=generator).tensor_split(max(3, min(_MOST_BLOCKS, count // _ROWS_OF_BLOCK)))
    measure = _Measure(session, batches, metrics, name, batch_size or rows_in_batch(session.batch_size, batches))
    session.model.eval()
    found: list[tuple[Name, float, float, float]] = []
    with session.running(batches=None):
        before = measure.as_they_are(blocks)
        baseline = measure.value(before)
        if math.isnan(baseline):
            raise DataError(
                f"rows on which {name} is NaN as they are",
                "rows on which it is a number, to see how much worse it gets",
                "rows without gaps, in which a metric such as AUROC finds each class",
            )
        for feature in features:
            worse = [
                sign
                * _differences(measure, blocks, before, feature, stream(seed, f"importance of {feature.name}", number))
                for number in range(repeats)
            ]
            mean = np.mean(worse, axis=0)
            found.append((feature.name, *_interval(mean[0], mean[1:])))
    found.sort(key=lambda line: -line[1])
    return Importance(name, baseline, count, repeats, tuple(found), is_table(session.encoding, batch))


def _differences(
    measure: "_Measure", blocks: Sequence[Tensor], before: "list[_Part]", feature: Feature, seed: int
) -> "np.ndarray[Any, Any]":
    """What one permutation changes: in all rows, then without each block, shape (1 + blocks,)."""
    generator = torch.Generator().manual_seed(seed)
    circle: list[int] = torch.randperm(len(blocks), generator=generator).tolist()
    receivers = [blocks[number] for number in circle]
    givers = [
        following[torch.randperm(len(following), generator=generator)].repeat(2)[: len(block)]
        for block, following in zip(receivers, receivers[1:] + receivers[:1], strict=True)
    ]
    after = measure.pass_over(receivers, feature, givers)
    same = [before[number] for number in circle]
    whole, *without = np.subtract(measure.without_pairs(after), measure.without_pairs(same))
    # Without a block go its own rows, and those that it gives to: they stand before it on the circle.
    by_block = np.empty(len(blocks))
    by_block[circle] = without
    return np.array([whole, *by_block])


def measured(session: Session, metric: str | Metric | None) -> tuple[str, int, tuple[Metric, ...]]:
    """The name of what is measured, the direction in which it is worse, and the metrics that measure it.

    Raises:
        OptionError: there is no such metric, or nobody knows which way is worse.
    """
    if metric is None or (isinstance(metric, str) and metric.lower() == "loss"):
        return "loss", 1, ()
    known = {one.name.lower(): one for one in session.recipe.metrics.valid}
    chosen = known.get(metric.lower()) if isinstance(metric, str) else as_metric(metric)
    if chosen is None:
        names = ["loss", *known]
        raise OptionError(
            f"metric={metric!r}",
            f"a metric object, or one of {', '.join(names)}",
            f"{did_you_mean(str(metric), names)}metric=lumbre.metrics.Accuracy(), for example",
        )
    if chosen.higher_is_better is None or chosen.by_class:
        raise OptionError(
            f"metric={chosen.name!r}, " + ("a value for each class" if chosen.by_class else "of which no way is up"),
            "a metric of one number, which says whether higher is better",
            "metric=None for the loss",
        )
    return chosen.name.lower(), -1 if chosen.higher_is_better else 1, (chosen,)


def _interval(value: float, without: "np.ndarray[Any, Any]") -> tuple[float, float, float]:
    """Value, and Student's t interval by the jackknife: `without` holds the values with one block left out each.

    With each block two of the parts go, so that what is left is (blocks - 2) parts. With few permutations the interval
    is a little wide, as the receiver of a block and its giver are counted with it.
    """
    blocks = len(without)
    spread = (blocks - 2) * math.sqrt(without.var(ddof=1) / blocks)
    half = T975[min(blocks - 1, len(T975)) - 1] * spread
    return float(value), float(value) - half, float(value) + half


@dataclass(frozen=True, slots=True)
class _Part:
    """What was gathered over a block: the meter's state, and the batches, where states cannot be put together."""

    state: dict[str, Any]
    seen: list[tuple[Batch, Nested, Losses]]


class _Measure:
    """Takes loss or metric of blocks of rows, and of all blocks but some, in one pass."""

    def __init__(
        self, session: Session, batches: RowFeed, metrics: tuple[Metric, ...], name: str, batch_size: int
    ) -> None:
        self._session = replace(session, world=World())  # each process sees all the rows
        self._batches = batches
        self._name = name
        self._size = batch_size
        weighted = batches.weights is not None
        divisor = session.divisor(weighted=weighted)
        self._meter: LossMeter = make_meter(self._session, metrics, divisor, weighted=weighted)
        self._may_depend = not metrics and not weighted
        self._together = False
        self._merges = all(metric.merges for metric in metrics)

    def as_they_are(self, blocks: Sequence[Tensor]) -> list[_Part]:
        """All blocks, nothing changed; from then on it is known whether the loss depends on the rows beside a row.

        A partial likelihood does: it is not that of parts of the rows. Such a loss is taken anew of the rows that are
        there, in batches of the training's size.
        """
        parts = self.pass_over(blocks, keep=2)
        if not self._may_depend:
            return parts
        some = parts[:2]
        by_part = self.value(some)
        try:
            if all(self._is_judged_again(*one) for part in some for one in part.seen):
                self._merges, self._together = False, True
                if not math.isclose(self.value(some), by_part, rel_tol=1e-5, abs_tol=1e-6):
                    return self.pass_over(blocks)
        except Exception:  # what cannot be cut by rows, or judged twice, stays as it was judged
            pass
        self._merges, self._together = True, False
        return parts

    def _is_judged_again(self, batch: Batch, pred: Nested, losses: Losses) -> bool:
        """Whether a loss needs the prediction alone, and nothing that the module left beside it."""
        again = self._session.losses(pred, batch)
        return all(torch.equal(*map(torch.as_tensor, pair)) for pair in zip(leaves(losses), leaves(again), strict=True))

    def pass_over(
        self,
        blocks: Sequence[Tensor],
        feature: Feature | None = None,
        givers: Sequence[Tensor] | None = None,
        *,
        keep: int = 0,
    ) -> list[_Part]:
        """Predict and compare all blocks, with the values that `givers` have of a feature.

        Predictions are kept where they are needed again, and in any case those of the first `keep` blocks.
        """
        seed_step = seeder(self._session.seed, self._session.device)
        parts: list[_Part] = []
        index = 0
        for number, block in enumerate(blocks):
            self._meter.reset()
            seen: list[tuple[Batch, Nested, Losses]] = []
            for start in range(0, len(block), self._size):
                batch = self._batches.take(block[start : start + self._size])
                if feature is not None and givers is not None:
                    others = self._batches.take(givers[number][start : start + self._size])
                    batch = replace(batch, input=feature.replaced(batch.input, others.input))
                seed_step("evaluate", 1, index)
                pred, losses = self._session.valid_step(batch)
                if self._merges and not index and self._meter.not_added(batch, pred) is not None:
                    self._merges = False
                self._meter.update(batch, pred, losses)
                if not self._merges or number < keep:
                    seen.append((replace(batch, input=None), pred, losses))
                index += 1
            parts.append(_Part(self._meter.state_dict(), seen))
        return parts

    def value(self, parts: Sequence[_Part]) -> float:
        """Loss or metric of some parts together."""
        if self._merges:
            state = parts[0].state
            for part in parts[1:]:
                state = self._meter.merged([state, part.state])
            self._meter.load_state_dict(state)
        else:  # the predictions are gone through again
            self._meter.reset()
            for batch in self._beside(parts) if self._together else (batch for part in parts for batch in part.seen):
                self._meter.update(*batch)
        value: Any = self._meter.compute()[self._name]
        if isinstance(value, (int, float)):
            return float(value)
        raise OptionError(f"the metric {self._name!r}, which is {value!r}"[:200], "one number", "another metric")

    def _beside(self, parts: Sequence[_Part]) -> Iterator[tuple[Batch, Nested, Losses]]:
        """The rows of some parts in batches of the training's size, with the loss of each."""
        whole = concatenate([(pred, batch.target) for part in parts for batch, pred, _ in part.seen])
        rows, size = sum(batch.size for part in parts for batch, *_ in part.seen), self._session.batch_size
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            pred, target = map_leaves(lambda leaf: leaf[start:stop].to(self._session.device), whole)  # noqa: B023
            batch = Batch(None, target, stop - start)
            yield batch, pred, self._session.losses(pred, batch)

    def without_pairs(self, parts: Sequence[_Part]) -> list[float]:
        """The value of all parts of a circle; then, for each of them, without it and the one before it."""
        if not self._merges:
            rest = [
                [part for j, part in enumerate(parts) if j not in (i, (i - 1) % len(parts))] for i in range(len(parts))
            ]
            return [self.value(parts), *map(self.value, rest)]
        merged, count = self._meter.merged, len(parts)
        # Sums from the first part to each, and from each to the last, so that no sum is taken twice.
        until, onward = [parts[0].state], [parts[-1].state]
        for part in parts[1:]:
            until.append(merged([until[-1], part.state]))
        for part in parts[-2::-1]:
            onward.insert(0, merged([part.state, onward[0]]))
        middle = parts[1].state
        for part in parts[2:-1]:
            middle = merged([middle, part.state])
        states = [until[-1], middle, onward[2]]
        states += [merged([until[i - 2], onward[i + 1]]) for i in range(2, count - 1)] + [until[count - 3]]
        return [self.value([_Part(state, [])]) for state in states]
