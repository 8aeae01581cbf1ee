"""Is the net better than something simple? Constant, linear and boosted models on the same rows and columns."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lumbre.base import (
    OWN,
    Batch,
    Batches,
    DataError,
    RowLoss,
    Scale,
    as_scalar,
    at_least,
    concatenate,
    describe,
    html_table,
    import_extra,
    leaves,
    map_leaves,
    stream,
)
from lumbre.core import format_value
from lumbre.fitted._compare import class_numbers
from lumbre.fitted._features import features_of
from lumbre.fitted._importance import measured
from lumbre.fitted._response import best_constant, refuse_gaps, response_scale
from lumbre.metrics import LossMeter, Metric
from lumbre.processes import World
from lumbre.run import Session, make_meter

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

_Array = np.ndarray[Any, Any]
_RESAMPLES = 500
_LEAST = 1e-7


@dataclass(frozen=True, slots=True)
class Baselines:
    """A net beside simple models, on the same test rows.

    The difference is positive where the net is better. Its 95 % interval is a paired bootstrap: the rows are drawn
    again 500 times, the same ones for all models. It does not hold the luck of one training run.

    Attributes:
        metric: what was measured.
        rows: test rows.
        values: (model, value, difference, low, high); of the net, which comes first, the last three are NaN.
    """

    metric: str
    rows: int
    values: tuple[tuple[str, float, float, float, float], ...]

    @property
    def verdict(self) -> str:
        """In a sentence: against which of them the net loses, or is not shown to be better."""
        own, *others = self.values
        groups = {
            "is worse than": [one for one in others if one[4] < 0],
            "is not shown to be better than": [one for one in others if one[3] <= 0 <= one[4]],
            "is better than": [one for one in others if one[3] > 0],
        }
        said = [
            f"{verb} {' and '.join(f'{name} ({format_value(value)})' for name, value, *_ in found)}"
            for verb, found in groups.items()
            if found
        ]
        return f"On {self.rows:,} rows the net ({self.metric} {format_value(own[1])}) {'; it '.join(said)}."

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns model, value, difference, low and high."""
        import pandas as pd

        return pd.DataFrame(list(self.values), columns=["model", "value", "difference", "low", "high"])

    def plot(self) -> "ggplot":
        """By how much the net is better than each, with intervals; a plotnine object."""
        from lumbre.plots import plot_baselines

        return plot_baselines(self.frame(), self.metric)

    def __repr__(self) -> str:
        lines = [f"  {name:<18} {value:>9.4g}  {_gain(rest)}".rstrip() for name, value, *rest in self.values]
        head = f"  {'model':<18} {self.metric:>9}  the net is better by (95 % interval)"
        return "\n".join([self.verdict, head, *lines])

    def _repr_html_(self) -> str:
        lines = [(name, f"{value:.4g}  {_gain(rest)}".rstrip()) for name, value, *rest in self.values]
        return f"<p>{self.verdict}</p>" + html_table([("model", self.metric), *lines])


def _gain(numbers: list[float]) -> str:
    gain, low, high = numbers
    return "" if math.isnan(gain) else f"{gain:+.4g} ({low:+.4g} to {high:+.4g})"


def baselines(session: Session, train: Batches, test: Batches, metric: str | Metric | None, seed: int) -> Baselines:
    """Fit the simple models on `train`, and compare all on `test`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        DataError: the target is neither classes nor numbers, or the loss takes something else than these models give.
    """
    at_least(0, seed=seed)
    if metric is None:  # the first of the recipe's metrics that says which way is up
        known = [one for one in session.recipe.metrics.valid if one.higher_is_better is not None and not one.by_class]
        metric = known[0] if known else None
    name, sign, metrics = measured(session, metric)
    scale = response_scale(session)
    if metrics and metrics[0].of_response and (scale.kind == "numbers" or scale.name == OWN):
        scale = Scale(scale.kind)  # what is measured is the response
    x, y, _, weights = _rows(session, train, with_output=False)
    new_x, new_y, output, new_weights = _rows(session, test, with_output=True)
    if metrics and metrics[0].of_response and session.scale.response is not None:
        output = session.scale.response(output)
    if not isinstance(output, Tensor) or output.ndim not in (1, 2):
        raise DataError(
            f"predictions that are a {describe(output)}",
            "numbers or scores of classes, shape (rows,) or (rows, outputs)",
            "metric=lumbre.metrics.MAE() or another that looks at numbers on the scale of the target",
        )
    numbers = None if scale.kind == "numbers" else class_numbers(output, new_y, session.ignored)
    if numbers is not None:
        labels = class_numbers(output.new_zeros(len(y), *output.shape[1:]), y, session.ignored)
        if labels is not None:
            x, labels, weights = _counted(labels, x, labels, weights)
        new_x, output, new_y, new_weights = _counted(numbers, new_x, output, new_y, new_weights)
        found = _classifiers(x, labels, weights, new_x, output, scale, seed)
    elif _are_yes_or_no(output, scale, y, new_y):
        places = range(output.shape[1])
        each = [_classifiers(x, y[:, at].long(), weights, new_x, output[:, at], scale, seed) for at in places]
        names = [name for name in each[0] if all(name in one for one in each)]
        found = {name: torch.stack([one[name] for one in each], 1) for name in names}
    else:
        found = _regressors(session, (x, y, weights), new_x, output, new_y, scale, seed)
    judge = _Judge(session, metrics, name, new_y, new_weights)
    return _compared({"the net": output, **found}, judge, name, sign, seed)


