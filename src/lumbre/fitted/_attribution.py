"""What in a row makes its prediction: integrated gradients and occlusion (captum), in the units of the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lumbre.base import (
    OWN,
    Batches,
    DataError,
    Nested,
    OptionError,
    Scale,
    at_least,
    describe,
    did_you_mean,
    import_extra,
    leaves,
    map_leaves,
    one_of,
)
from lumbre.devices import seeder
from lumbre.fitted._compare import normalized
from lumbre.fitted._features import Name
from lumbre.fitted._layout import SHOWN, Layout
from lumbre.fitted._response import output_names, response_scale, target_words
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

    from lumbre.plots import PictureGrid

METHODS = ("integrated gradients", "occlusion")
_PICTURES = 6
_GAP = 0.005
_MOST_STEPS = 1_600
_EACH = "each row's class"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Attribution:
    """What each part of a row adds to its prediction, against the prediction for a baseline.

    Integrated gradients (Sundararajan et al., 2017) add up to the prediction minus that of the baseline, within 1 %:
    steps are added where they do not. Occlusion is by how much the prediction changes when a part alone is set to the
    baseline; it need not add up. Both are on the scale of the target: probabilities of classes, counts, units.

    Attributes:
        method: "integrated gradients" or "occlusion".
        response: what is predicted, in words.
        values: float32 on the CPU: (rows, features) of tables, the columns of a category added up; (rows, height,
            width) of images, their channels added up, or (rows, down, across) of patches; (rows, steps, features) of
            sequences.
        names: of the features of a table; none of images and sequences.
        outputs: the class, or the number of the output, that each row is asked for.
        predictions: what is predicted for each row, shape (rows,).
        baselines: what is predicted for the baseline, shape (rows,).

    Example:
        >>> import lumbre as lb, torch
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> line = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.Adam
        ... )
        >>> line = line.set_hparams(in_features=2, out_features=1).set_opt_hparams(lr=0.1)
        >>> fitted = line.fit((x, 3 * x[:, :1] - x[:, 1:]), epochs=40, verbose=False)
        >>> found = fitted.attribute(torch.ones(1, 2))
        >>> found.frame()["attribution"].round(1).tolist()
        [3.0, -1.0]
    """

    method: str
    response: str
    values: Tensor
    names: tuple[Name, ...]
    outputs: tuple[Name, ...]
    predictions: Tensor
    baselines: Tensor
    _shown: Any = None

    @property
    def gaps(self) -> Tensor:
        """How far each row's values are from adding up, shape (rows,): of occlusion that is no fault."""
        return self.values.flatten(1).sum(1) - (self.predictions - self.baselines)

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with the columns row, feature and attribution; of sequences row, step, feature, attribution.

        Pixels and patches are called "row 1, column 2", counted from 1.
        """
        import pandas as pd

        rows, *sizes = self.values.shape
        places = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).reshape(-1, len(sizes)).tolist()
        if self.names:
            columns: dict[str, Any] = {"feature": list(self.names)}
        elif self._shown["kind"] == "steps":
            columns = {"step": [one[0] for one in places], "feature": [one[1] for one in places]}
        else:
            columns = {"feature": [", ".join(_placed(one)) for one in places]}
        count = len(next(iter(columns.values())))
        number = torch.arange(rows).repeat_interleave(count).numpy()
        table = {"row": number, **{name: one * rows for name, one in columns.items()}}
        return pd.DataFrame({**table, "attribution": self.values.reshape(-1).numpy()})

    def plot(self, row: int | None = None) -> "ggplot | PictureGrid":
        """A row of a table as bars, the largest on top, a plotnine object; images with a map beside each.

        Args:
            row: its number; the first of a table, the first six images, where not given.

        Raises:
            MissingExtraError: plotnine is not installed.
            OptionError: there is no such row; or it is beyond the 100 whose input is kept for pictures.
        """
        from lumbre.plots import plot_attribution, plot_attribution_maps

        count = min(len(self.values), SHOWN)
        if row is not None and not 0 <= row < count:
            raise OptionError(f"row={row}", f"a number from 0 to {count - 1}", f"attribute(rows[{row}:{row + 1}])")
        if self.names:
            at = row or 0
            words = [f"{name} = {text}" if text else str(name)
                     for name, text in zip(self.names, self._shown["texts"][at], strict=True)]  # fmt: skip
            ends = float(self.baselines[at]), float(self.predictions[at])
            adds_up = self.method == METHODS[0]
            return plot_attribution(words, self.values[at].tolist(), self._of(at), ends, adds_up=adds_up)
        chosen = [row] if row is not None else list(range(min(count, _PICTURES)))
        texts = [f"{self._of(one)}: {float(self.predictions[one]):.3g}, baseline {float(self.baselines[one]):.3g}"
                 for one in chosen]  # fmt: skip
        images = self._shown["input"]
        return plot_attribution_maps(None if images is None else images[chosen], self.values[chosen], texts)

    def _of(self, row: int) -> str:
        return self.response.replace(_EACH, str(self.outputs[row]))

    def __repr__(self) -> str:
        head = (
            f"Attribution by {self.method} to the {self.response}: {len(self.values):,} rows, mean size of what each"
            " part adds"
        )
        far = self.gaps.abs() > 0.01 * (self.predictions - self.baselines).abs() + 1e-4
        if self.method == METHODS[0] and bool(far.any()):
            head = f"{head}; {int(far.sum())} rows do not add up within 1 %, see .gaps"
        if not self.names:
            return f"{head}: {float(self.values.abs().mean()):.4g}, of {tuple(self.values.shape[1:])} parts"
        size, mean = self.values.abs().mean(0).tolist(), self.values.mean(0).tolist()
        width = max(len(str(name)) for name in self.names)
        lines = sorted(zip(self.names, size, mean, strict=True), key=lambda one: -one[1])
        shown = [f"  {name!s:<{width}}  {one:>9.4g}  (mean {signed:+.4g})" for name, one, signed in lines[:20]]
        more = [f"  and {len(lines) - 20} more"] if len(lines) > 20 else []
        return "\n".join([head, *shown, *more])


def _placed(place: Sequence[int]) -> list[str]:
    named = ["row", "column"] if len(place) == 2 else [f"place {number + 1}:" for number in range(len(place))]
    return [f"{name} {one + 1}" for name, one in zip(named, place, strict=True)]


def attribute(
    session: Session,
    batches: Batches,
    of: Name | None,
    method: str,
    baseline: Batches | float,
    steps: int,
    patches: int | None,
    batch_size: int | None,
) -> Attribution:
    """What the parts of each row add to its prediction."""
    one_of("method", method, METHODS)
    at_least(2, steps=steps)
    captum: Any = import_extra("captum.attr", "explain", "attribute predictions to their inputs")
    session.model.eval()
    asked = _Asked(session, of)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    shown: list[Nested] = []
    layout = None
    with session.running(batches=None):
        zero = _baseline(session, baseline)
        seed_step = seeder(session.seed, session.device)
        for index, batch in enumerate(batches.epoch(1)):
            seed_step("predict", 1, index)
            layout = layout or Layout(session, batch.input, method == METHODS[1], patches)
            input = map_leaves(_as_float, batch.input)
            base = _base_of(zero, input)
            with torch.no_grad():
                picked, predictions, baselines = asked.ends(input, base)
            call = _Call(session, asked, input, base, picked)
            size = max(batch_size or session.batch_size, batch.size)
            if method == METHODS[0]:
                values = _integrated(captum, call, layout, predictions - baselines, steps, size)
            else:
                values = _occluded(captum, call, layout, size)
            parts.append((values.float().cpu(), picked.cpu(), predictions.float().cpu(), baselines.float().cpu()))
            if sum(map(_rows, shown)) < SHOWN:
                shown.append(map_leaves(_on_cpu, batch.input))
    if layout is None:
        raise DataError("no rows", "at least one row to explain", "some rows")
    values, picked, predictions, baselines = (torch.cat(one) for one in zip(*parts, strict=True))
    labels = tuple(asked.names[number] for number in picked.tolist())
    return Attribution(
        method, asked.words(labels), values, layout.names, labels, predictions, baselines, layout.kept(shown)
    )


class _Asked:
    """Which number of the prediction is explained: the probability of a class, or an output.

    Attributes:
        names: of the outputs, as the last prediction had them.
    """

    def __init__(self, session: Session, of: Name | None) -> None:
        self.names: Sequence[Name] = ()
        self._session = session
        self._of = of
        self._scale = response_scale(session)

    def outputs(self, input: Nested) -> Tensor:
        """What is predicted for a batch, on the scale of the target, shape (rows, outputs); of two classes both."""
        pred, scale = self._session.prediction(input), self._scale
        if scale.name == OWN or scale.kind not in ("logits", "probabilities"):
            pred = scale.applied(pred)
            pred = pred if self._session.units is None else self._session.units(pred)
        if not isinstance(pred, Tensor) or pred.ndim not in (1, 2) or not pred.is_floating_point():
            raise DataError(
                f"predictions that are a {describe(pred)}",
                "numbers of shape (rows,) or (rows, outputs)",
                "setup(..., response=) with a function that gives the numbers to look at",
            )
        if scale.kind in ("logits", "probabilities"):
            pred = normalized(pred, Scale("probabilities") if scale.name == OWN else scale)
        pred = pred if pred.ndim == 2 else pred[:, None]
        self.names = output_names(self._session, pred.shape[1])
        return pred

    def ends(self, input: Nested, base: Nested) -> tuple[Tensor, Tensor, Tensor]:
        """The output that is asked for in each row, what is predicted for it, and what for the baseline."""
        pred = self.outputs(input)
        if self._of is not None:
            places = range(len(self.names))  # a name comes before a number
            known = {str(number): number for number in places} | dict(zip(map(str, self.names), places, strict=True))
            if str(self._of) not in known:
                raise OptionError(
                    f"of={self._of!r}",
                    f"one of {', '.join(map(str, self.names[:12]))}{', ...' if len(self.names) > 12 else ''}",
                    f"{did_you_mean(str(self._of), known)}of=None for the class that is predicted",
                )
            picked = torch.full((len(pred),), known[str(self._of)], device=pred.device)
        elif pred.shape[1] == 1 or self._scale.kind in ("logits", "probabilities") or self._session.classes:
            picked = pred.argmax(1)
        else:
            raise OptionError(
                f"a prediction of {pred.shape[1]} numbers", "one of them to explain", "of=0 for the first"
            )
        at = picked[:, None]
        return picked, pred.gather(1, at)[:, 0], self.outputs(base).gather(1, at)[:, 0]

    def words(self, labels: Sequence[Name]) -> str:
        """What is predicted, in words."""
        which = str(labels[0]) if self._of is not None else _EACH
        if self._scale.kind in ("logits", "probabilities"):
            return f"probability of {which}"
        words = target_words(self._session)
        return words if len(self.names) == 1 else f"{words} ({which})"


class _Call:
    """The module as captum calls it: with the tensors of an input, repeated; gives a number for each row."""

    def __init__(self, session: Session, asked: _Asked, input: Nested, base: Nested, picked: Tensor) -> None:
        self._asked = asked
        self._like = input
        self.tensors: list[Tensor] = list(leaves(input))
        self.baselines: list[Tensor] = list(leaves(base))
        self.moving = [number for number, one in enumerate(self.tensors) if one.is_floating_point()]
        self.picked = picked

    def floating(self, *given: Tensor) -> Tensor:
        """Tensors of floating-point numbers, then the outputs."""
        *moved, picked = given
        return self._numbers(moved, picked, checked=True)

    def every(self, *given: Tensor) -> Tensor:
        """All tensors, then the outputs."""
        *moved, picked = given
        return self._numbers(moved, picked, checked=False)

    def _numbers(self, tensors: Sequence[Tensor], picked: Tensor, *, checked: bool) -> Tensor:
        rest = iter(tensors)
        pred = self._asked.outputs(map_leaves(lambda _: next(rest), self._like)).gather(1, picked[:, None])[:, 0]
        if not checked:
            return pred
        if not pred.requires_grad:
            raise DataError(
                "predictions that have no gradient for the input",
                "a module that computes with torch alone, without torch.no_grad()",
                'method="occlusion", which needs no gradient',
            )
        # An input that the module does not use has a gradient of zero.
        return pred + sum((one.flatten(1).sum(1) if one.ndim > 1 else one) * 0 for one in tensors)


def _integrated(captum: Any, call: _Call, layout: Layout, difference: Tensor, steps: int, size: int) -> Tensor:
    """Integrated gradients of a batch, with more steps where they do not add up, at most `size` rows in a pass."""
    if len(call.moving) < len(call.tensors):
        raise DataError(
            "inputs that are whole numbers, such as codes of categories or words, which have no gradient",
            "floating-point numbers",
            'method="occlusion"; or from_frame(..., categories="one-hot")',
        )
    method = captum.IntegratedGradients(call.floating)
    # Of the difference; and of the numbers themselves, where both predictions are alike.
    limit = _GAP * difference.abs() + 1e-5

    def found(rows: Tensor, steps: int) -> Tensor:
        # The recurrent nets of cuDNN have no gradient in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            got = method.attribute(
                tuple(one[rows].detach().requires_grad_() for one in call.tensors),
                baselines=tuple(one[rows] for one in call.baselines),
                additional_forward_args=(call.picked[rows],),
                n_steps=steps,
                internal_batch_size=max(size, len(rows)),
            )
        return layout.summed([one.detach() for one in got])

    rows = torch.arange(len(difference), device=difference.device)
    values = found(rows, steps)
    while steps * 4 <= _MOST_STEPS:
        gap = (values.flatten(1).sum(1) - difference).abs()
        rows = (gap > limit + 1e-5 * values.flatten(1).abs().sum(1)).nonzero()[:, 0]
        if not len(rows):
            break
        steps *= 4
        values[rows] = found(rows, steps)
    return values


def _occluded(captum: Any, call: _Call, layout: Layout, size: int) -> Tensor:
    """By how much the prediction of each row falls when a part is set to the baseline."""
    found: Any = captum.FeatureAblation(call.every).attribute(
        tuple(call.tensors),
        baselines=tuple(one[:1] for one in call.baselines),
        feature_mask=tuple(layout.masks(call.tensors)),
        additional_forward_args=(call.picked,),
        perturbations_per_eval=max(1, size // len(call.picked)),
    )
    return layout.first(found)


def _baseline(session: Session, baseline: Batches | float) -> Any:
    """A number; or the mean of each floating-point tensor over rows, by their weights, in the form of an input."""
    if isinstance(baseline, (int, float)):
        return float(baseline)
    sums: list[Tensor] = []
    total = 0.0
    like: Nested = None
    for batch in baseline.epoch(1):
        like = batch.input
        weights = torch.ones(batch.size) if batch.weights is None else batch.weights
        total += float(weights.sum())
        each = [
            torch.tensordot(weights.to(leaf.device, torch.float32), leaf.float(), 1)
            if leaf.is_floating_point() or leaf.dtype == torch.uint8
            else torch.zeros_like(leaf[0])
            for leaf in leaves(like)
        ]
        sums = each if not sums else [one + other for one, other in zip(sums, each, strict=True)]
    means = iter([one / total if one.is_floating_point() else one for one in sums])
    return map_leaves(lambda _: next(means), like)


def _base_of(zero: Any, input: Nested) -> Nested:
    """The baseline for each row of an input."""
    if isinstance(zero, float):
        return map_leaves(lambda leaf: torch.full_like(leaf, zero if _measures(leaf) else 0), input)
    means = iter(list(leaves(zero)))
    return map_leaves(lambda leaf: next(means).to(leaf).expand_as(leaf).contiguous(), input)


def _measures(leaf: Tensor) -> bool:
    return leaf.is_floating_point() or leaf.dtype == torch.uint8


def _as_float(leaf: Any) -> Any:
    """Bytes as floating-point numbers, which have a gradient, and a mean between them."""
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype == torch.uint8 else leaf


def _on_cpu(leaf: Any) -> Any:
    return leaf.detach().cpu()


def _rows(input: Nested) -> int:
    return len(next(iter(leaves(input))))
