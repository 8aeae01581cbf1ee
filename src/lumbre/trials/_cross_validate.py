"""Cross-validation: a fit for each fold, judged on the rows that it has not seen."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lumbre.base import Nested, OptionError, concatenate, leaves, map_leaves, only_numbers
from lumbre.callbacks import EarlyStopping, KeepBestModel, LRScheduler, ModelCheckpoint
from lumbre.core import History, format_seconds, format_value
from lumbre.fitted import Evaluation, Fitted, Suspects, suspects
from lumbre.preflight import Findings
from lumbre.run import Checkpoints, Spec, callback_list
from lumbre.trials._folds import Fold, FoldParts, fold_parts
from lumbre.trials._intervals import corrected_interval
from lumbre.trials._review import review_folds
from lumbre.trials._several import FitOf, Job, checked_options, fit_each

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CrossValidation:
    """What a cross-validation found. `Recipe.cross_validate` makes it.

    Attributes:
        scores: a DataFrame with the columns repeat, fold (both from 1), metric, value: what `evaluate()` gives for the
            rows that were held out. A metric with several numbers has a row for each, such as "f1_setosa".
        predictions: what `predict()` gives for each row, of the model that has not seen it, in the order of the rows:
            a tensor of shape (rows, ...) or tensors in the structure of the module's. With several repeats the mean
            over them. NaN for rows that were never held out (`ordered`). None where the output is none of tensors.
        responses: the same on the scale of the target: probabilities of classes, counts.
        models: the trained model of each fit, in the order of `scores`.
        held_out: the row numbers on which each of them was judged, int64 tensors.
        best_epochs: of each fit: the best in the eyes of its `KeepBestModel` or `EarlyStopping`, else its last.
        final: with `final=True` the model of all rows, trained for the median of `best_epochs`; else None.
    """

    scores: "pd.DataFrame"
    predictions: Nested
    responses: Nested
    models: list[Fitted]
    held_out: list[Tensor]
    best_epochs: list[int]
    final: Fitted | None
    _share: float
    _rows: int
    _by_chance: bool

    def summary(self, level: float = 0.95) -> "pd.DataFrame":
        """Each metric with its mean over all fits and an interval for it.

        It is the corrected resampled t interval of Nadeau and Bengio (2003): the folds share rows to train on, so
        their scores vary together, and the plain t interval is too narrow. The variance of the mean of J scores is
        their variance times (1/J + rows held out / rows trained on). For ordered folds, which train on more and more
        rows, it is a rough one. It speaks of models trained on so many rows, not of the `final` one.

        Args:
            level: how often such intervals hold the mean, in (0, 1).

        Returns:
            A DataFrame with the columns metric, mean, low, high.

        Raises:
            OptionError: the level is impossible.
        """
        import pandas as pd

        only_numbers("a share between 0 and 1", 0.95, lambda share: 0 < share < 1, level=level)
        rows = [
            (metric, *corrected_interval(values.tolist(), self._share, level))
            for metric, values in self.scores.groupby("metric", sort=False)["value"]
        ]
        return pd.DataFrame(rows, columns=["metric", "mean", "low", "high"])

    def suspects(self, data: Any, *, by: Any = None, duplicates: bool = True) -> Suspects:
        """Labels that are probably wrong, rows that are there twice, and groups that are predicted worse than the rest.

        Each label is judged by a model that has not seen its row, by confident learning (Northcutt et al., 2021):
        a model knows the labels that it was trained on by heart, wrong ones too. Needs cleanlab (`lumbre[suspects]`).

        Args:
            data: what was cross-validated, with classes as targets.
            by: the name of a column, or a value for each row: groups to look at.
            duplicates: look for rows whose encoded inputs are equal, or nearly; the time for it grows with the square
                of the rows.

        Returns:
            `.frame()` has the columns row, given, probable, score and suspect, the most suspicious label first;
            `.duplicates` and `.groups` are frames, too.

        Raises:
            MissingExtraError: cleanlab is not installed.
            DataError: it is other data, or its targets are no classes.
        """
        session = self.models[0]._session  # pyright: ignore[reportPrivateUsage]
        return suspects(session, data, self.predictions, by, duplicates=duplicates)

    def review(self, data: Any) -> Findings:
        """Whether the fits are unstable (LB133): folds that differ by more than the rows on which they are judged.

        It is a permutation test over the rows, since the scores of a few folds spread widely by chance alone. Folds of
        groups or of time are not looked at: their rows differ.

        Args:
            data: what was cross-validated.

        Raises:
            DataError: it is other data.
        """
        if not self._by_chance:
            return Findings([], ["LB133, which asks for folds that are drawn by chance, not groups or times"])
        return review_folds(data, self.models, self.held_out, len(set(self.scores["repeat"].tolist())))

    def __repr__(self) -> str:
        lines = [
            f"{metric}: {format_value(mean)} ({format_value(low)} to {format_value(high)})"
            for metric, mean, low, high in self.summary().itertuples(index=False)
        ]
        return "\n  ".join([f"CrossValidation: {self._title()}", *lines, f"best epochs: {self._epochs()}"])

    def _repr_html_(self) -> str:
        table = self.summary().to_html(index=False, float_format=format_value)
        return f"<p>CrossValidation: {self._title()}; best epochs: {self._epochs()}</p>{table}"

    def _title(self) -> str:
        repeats = len(set(self.scores["repeat"].tolist()))
        repeated = f", {repeats} times" if repeats > 1 else ""
        return f"{len(self.models) // repeats} folds of {self._rows} rows{repeated}; mean (95 % interval)"

    def _epochs(self) -> str:
        few, many = min(self.best_epochs), max(self.best_epochs)
        return str(few) if few == many else f"{few} to {many}, median {median_epoch(self.best_epochs)}"


def cross_validate(
    recipe: Spec,
    fit: FitOf,
    data: Any,
    options: Mapping[str, Any],
    *,
    workers: int,
    resume: Any,
    final: bool,
    seed: int,
    **folding: Any,
) -> CrossValidation:
    """Fit and judge each fold; `Recipe.cross_validate` says the rest."""
    options = {**options, "callbacks": callback_list(options.get("callbacks", ()))}
    keep = checked_options(options, resume, workers, seed)
    parts = fold_parts(data, options, seed=seed, **folding)
    watchers = _check_final(options) if final else []
    job = Job(recipe=recipe, fit=fit, parts=parts, options=options, keep=keep)
    scores, models = list[tuple[int, int, str, Any]](), list[Fitted]()
    outputs, epochs = list[tuple[Nested, Nested]](), list[int]()
    since = perf_counter()
    for fold, fitted in zip(parts.folds, fit_each(job, workers), strict=True):
        rows = parts.rows(fold, fold.held_out)
        found = fitted.evaluate(rows)
        output = fitted.predict(rows)
        scores += [(fold.repeat, fold.number, *score) for score in _numbers(found)]
        scale = fitted._session.scale  # pyright: ignore[reportPrivateUsage]
        outputs.append((output, scale.applied(output)))
        models.append(fitted)
        epochs.append(best_epoch(fitted, options["callbacks"], recipe))
        if options.get("verbose") is not False:
            _say(parts, fold, found, perf_counter() - since)
        since = perf_counter()
    whole = _fit_final(recipe, fit, data, options, watchers, epochs, keep, seed) if final else None
    return _result(parts, scores, outputs, models, epochs, whole)


def _result(
    parts: FoldParts,
    scores: list[tuple[int, int, str, Any]],
    outputs: list[tuple[Nested, Nested]],
    models: list[Fitted],
    epochs: list[int],
    whole: Fitted | None,
) -> CrossValidation:
    import pandas as pd

    shares = [len(fold.held_out) / len(fold.train) for fold in parts.folds]
    return CrossValidation(
        scores=pd.DataFrame(scores, columns=["repeat", "fold", "metric", "value"]),
        predictions=_in_place(parts, [output for output, _ in outputs]),
        responses=_in_place(parts, [response for _, response in outputs]),
        models=models,
        held_out=[fold.held_out for fold in parts.folds],
        best_epochs=epochs,
        final=whole,
        _share=statistics.fmean(shares),
        _rows=len(parts.data),
        _by_chance=parts.group is None and not parts.ordered,
    )


def _numbers(found: Evaluation) -> list[tuple[str, Any]]:
    """The values of an evaluation, each a number."""
    history = History()
    history.add(1, "valid", found.metrics)
    frame = history.frame()
    return list(zip(frame["metric"], frame["value"], strict=True))


def _in_place(parts: FoldParts, outputs: Sequence[Nested]) -> Nested:
    """The outputs of all folds in the order of the rows, averaged over repeats; None where they cannot be joined."""
    total, repeats = len(parts.data), list[Nested]()
    for begin in range(0, len(parts.folds), parts.count):
        these = slice(begin, begin + parts.count)
        places = torch.cat([fold.held_out for fold in parts.folds[these]])
        if not _alike(outputs[these], [len(fold.held_out) for fold in parts.folds[these]]):
            return None
        repeats.append(map_leaves(lambda leaf: _placed(leaf, places, total), concatenate(outputs[these])))  # noqa: B023
    return repeats[0] if len(repeats) == 1 else _mean(repeats)


def _alike(outputs: Sequence[Nested], rows: Sequence[int]) -> bool:
    """Whether all are tensors with a row for each row, of equal shapes beside that."""
    forms: list[list[Any]] = []
    for output, count in zip(outputs, rows, strict=True):
        found = list(leaves(output))
        if not all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count for leaf in found):
            return False
        forms.append([(leaf.shape[1:], leaf.dtype) for leaf in found])
    return bool(forms[0]) and all(form == forms[0] for form in forms)


def _placed(leaf: Tensor, places: Tensor, total: int) -> Tensor:
    if len(places) < total:  # some rows have none
        leaf = leaf if leaf.is_floating_point() else leaf.float()
        whole = torch.full((total, *leaf.shape[1:]), math.nan, dtype=leaf.dtype)
    else:
        whole = torch.empty_like(leaf)
    whole[places] = leaf
    return whole


def _mean(values: Sequence[Nested]) -> Nested:
    """The mean of structures of tensors, leaf by leaf, in the order of the first."""
    columns = iter([torch.stack(column).float().mean(0) for column in zip(*map(leaves, values), strict=True)])
    return map_leaves(lambda _: next(columns), values[0])


def best_epoch(fitted: Fitted, callbacks: Sequence[Any], recipe: Spec) -> int:
    """The epoch that the run's `KeepBestModel` or `EarlyStopping` takes for its best; its last without them."""
    watchers = [one for one in callbacks if isinstance(one, (KeepBestModel, EarlyStopping))]
    watchers.sort(key=lambda one: not getattr(one, "restore_best", True))  # first the one that gives weights back
    history = fitted.history_wide
    epochs: list[int] = history["epoch"].tolist()
    found = max(epochs, default=0)
    if watchers:
        watch: Any = watchers[0].watch
        name, mode, min_delta, best, start, ties = watch
        sign = -1.0 if (mode or _mode(name, recipe, fitted)) == "max" else 1.0
        for epoch, value in zip(epochs, history[name].tolist(), strict=True):
            if epoch < start or math.isnan(value):
                continue
            if best is None or sign * (best - value) > min_delta or (ties == "last" and value == best):
                best, found = value, epoch
    return found


