"""Several models of one recipe that predict together: their mean, and how far they are from one another."""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lumbre.base import (
    DataError,
    Nested,
    OptionError,
    as_path,
    caller,
    describe,
    leaves,
    map_leaves,
    stream,
)
from lumbre.core import History, format_seconds, format_value
from lumbre.data import FrameEncoding, InMemoryDataset, Rows, WeightedRows, countable, of_seed, split_rows, take_rows
from lumbre.fitted import Effects, Evaluation, Fitted, Importance, restored
from lumbre.metrics import Metric
from lumbre.run import Spec, callback_list, given_data
from lumbre.storage import Archive, read_archive, read_several, write_several
from lumbre.trials._folds import BY_ROW, of_rows, with_weights
from lumbre.trials._joint import joint_effects, joint_importance
from lumbre.trials._several import FitOf, Job, checked_options, fit_each, own_copy


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ensemble:
    """Models of one recipe that predict together. `Recipe.ensemble` makes it, `lumbre.load_ensemble` reads it.

    Attributes:
        models: the trained models.
    """

    models: list[Fitted]

    def __len__(self) -> int:
        return len(self.models)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes by class number, where the data had any."""
        return self.models[0].classes

    def predict(self, data: Any, *, batch_size: int | None = None) -> Nested:
        """The mean over the models of their predictions on the scale of the target.

        Of classes it is the mean of their probabilities, of counts that of expected counts; where nobody knows a scale
        (see `Fitted.predict_response`), that of what the models give.

        Args:
            data: as for `Fitted.predict`.
            batch_size: as for `Fitted.predict`.

        Returns:
            A tensor of shape (rows, ...) on the CPU, or tensors in the structure that the module returns.

        Raises:
            DataError: the data cannot be used as it is, or the models do not give tensors.
        """
        return _over(self._each(data, batch_size), lambda columns: columns.mean(0))

    def spread(self, data: Any, *, batch_size: int | None = None) -> Nested:
        """The standard deviation over the models of what `predict()` averages: how little they agree.

        It holds what differs between fits: first weights, order of the rows, and with `bootstrap=True` the rows. It is
        no prediction interval: the noise of the targets is not in it.

        Args:
            data: as for `predict()`.
            batch_size: as for `predict()`.

        Returns:
            As `predict()`; the standard deviation with n - 1.

        Raises:
            DataError: as `predict()` does.
        """
        return _over(self._each(data, batch_size), lambda columns: columns.std(0))

    def predict_probabilities(self, data: Any, *, batch_size: int | None = None) -> Tensor:
        """The mean over the models of `Fitted.predict_probabilities`: float32 of shape (rows, classes).

        Raises:
            DataError: as `predict()` does, or the models do not give scores of classes.
        """
        found = [one.predict_probabilities(data, batch_size=batch_size) for one in self.models]
        return torch.stack(found).mean(0)

    def predict_classes(self, data: Any, *, batch_size: int | None = None) -> "np.ndarray[Any, Any]":
        """The class with the largest mean probability: its name where the training data had names, else its number.

        Raises:
            DataError: as `predict_probabilities()` does.
        """
        numbers = self.predict_probabilities(data, batch_size=batch_size).argmax(1).numpy()
        return numbers if self.classes is None else np.array(self.classes, dtype=object)[numbers]

    def evaluate(self, data: Any, *, batch_size: int | None = None, weights: Any = None) -> Evaluation:
        """Loss and metrics of the mean prediction.

        Loss and metrics take it as they take a model's: probabilities of classes as their logarithms, for example. Of
        a recipe with a `response` of its own, of which no inverse is known, the models' outputs are averaged as they
        are.

        Args:
            data: as for `Fitted.evaluate`; a loader is read by all models together.
            batch_size: as for `Fitted.evaluate`.
            weights: as for `Fitted.evaluate`.

        Raises:
            DataError: the data cannot be used as it is, or the models do not give tensors.
            RecipeError: the ensemble was loaded without a loss.
        """
        sessions = [one._session for one in self.models]  # pyright: ignore[reportPrivateUsage]
        first = sessions[0]
        if any(one.encoding is not None for one in sessions):  # each has its own centre and scale
            data = _beside(
                [given_data(data, one.encoding, one.seed, need_target=True, weights=weights) for one in sessions]
            )
        encoded = isinstance(data, _Beside)
        encodings = [one.encoding for one in sessions]
        joint = _Joint([one.model for one in sessions], _combined(first.scale.name), encodings, own_inputs=encoded)
        joint_fit = Fitted(replace(first, model=joint, seen=first.scale), History(), "")
        if encoded:
            return joint_fit.evaluate(data.rows, batch_size=batch_size)
        return joint_fit.evaluate(data, batch_size=batch_size, weights=weights)

    def importance(self, data: Any, metric: str | Metric | None = None, **options: Any) -> Importance:
        """Permutation importance: the mean over the models, with 95 % intervals from how far they differ.

        An interval is mean +- t x standard deviation over the models, with Student's t for n - 1. With
        `bootstrap=True` it holds what other training rows would change; otherwise only first weights and order. The
        rows of `data`, and permutations, are the same for all models.

        Args:
            data: as for `Fitted.importance`.
            metric: as for `Fitted.importance`.
            **options: as for `Fitted.importance`: repeats, groups, patches, seed, batch_size.

        Raises:
            DataError: the data cannot be used as it is, or come from a loader.
            OptionError: an option is impossible.
        """
        return joint_importance([one.importance(data, metric, **options) for one in self.models])

    def effects(self, data: Any, *features: str | int, **options: Any) -> Effects:
        """What features do to the prediction: means over the models, with 95 % intervals from how far they differ.

        `low` and `high` of a slope are mean +- t x standard deviation over the models, with Student's t for n - 1: with
        `bootstrap=True` an interval for the slope. Curves and surfaces are means.

        Args:
            data: as for `Fitted.effects`.
            *features: as for `Fitted.effects`.
            **options: as for `Fitted.effects`: points, curves, seed, batch_size.

        Raises:
            DataError: the data cannot be used as it is, or the module gives no numbers, or no gradient.
            OptionError: a feature is not there, or is no number or category.
        """
        return joint_effects([one.effects(data, *features, **options) for one in self.models])

    def save(self, path: str | Path) -> None:
        """Write all models to one file of tensors and JSON, which `lumbre.load_ensemble(path, module)` reads.

        Args:
            path: where to; a file that is there is replaced once the new one is complete.

        Raises:
            ArchiveError: it cannot be written there.
        """
        members: list[Archive] = []
        with tempfile.TemporaryDirectory(prefix="lumbre-ensemble-") as folder:
            for one in self.models:
                one.save(Path(folder) / "member.lumbre")
                members.append(read_archive(Path(folder) / "member.lumbre"))
        write_several(as_path(path, 'ensemble.save("nets.lumbre")'), members)

    def _each(self, data: Any, batch_size: int | None) -> list[Nested]:
        return [one.predict_response(data, batch_size=batch_size) for one in self.models]

    def __repr__(self) -> str:
        each = [one._history.of_model() for one in self.models]  # pyright: ignore[reportPrivateUsage]
        lines = [f"Ensemble of {len(self)} {type(self.models[0].model).__name__}"]
        for name in each[0]:
            values = [one[name] for one in each if isinstance(one.get(name), (int, float))]
            if len(values) == len(each):
                lines.append(f"{name}: {format_value(min(values))} to {format_value(max(values))}")
        return "\n  ".join(lines)


def load_ensemble(path: str | Path, module: Any, *, device: str | torch.device = "auto", **hparams: Any) -> Ensemble:
    """Read an ensemble that `Ensemble.save()` wrote.

    Args:
        path: the file.
        module: the module class (or factory), or the recipe, as for `lumbre.load`; a ready module is copied.
        device: where to put the models: "auto", or a device by name.
        **hparams: as for `lumbre.load`.

    Raises:
        ArchiveError: the file is not there, damaged, of another kind, or does not fit the module.
        RecipeError: the module cannot be built with the hyper-parameters.

    Example:
        >>> import torch, lumbre as lb
        >>> from torch import nn, optim
        >>> recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
        >>> recipe = recipe.set_hparams(in_features=2, out_features=1)
        >>> recipe.ensemble(
        ...     (torch.zeros(4, 2), torch.zeros(4, 1)), n=3, epochs=1, verbose=False
        ... ).save("three.lumbre")
        >>> lb.load_ensemble("three.lumbre", nn.Linear).predict(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """
    models: list[Fitted] = []
    for archive in read_several(as_path(path, 'lumbre.load_ensemble("nets.lumbre", Net)')):
        own = own_copy(module) if isinstance(module, Spec) else module
        own = copy.deepcopy(own) if isinstance(own, nn.Module) else own
        models.append(restored(archive, path, own, device, hparams))
    return Ensemble(models)


def fit_ensemble(
    recipe: Spec,
    fit: FitOf,
    data: Any,
    options: Mapping[str, Any],
    *,
    n: int,
    bootstrap: bool,
    seed: int,
    workers: int,
    resume: Any,
) -> Ensemble:
    """Fit the members; `Recipe.ensemble` says the rest."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 2:
        raise OptionError(f"n={n!r}", "a whole number of models from 2", "n=10")
    options = {**options, "callbacks": callback_list(options.get("callbacks", ()))}
    keep = checked_options(options, resume, workers, seed)
    seeds = [seed + place for place in range(n)]
    rows = countable(with_weights(data, options), seed) if bootstrap else data
    members = _Members(rows, seeds, options, bootstrap)
    job = Job(recipe=recipe, fit=fit, parts=members, options=options, keep=keep)
    return Ensemble(list(_heard(fit_each(job, workers), n, quiet=options.get("verbose") is False)))


@dataclass(frozen=True, slots=True)
class _Members:
    """What each member is fitted with: a seed, and where it is asked for rows drawn with replacement."""

    data: Any
    seeds: list[int]
    options: Mapping[str, Any]
    bootstrap: bool

    @property
    def names(self) -> list[str]:
        """Of folders, and in messages."""
        return [f"member-{place}" for place in range(1, len(self.seeds) + 1)]

    def part(self, number: int) -> tuple[Any, dict[str, Any]]:
        """Data and options of a member."""
        seed = self.seeds[number]
        own: dict[str, Any] = {"seed": seed, "preflight": self.options.get("preflight", True) and not number}
        if not self.bootstrap:
            return self.data, own
        own["weights"] = None  # they are with the data
        data: Rows = of_seed(self.data, seed)
        rows, fraction = torch.arange(len(data)), self.options.get("valid_data")
        if isinstance(fraction, (int, float)):  # held out first, so that no row is on both sides
            rows, valid = split_rows(len(data), fraction, seed)
            own["valid_data"] = take_rows(data, valid)
        generator = torch.Generator().manual_seed(stream(seed, "bootstrap"))
        drawn = rows[torch.randint(len(rows), (len(rows),), generator=generator).sort().values]
        for name in BY_ROW:
            if (values := self.options.get(name)) is not None and not isinstance(values, str):
                own[name] = of_rows(name, values, drawn, len(data))
        return take_rows(data, drawn), own


def _heard(models: Iterator[Fitted], count: int, *, quiet: bool) -> Iterator[Fitted]:
    """The models; a line is printed for each."""
    from rich.console import Console

    since = perf_counter()
    for place, fitted in enumerate(models, 1):
        yield fitted
        if quiet:
            continue
        values = ", ".join(
            f"{name} {format_value(value)}"
            for name, value in fitted._history.of_model().items()  # pyright: ignore[reportPrivateUsage]
            if isinstance(value, (int, float))
        )
        line = f"Member {place} of {count}: {values} - {format_seconds(perf_counter() - since)}"
        Console(soft_wrap=True).print(line, markup=False, highlight=False)
        since = perf_counter()


def _over(each: Sequence[Nested], join: Callable[[Tensor], Tensor]) -> Nested:
    """Structures of tensors joined leaf by leaf: `join` takes (models, rows, ...).

    Raises:
        DataError: there is something else in them.
    """
    columns = list(zip(*map(leaves, each), strict=True))
    for column in columns:
        for leaf in column:
            if not isinstance(leaf, Tensor) or leaf.shape != column[0].shape:
                raise DataError(
                    f"models that give a {describe(leaf)}",
                    "tensors of one shape, which can be averaged",
                    "ensemble.models[0].predict(data), and average these as the module means them",
                )
    found = iter([join(torch.stack([leaf.float() for leaf in column])) for column in columns])
    return map_leaves(lambda _: next(found), each[0])


@dataclass(frozen=True, slots=True)
class _Beside:
    """The rows of a frame as each member has them encoded."""

    rows: InMemoryDataset | WeightedRows


def _beside(given: Sequence[tuple[Any, Tensor | None]]) -> Any:
    sources, weights = [rows for rows, _ in given], given[0][1]
    if not all(isinstance(one, InMemoryDataset) for one in sources):
        raise DataError(
            f"a {type(sources[0]).__name__} for models that each encode a frame in their own way",
            "a frame, or frame data, in memory",
            "ensemble.models[0].evaluate(data), or predict() and a metric of your own",
        )
    rows = InMemoryDataset([one.input for one in sources], sources[0].target, classes=sources[0].classes)
    return _Beside(rows if weights is None else WeightedRows(rows, weights))


class _Joint(nn.Module):
    """The members as one module, whose output has the scale of theirs."""

    def __init__(
        self,
        members: Sequence[nn.Module],
        combined: Callable[[list[Nested]], Nested],
        encodings: Sequence[FrameEncoding | None],
        *,
        own_inputs: bool,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._combined = combined
        self._own_inputs = own_inputs
        units = [None if one is None else one.units for one in encodings]
        # Each member has its own centre and scale of the target: outputs are brought to those of the first.
        self._units = [None if one is None or units[0] is None else one.into(units[0]) for one in units]

    def forward(self, input: Nested, /) -> Nested:  # one argument, so that no input is spread before the members
        """The mean of the members' outputs."""
        each = input if self._own_inputs else [input] * len(self.members)
        outputs = [caller(member, one)(one) for member, one in zip(self.members, each, strict=True)]
        return self._combined(
            [one if units is None else units(one) for one, units in zip(outputs, self._units, strict=True)]
        )


def _mean(columns: Tensor) -> Tensor:
    return columns.mean(0)


def _mean_log(columns: Tensor) -> Tensor:
    """The logarithm of the mean of exponentials."""
    return columns.logsumexp(0) - torch.log(torch.tensor(float(len(columns)), device=columns.device))


def _mean_classes(columns: Tensor) -> Tensor:
    return _mean_log(columns.log_softmax(2 if columns.ndim > 2 else 1))


def _mean_logit(columns: Tensor) -> Tensor:
    """The logit of the mean probability; of the logarithms of both sides, which keep small ones."""
    log = nn.functional.logsigmoid
    return _mean_log(log(columns)) - _mean_log(log(-columns))


_MEANS: Mapping[str | None, Callable[[Tensor], Tensor]] = {
    "softmax": _mean_classes,
    "sigmoid": _mean_logit,
    "signs": lambda columns: 2 * torch.atanh((columns / 2).tanh().mean(0)),
    "exp": _mean_log,
    "expm1": _mean_log,  # the 1 is taken from all alike
}


def _combined(name: str | None) -> Callable[[list[Nested]], Nested]:
    """The mean on the scale of the target, brought back to that of the outputs, by the name of the response."""
    if name == "first":  # (mean, variance, ...): of a mixture
        return _mixture
    return partial(_over, join=_MEANS.get(name, _mean))


def _mixture(each: list[Nested]) -> Nested:
    if not isinstance(each[0], (tuple, list)):
        return _over(each, _mean)
    means, variances = (torch.stack([one[place] for one in each]) for place in (0, 1))
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)
