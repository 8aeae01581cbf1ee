"""What a feature does to the prediction: slopes, partial dependence, accumulated local effects; in the data's units.

Everything is on the scale of the target: probabilities of classifiers, counts of a Poisson loss.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, OptionError, at_least, describe, html_table, leaves, map_leaves, stream
from lumbre.data import RowFeed, weighted_quantiles
from lumbre.devices import seeder
from lumbre.fitted._features import Feature, Name, by_name, features_of, rows_in_batch, some_rows
from lumbre.fitted._response import output_names, refuse_gaps, response_scale, target_words
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

_Array: TypeAlias = "np.ndarray[Any, Any]"
_Change: TypeAlias = Callable[[Nested, Tensor], Nested]
PROBABILITY = "probability"  # begins the words for responses that have no unit
PARTIAL, ACCUMULATED = "partial dependence", "accumulated local effects"
_SURFACE_ROWS = 1_000
_SURFACE_POINTS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """What features do to the prediction.

    A slope is the change of the prediction for one more unit of a feature, by autograd, on average over the rows;
    low and high are the slopes of rows at 5 % and 95 %: where they differ, the effect is not linear, or depends on
    other features. Of a category it is the difference to its first level, of a boolean True - False.

    Attributes:
        features: the features whose curve or surface was asked for; none for slopes alone.
        response: what is predicted, in words.
        curves: of one feature: kind ("partial dependence", "accumulated local effects"), value, response; and output
            where there are several. None otherwise.
        individual: partial dependence of single rows: row, value, response (and output). None otherwise.
        surface: partial dependence of two features: their two columns, response (and output). None otherwise.
        slopes: feature, slope, low, high (and output).
        spreads: standard deviation of each feature with a slope.
        models: of how many models these are means; above 1, low and high are 95 % intervals over them.

    Example:
        >>> import lumbre as lb, torch
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> line = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.Adam
        ... )
        >>> line = line.set_hparams(in_features=2, out_features=1).set_opt_hparams(lr=0.1)
        >>> fitted = line.fit((x, 3 * x[:, :1] - x[:, 1:]), epochs=40, verbose=False)
        >>> fitted.effects(x).frame()["slope"].round(1).tolist()
        [3.0, -1.0]
    """

    features: tuple[Name, ...]
    response: str
    slopes: "pd.DataFrame"
    spreads: dict[Name, float]
    curves: "pd.DataFrame | None" = None
    individual: "pd.DataFrame | None" = None
    surface: "pd.DataFrame | None" = None
    models: int = 1

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns feature, slope, low and high; and output, where there are several."""
        return self.slopes.copy()

    def plot(self) -> "ggplot":
        """Curves of one feature, the surface of two, or the slopes of all; a plotnine object.

        Partial dependence averages over all rows, also where features of these values never meet; accumulated local
        effects (Apley & Zhu, 2020) take rows as they are, and are right for correlated features too.

        Raises:
            MissingExtraError: plotnine is not installed.
        """
        from lumbre.plots import plot_effect_surface, plot_effects, plot_slopes

        more: Any = {"response": self.response, "shared": self.response.startswith(PROBABILITY)}
        if self.surface is not None:
            return plot_effect_surface(self.surface, **more)
        if self.curves is not None:
            name = self.features[0] if isinstance(self.features[0], str) else f"column {self.features[0]}"
            return plot_effects(self.curves, self.individual, feature=name, **more)
        lines = "90 % of the rows" if self.models == 1 else f"95 % intervals over {self.models} models"
        return plot_slopes(self.slopes, self.spreads, lines=lines, **more)

    def __repr__(self) -> str:
        return f"{self._head}\n{self.slopes.to_string(index=False, float_format=lambda value: f'{value:.4g}')}"

    def _repr_html_(self) -> str:
        head, *lines = [list(self.slopes.columns), *self.slopes.to_numpy().tolist()]
        texts = [[one if isinstance(one, (str, int)) else f"{one:.4g}" for one in line] for line in lines]
        rows = [(str(head[0]), ", ".join(head[1:])), *((str(line[0]), ", ".join(map(str, line[1:]))) for line in texts)]
        return f"<p>{self._head}</p>" + html_table(rows)

    @property
    def _head(self) -> str:
        around = "5 % and 95 % of the rows" if self.models == 1 else f"95 % interval over {self.models} models"
        return f"Effects on the {self.response}: slopes per unit (average; {around})"