def _mode(monitor: str, recipe: Spec, fitted: Fitted) -> str:
    """Which way is better, as the metric says: the run has refused a value of which nobody knows it."""
    for set_name in dict.fromkeys(fitted.history["set"]):
        metrics = recipe.metrics.train if set_name == "train" else recipe.metrics.valid
        if any(f"{set_name}_{one.name.lower()}" == monitor and one.higher_is_better for one in metrics):
            return "max"
    return "min"


def median_epoch(epochs: Sequence[int]) -> int:
    """The median, a half rounded up; at least 1."""
    return max(1, math.floor(statistics.median(epochs) + 0.5))


def _check_final(options: Mapping[str, Any]) -> list[Any]:
    """The callbacks that a fit of all rows cannot have: those that look for the best epoch.

    Raises:
        OptionError: a schedule waits for a value that such a fit has not.
    """
    callbacks = options["callbacks"]
    for one in callbacks:
        if isinstance(one, LRScheduler) and one.scheduler is ReduceLROnPlateau:
            raise OptionError(
                "final=True beside a schedule that waits for a validation value",
                "a schedule that needs no validation: the final fit has all rows to train on",
                "lumbre.schedules.cosine(), or final=False and a fit of your own",
            )
    return [one for one in callbacks if isinstance(one, (KeepBestModel, EarlyStopping, ModelCheckpoint))]