def _rows(session: Session, batches: Batches, *, with_output: bool) -> tuple[_Array, Tensor, Any, Tensor | None]:
    """Columns of numbers, targets, what the module gives for them, and the weights of the rows or None."""
    session.model.eval()
    parts: list[Any] = []
    with session.running(batches=batches.length):
        for batch in batches.epoch(1):
            pred = session.valid_step(batch)[0] if with_output else None
            parts.append((_columns(session, batch.input).cpu(), batch.target, pred, batch.weights))
    x, y, output, weights = concatenate(parts)
    if not isinstance(y, Tensor):
        raise DataError(f"targets that are a {describe(y)}", "a tensor of targets", "pass (input, target)")
    refuse_gaps(inputs=x, targets=y, predictions=output)
    return x.double().numpy(), y, output, weights


def _are_yes_or_no(output: Tensor, scale: Scale, *targets: Tensor) -> bool:
    """Whether the targets are several columns of 0 and 1, of which each is predicted by itself."""
    return (
        output.ndim == 2
        and scale.kind in ("logits", "probabilities")
        and scale.name != "softmax"
        and all(one.shape[1:] == output.shape[1:] and bool(((one == 0) | (one == 1)).all()) for one in targets)
    )


def _counted(numbers: Tensor, *parts: Any) -> list[Any]:
    """Those of the rows that have a class, and that the loss does not leave out.

    Raises:
        DataError: there are none.
    """
    kept = (numbers >= 0).nonzero()[:, 0]
    if not len(kept):
        raise DataError(f"{len(numbers)} rows without a class", "rows with a class to judge by", "other rows")
    return [None if one is None else one[kept.numpy() if isinstance(one, np.ndarray) else kept] for one in parts]


def _columns(session: Session, input: Any) -> Tensor:
    """An input as a table; codes of categories as columns of 0 and 1."""
    codes = [one for one in features_of(session.encoding, input) if one.kind == "code"]
    if not codes:
        return torch.cat([leaf.float().reshape(len(leaf), -1) for leaf in leaves(input)], 1)
    numbers = [leaf.float() for leaf in leaves(input) if leaf.is_floating_point()]
    # A code of -1, of a category that was not seen, is none of them.
    hot = [F.one_hot(one.values(input) + 1, len(one.levels) + 1)[:, 1:].float() for one in codes]
    return torch.cat([*numbers, *hot], 1)


def _classifiers(
    x: _Array,
    labels: Tensor | None,
    weights: Tensor | None,
    new_x: _Array,
    output: Tensor,
    scale: Scale,
    seed: int,
) -> dict[str, Tensor]:
    linear = import_extra("sklearn.linear_model", "sklearn", "fit a linear model to compare with")
    trees = import_extra("sklearn.ensemble", "sklearn", "fit boosted trees to compare with")
    pipeline = import_extra("sklearn.pipeline", "sklearn", "fit a linear model to compare with")
    scaling = import_extra("sklearn.preprocessing", "sklearn", "fit a linear model to compare with")
    if labels is None or scale.kind not in ("logits", "probabilities"):
        raise DataError(
            "a loss of which it is not known whether it takes scores or probabilities",
            "a loss of torch for classes, such as nn.CrossEntropyLoss",
            "setup(loss=nn.CrossEntropyLoss())",
        )
    count = output.shape[1] if output.ndim == 2 and output.shape[1] > 1 else 2
    truth = labels.numpy()
    by = None if weights is None else weights.double().numpy()
    shares = np.bincount(truth, by, minlength=count)[:count] / (len(truth) if by is None else by.sum())
    found = {"constant": np.tile(shares, (len(new_x), 1))}
    models = {
        "linear": pipeline.make_pipeline(scaling.StandardScaler(), linear.LogisticRegression(max_iter=1000)),
        "gradient boosting": trees.HistGradientBoostingClassifier(random_state=seed),
    }
    for name, model in models.items():
        if len(set(truth.tolist())) < 2:
            continue
        table = np.zeros((len(new_x), count))
        steps: Any = getattr(model, "steps", None)  # of a pipeline, which hands weights on by name
        names = ["sample_weight"] if steps is None else [f"{step}__sample_weight" for step, _ in steps]
        fitted = model.fit(x, truth, **({} if by is None else dict.fromkeys(names, by)))
        table[:, fitted.classes_] = fitted.predict_proba(new_x)
        found[name] = table
    return {name: _as_output(torch.from_numpy(table), output, scale) for name, table in found.items()}