def effects(
    session: Session,
    batches: RowFeed,
    names: Sequence[Name],
    points: int,
    curves: int,
    seed: int,
    batch_size: int | None,
) -> Effects:
    """The effects of the features `names`, or slopes of all features where there are no names."""
    at_least(2, points=points)
    at_least(0, curves=curves)
    if len(names) > 2 or len({str(name) for name in names}) < len(names):
        raise OptionError(f"the features {', '.join(map(repr, names))}", "one feature, or two", "two calls")
    found = features_of(session.encoding, some_rows(batches))
    chosen = [by_name(found, name) for name in names]
    useless = [one.name for one in chosen if one.kind == "part"]
    known = [one for one in (chosen or found) if one.kind != "part"]
    if useless or not known:
        raise OptionError(
            f"effects of {useless[0] if useless else found[0].name!r}, which is no measured number or category",
            "columns of frames, or columns of floating-point numbers",
            "importance(), which takes dates, steps, patches and whole numbers",
        )
    pass_over = _Passes(session, batches, batch_size or rows_in_batch(session.batch_size, batches))
    session.model.eval()
    with session.running(batches=None):
        slopes = _slopes(pass_over, known)
        more: dict[str, Any] = {}
        if len(chosen) == 1:
            more["curves"], more["individual"] = _curves(pass_over, chosen[0], points, curves, seed)
        elif chosen:
            more["surface"] = _surface(pass_over, chosen, min(points, _SURFACE_POINTS), seed)
    spreads = {one.name: pass_over.spread(pass_over.measured(one)) for one in known if one.kind == "number"}
    return Effects(tuple(one.name for one in chosen), _words(session, pass_over), slopes, spreads, **more)


def _words(session: Session, passes: "_Passes") -> str:
    """What is predicted."""
    if session.scale.kind in ("logits", "probabilities"):
        names = session.classes
        return (
            f"{PROBABILITY} of {names[1]}"
            if names is not None and len(passes.outputs) == 1 < len(names)
            else PROBABILITY
        )
    return target_words(session)


class _Passes:
    """Predictions for rows that are changed, float64 arrays of shape (rows, outputs).

    Attributes:
        outputs: names of the outputs; [None] where there is one.
    """

    def __init__(self, session: Session, batches: RowFeed, batch_size: int) -> None:
        self.session = session
        self.scale = response_scale(session)
        self.count = len(batches.source)
        self.weights = None if batches.weights is None else batches.weights.double().cpu().numpy()
        self.outputs: list[Any] = [None]
        self._batches = batches
        self._size = batch_size
        self._columns: dict[Name, _Array] = {}

    def inputs(self, rows: Tensor | None = None) -> Iterator[tuple[Tensor, Nested]]:
        """Row numbers and input of each batch; their randomness seeded."""
        seed_step = seeder(self.session.seed, self.session.device)
        chosen = torch.arange(self.count) if rows is None else rows
        for index, part in enumerate(chosen.split(self._size)):
            seed_step("predict", 1, index)
            yield part, self._batches.take(part).input

    def response(self, input: Nested) -> Tensor:
        """What is predicted for a batch, on the scale of the target, shape (rows, outputs)."""
        pred = self.scale.applied(self.session.prediction(input))
        if self.session.units is not None:
            pred = self.session.units(pred)
        if not isinstance(pred, Tensor) or pred.ndim not in (1, 2) or not pred.is_floating_point():
            raise DataError(
                f"predictions that are a {describe(pred)}",
                "numbers of shape (rows,) or (rows, outputs)",
                "setup(..., response=) with a function that gives the numbers to look at",
            )
        refuse_gaps(predictions=pred)
        pred = pred if pred.ndim == 2 else pred[:, None]
        if pred.shape[1] > 1:
            self.outputs = output_names(self.session, pred.shape[1])
        return pred

    def predicted(self, change: _Change | None = None, rows: Tensor | None = None) -> _Array:
        """Predictions of all rows, or of some, each batch changed."""
        found: list[Tensor] = []
        with torch.no_grad():
            for part, input in self.inputs(rows):
                found.append(self.response(input if change is None else change(input, part)).double().cpu())
        return torch.cat(found).numpy()

    def mean(self, values: _Array, rows: Any = slice(None)) -> _Array:
        """The mean over rows, by their weights where they have any: (rows, ...) becomes (...)."""
        return np.average(values, axis=0, weights=None if self.weights is None else self.weights[rows])

    def quantiles(self, values: _Array, shares: Sequence[float]) -> _Array:
        """Quantiles of rows: (rows, outputs) becomes (shares, outputs), (rows,) becomes (shares,)."""
        if self.weights is None:
            return np.quantile(values, shares, axis=0)
        columns = values.reshape(len(values), -1).T
        found = np.array([weighted_quantiles(column, self.weights, shares) for column in columns]).T
        return found.reshape(len(shares), *values.shape[1:])

    def spread(self, values: _Array) -> float:
        """The standard deviation of rows, of shape (rows,)."""
        return float(np.sqrt(self.mean((values - self.mean(values)) ** 2)))

    def measured(self, feature: Feature) -> _Array:
        """A feature's values in all rows, as they were measured; of categories the number of the level."""
        if feature.name not in self._columns:
            parts = [feature.values(input).cpu() for _, input in self.inputs()]
            values = torch.cat(parts)
            values = values.argmax(1) if feature.kind == "category" else values.reshape(-1)
            self._columns[feature.name] = feature.measured(values.double().numpy())
        return self._columns[feature.name]