def _fit_final(
    recipe: Spec,
    fit: FitOf,
    data: Any,
    options: Mapping[str, Any],
    dropped: Sequence[Any],
    epochs: Sequence[int],
    keep: Checkpoints | None,
    seed: int,
) -> Fitted:
    """The model of all rows."""
    kept = [one for one in options["callbacks"] if not any(one is other for other in dropped)]
    own: dict[str, Any] = {**options, "callbacks": kept, "epochs": median_epoch(epochs), "seed": seed}
    if isinstance(own.get("valid_data"), (int, float)):
        own |= {"valid_data": None, "valid_every": 1}
    parts = _Whole(data, own["epochs"])
    return Job(recipe=recipe, fit=fit, parts=parts, options=own, keep=keep).run(0)


@dataclass(frozen=True, slots=True)
class _Whole:
    """One fit of all rows."""

    data: Any
    epochs: int

    @property
    def names(self) -> list[str]:
        """Its folder."""
        return [f"final-{self.epochs}-epochs"]

    def part(self, number: int) -> tuple[Any, dict[str, Any]]:
        """Data; it has no options of its own."""
        return self.data, {"preflight": False}


def _say(parts: FoldParts, fold: Fold, found: Evaluation, seconds: float) -> None:
    """Print a line for a fold."""
    from rich.console import Console

    values = ", ".join(
        f"{name} {format_value(value)}" for name, value in found.metrics.items() if isinstance(value, (int, float))
    )
    repeat = f", repeat {fold.repeat}" if parts.folds[-1].repeat > 1 else ""
    line = f"Fold {fold.number} of {parts.count}{repeat}: {values} - {format_seconds(seconds)}"
    Console(soft_wrap=True).print(line, markup=False, highlight=False)