def _as_output(shares: Tensor, output: Tensor, scale: Scale) -> Tensor:
    """Probabilities as the module gives them: logarithms, log odds of the second class, or as they are."""
    shares = shares.clamp(_LEAST, 1 - _LEAST)
    if output.ndim == 2 and output.shape[1] > 1:
        found = shares if scale.kind == "probabilities" else shares.log() if scale.name == "softmax" else shares.logit()
    else:
        found = (shares[:, 1] if scale.kind == "probabilities" else shares[:, 1].logit()).reshape(output.shape)
    return found.to(output.dtype)


def _regressors(
    session: Session,
    train: tuple[_Array, Tensor, Tensor | None],
    new_x: _Array,
    output: Tensor,
    new_y: Tensor,
    scale: Scale,
    seed: int,
) -> dict[str, Tensor]:
    linear = import_extra("sklearn.linear_model", "sklearn", "fit a linear model to compare with")
    trees = import_extra("sklearn.ensemble", "sklearn", "fit boosted trees to compare with")
    if output.shape != new_y.shape or scale.name not in (None, "exp") or scale.kind == "logits":
        raise DataError(
            f"predictions that are a {describe(output)}, targets that are a {describe(new_y)}, and a loss that takes"
            " something else than numbers like the targets",
            "classes, or a number for each target",
            "metric=lumbre.metrics.MAE(), which looks at numbers on the scale of the target; or target[:, None]",
        )
    x, y, weights = train
    counts = session.scale.name == "exp"
    truth = y.double().reshape(len(y), -1).numpy()
    by = None if weights is None else weights.double().numpy()
    found = {"constant": np.tile(best_constant(truth, by, session.loss), (len(new_x), 1))}
    options = {"loss": "poisson"} if counts else {}
    for name, make in (
        ("linear", lambda: linear.PoissonRegressor(alpha=0, max_iter=1000) if counts else linear.LinearRegression()),
        ("gradient boosting", lambda: trees.HistGradientBoostingRegressor(random_state=seed, **options)),
    ):
        columns = [make().fit(x, column, sample_weight=by).predict(new_x) for column in truth.T]
        found[name] = np.stack(columns, 1)
    tables = {name: torch.from_numpy(table).reshape(output.shape) for name, table in found.items()}
    if scale.name == "exp":
        tables = {name: table.clamp(min=_LEAST).log() for name, table in tables.items()}
    return {name: table.to(output.dtype) for name, table in tables.items()}


class _Judge:
    """Loss or metric of some of the test rows."""

    def __init__(
        self, session: Session, metrics: tuple[Metric, ...], name: str, target: Tensor, weights: Tensor | None
    ) -> None:
        whole = replace(session, world=World(), device=torch.device("cpu"))
        weighted = weights is not None
        divisor = session.divisor(weighted=weighted)
        self._meter: LossMeter = make_meter(whole, metrics, divisor, weighted=weighted)
        self._of_response = bool(metrics) and metrics[0].of_response
        if self._of_response:  # the predictions are on the scale of the target already
            self._meter = LossMeter(metrics, torch.device("cpu"), weighted=weighted, units=session.units)
        loss: Any = session.loss
        self._loss: Any = None if metrics else RowLoss(loss) if weighted else loss
        self._device = session.device
        self._name = name
        self._target = target
        self._weights = weights

    def __call__(self, output: Tensor, rows: Tensor) -> float:
        pred = output[rows]
        batch = Batch(None, self._target[rows], len(rows))
        if self._weights is not None:
            batch.weights = self._weights[rows]
        self._meter.reset()
        loss = torch.zeros(())
        if self._loss is not None:
            with torch.no_grad():
                target = map_leaves(lambda leaf: leaf.to(self._device), batch.weighted_target)
                loss = as_scalar(self._loss(pred.to(self._device), target)).cpu()
        self._meter.update(batch, pred, loss)
        value: Any = self._meter.compute()[self._name]
        return float(value)


def _compared(outputs: dict[str, Tensor], judge: _Judge, name: str, sign: int, seed: int) -> Baselines:
    rows = len(next(iter(outputs.values())))
    generator = torch.Generator().manual_seed(stream(seed, "baselines"))
    draws = [torch.randint(rows, (rows,), generator=generator) for _ in range(_RESAMPLES)]
    every = torch.arange(rows)
    whole = {model: judge(output, every) for model, output in outputs.items()}
    drawn = {model: np.array([judge(output, draw) for draw in draws]) for model, output in outputs.items()}
    own = next(iter(outputs))
    values: list[tuple[str, float, float, float, float]] = []
    for model, value in whole.items():
        if model == own:
            values.append((model, value, float("nan"), float("nan"), float("nan")))
            continue
        low, high = np.nanquantile(sign * (drawn[model] - drawn[own]), (0.025, 0.975)).tolist()
        values.append((model, value, sign * (value - whole[own]) + 0.0, low + 0.0, high + 0.0))  # no -0.0
    return Baselines(name, rows, tuple(values))