def _slopes(passes: _Passes, features: Sequence[Feature]) -> "pd.DataFrame":
    import pandas as pd

    numbers = [one for one in features if one.kind == "number"]
    parts: list[tuple[str | Name, _Array]] = []
    if numbers:
        each = _gradients(passes, numbers)
        parts += [(one.name, each[:, :, place]) for place, one in enumerate(numbers)]
    for feature in features:
        if feature.kind != "number":
            first, *others = range(len(feature.levels))
            base = passes.predicted(_at(feature, first))
            for level in others:
                name = f"{feature.name}: {feature.levels[level]} - {feature.levels[first]}"
                parts.append((name, passes.predicted(_at(feature, level)) - base))
    table: list[dict[str, Any]] = []
    for name, values in parts:
        low, high = passes.quantiles(values, (0.05, 0.95))
        mean = passes.mean(values)
        for output, label in enumerate(passes.outputs):
            line = {"feature": name} if label is None else {"feature": name, "output": label}
            spread = {"slope": mean[output], "low": low[output], "high": high[output]}
            table.append({**line, **spread})
    return pd.DataFrame(table)


def _gradients(passes: _Passes, features: Sequence[Feature]) -> _Array:
    """The slope of each row, output and feature, per unit of the data: shape (rows, outputs, features)."""
    found: list[Tensor] = []
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # whose recurrent nets have none in evaluation
        for _, input in passes.inputs():
            moved = map_leaves(_with_gradient, input)
            tensors = [leaf for leaf in leaves(moved) if isinstance(leaf, Tensor) and leaf.requires_grad]
            pred = passes.response(moved)
            if not pred.requires_grad:
                raise DataError(
                    "predictions that have no gradient for the input",
                    "a module that computes with torch alone, without torch.no_grad()",
                    "effects(data, feature), whose curves need no gradient; or importance()",
                )
            by_output: list[Tensor] = []
            for output in range(pred.shape[1]):
                grads = torch.autograd.grad(pred[:, output].sum(), tensors, retain_graph=True, allow_unused=True)
                given = iter(zip(grads, tensors, strict=True))
                slopes = map_leaves(lambda leaf, given=given: _filled(leaf, given), moved)
                by_output.append(
                    torch.stack(
                        [(one.values(slopes) * one.per_unit(one.values(input))).reshape(-1) for one in features], 1
                    )
                )
            found.append(torch.stack(by_output, 1).double().cpu())
    return torch.cat(found).numpy()


def _with_gradient(leaf: Any) -> Any:
    return leaf.detach().clone().requires_grad_() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _filled(leaf: Any, given: Iterator[tuple[Tensor | None, Tensor]]) -> Any:
    """The gradient of a tensor, zeros where the prediction does not use it."""
    if not isinstance(leaf, Tensor) or not leaf.requires_grad:
        return leaf
    grad, tensor = next(given)
    return torch.zeros_like(tensor) if grad is None else grad


def _at(feature: Feature, value: float) -> _Change:
    """Sets a feature to a value: a measured number, or the number of a level."""
    encoded = float(feature.encoded(np.array(value))) if feature.kind == "number" else value
    return lambda input, _: feature.set_to(input, feature.level(int(encoded), input) if feature.kind == "category"
                                           else torch.tensor(encoded))  # fmt: skip


def _grid(passes: _Passes, feature: Feature, points: int) -> tuple[list[float], list[Any]]:
    """Where to look, and what stands on the axis: between 1 % and 99 % of the rows, or at each level."""
    if feature.kind != "number":
        return list(map(float, range(len(feature.levels)))), list(feature.levels)
    values = passes.measured(feature)
    distinct = np.unique(values)
    low, high = passes.quantiles(values, (0.01, 0.99))
    grid = distinct if len(distinct) <= points else np.linspace(low, high, points)
    return grid.tolist(), grid.tolist()


def _curves(
    passes: _Passes, feature: Feature, points: int, curves: int, seed: int
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    import pandas as pd

    places, labels = _grid(passes, feature, points)
    every = [passes.predicted(_at(feature, place)) for place in places]
    generator = torch.Generator().manual_seed(stream(seed, "effects"))
    some = torch.randperm(passes.count, generator=generator)[:curves].sort().values.numpy()
    average = [
        {"kind": PARTIAL, **_output(passes, output), "value": label, "response": passes.mean(pred[:, output])}
        for output in range(len(passes.outputs))
        for label, pred in zip(labels, every, strict=True)
    ]
    single = [
        {"row": int(row), **_output(passes, output), "value": label, "response": pred[row, output]}
        for output in range(len(passes.outputs))
        for row in some
        for label, pred in zip(labels, every, strict=True)
    ]
    if feature.kind == "number":
        average += _accumulated(passes, feature, points)
    return pd.DataFrame(average), pd.DataFrame(single, columns=None if single else ["row", "value", "response"])


def _output(passes: _Passes, output: int) -> dict[str, Any]:
    label = passes.outputs[output]
    return {} if label is None else {"output": label}


def _accumulated(passes: _Passes, feature: Feature, points: int) -> list[dict[str, Any]]:
    """Accumulated local effects (Apley & Zhu, 2020), around the mean prediction: at the edges of parts of the rows.

    In each part the feature of its rows is moved from the lower to the upper edge, and nothing else: so rows stay near
    what they are. These differences, on average over the part, add up along the feature.
    """
    values = passes.measured(feature)
    # Between 1 % and 99 %: the last rows on either side would be moved far.
    edges = np.unique(passes.quantiles(values, np.linspace(0.01, 0.99, points).tolist()))
    if len(edges) < 2:
        return []
    inside = ((values >= edges[0]) & (values <= edges[-1])).astype(float)
    part = np.clip(np.searchsorted(edges, values) - 1, 0, len(edges) - 2)

    def at(edge: int) -> _Array:
        to = torch.from_numpy(feature.encoded(edges[part + edge]))
        return passes.predicted(lambda input, rows: feature.set_to(input, to[rows]))

    change = at(1) - at(0)
    weights = inside if passes.weights is None else inside * passes.weights
    rows = np.bincount(part, weights, len(edges) - 1)
    sums = np.stack([np.bincount(part, one * weights, len(edges) - 1) for one in change.T], 1)
    steps = sums / np.where(rows > 0, rows, 1)[:, None]
    heights = np.concatenate([np.zeros((1, steps.shape[1])), steps.cumsum(0)])
    middle = np.array([passes.mean(np.interp(values, edges, one)) for one in heights.T])
    heights = heights - middle + passes.mean(passes.predicted())
    return [
        {"kind": ACCUMULATED, **_output(passes, output), "value": edge, "response": height}
        for output in range(heights.shape[1])
        for edge, height in zip(edges.tolist(), heights[:, output].tolist(), strict=True)
    ]


def _surface(passes: _Passes, features: Sequence[Feature], points: int, seed: int) -> "pd.DataFrame":
    """Partial dependence of two features, over up to 1,000 rows."""
    import pandas as pd

    one, two = features
    generator = torch.Generator().manual_seed(stream(seed, "effects"))
    rows = torch.randperm(passes.count, generator=generator)[:_SURFACE_ROWS].sort().values
    table: list[dict[str, Any]] = []
    for place, label in zip(*_grid(passes, one, points), strict=True):
        for other, other_label in zip(*_grid(passes, two, points), strict=True):
            first, second = _at(one, place), _at(two, other)
            found = passes.predicted(lambda input, part: second(first(input, part), part), rows)  # noqa: B023
            mean = passes.mean(found, rows.numpy())
            for output in range(len(mean)):
                place_of = {str(one.name): label, str(two.name): other_label}
                table.append({**_output(passes, output), **place_of, "response": mean[output]})
    return pd.DataFrame(table)
