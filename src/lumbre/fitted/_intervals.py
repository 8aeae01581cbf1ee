"""How sure a prediction is: conformal intervals and sets of classes, and probabilities that mean what they say."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lumbre.base import Batches, DataError, Nested, OptionError, concatenate, describe, only_numbers, own_method
from lumbre.devices import seeder
from lumbre.fitted._compare import as_outputs, class_numbers, is_labels, normalized, not_alike, responses
from lumbre.fitted._response import least_target, loss_interval, refuse_gaps, response_scale
from lumbre.preflight import Finding
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd

_BINS = 15
_KINDS = {
    "absolute": "absolute residuals",
    "quantiles": "the interval that the loss gives, moved",
    "classes": "sets of classes by their probabilities (LAC)",
}


@dataclass(frozen=True, slots=True)
class Conformal:
    """Split conformal prediction: of new rows like those of the calibration, a share of at least `level` is covered.

    Attributes:
        kind: "absolute": prediction +- margin. "quantiles": the interval of a loss that has one (`lb.losses`), moved
            by the margin (Romano et al., 2019). Both are cut at 0 where the loss is one of counts. "classes": all
            classes with a probability of 1 - margin or more (LAC, Sadinle et al., 2019), and the most likely one in any
            case.
        level: the share that was asked for.
        margins: one for each output.
        rows: of the calibration.

    Example:
        >>> import lumbre as lb, torch
        >>> x = torch.linspace(0, 1, 99)[:, None]
        >>> line = lb.setup(torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD)
        >>> fitted = line.set_hparams(in_features=1, out_features=1).fit(
        ...     (x, 2 * x), epochs=1, verbose=False
        ... )
        >>> found = fitted.conformal((x, 2 * x), level=0.9)
        >>> list(fitted.predict(x, interval=True).columns)
        ['prediction', 'lower', 'upper']
    """

    kind: str
    level: float
    margins: tuple[float, ...]
    rows: int

    def __repr__(self) -> str:
        margins = ", ".join(f"{margin:.4g}" for margin in self.margins)
        return f"Conformal: {self.level:.0%}, {_KINDS[self.kind]}; margin {margins}; {self.rows:,} rows"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature scaling (Guo et al., 2017): scores of classes are divided by one number.

    Attributes:
        temperature: that number; above 1 the model was too sure. It stays 1 where all rows are predicted right, since
            they do not show how sure the model may be.
        before: expected calibration error of the probabilities as they were, in 15 bins.
        after: the same with the temperature.
        rows: of the calibration.
    """

    temperature: float
    before: float
    after: float
    rows: int

    def __repr__(self) -> str:
        return (
            f"Calibration: temperature {self.temperature:.4g}; expected calibration error {self.before:.4f} before,"
            f" {self.after:.4f} after; {self.rows:,} rows"
        )


def conformal(session: Session, batches: Batches, level: float) -> Conformal:
    """The margins that cover a share `level` of rows like these.

    Raises:
        OptionError: `level` is no share, or more than so many rows can show.
        DataError: truth and prediction cannot be compared.
    """
    only_numbers("a share between 0 and 1", 0.9, lambda share: 0 < share < 1, level=level)
    output, target, weights = _outputs(session, batches)
    if is_labels(session, output):
        raise DataError(
            "a predict() of the module that gives class numbers",
            "scores of classes, which say how sure each is",
            "predict(self, x) that returns the scores, or another name for that method",
        )
    scale = response_scale(session)
    raw = output if scale.kind == "logits" else responses(session, output)
    numbers = (
        None if scale.kind == "numbers" or not isinstance(raw, Tensor) else class_numbers(raw, target, session.ignored)
    )
    if numbers is not None:
        kept = numbers >= 0
        scores = 1 - normalized(raw, scale)[kept].gather(1, numbers[kept, None])
        weights = None if weights is None else weights[kept]
        kind = "classes"
    else:
        pred = responses(session, output)
        if not isinstance(pred, Tensor) or as_outputs(pred).shape != as_outputs(target).shape:
            raise not_alike(session, pred, target)
        if scale.kind != "numbers" and bool(((target == 0) | (target == 1)).all()):
            raise DataError(
                f"several targets of yes and no in each row, a {describe(target)}",
                "numbers, or one class for each row",
                "a model for each of them, with one score a row",
            )
        target = target.reshape(pred.shape)  # (rows,) and (rows, 1) are the same numbers
        if own_method(session.loss, "interval"):
            low, high = loss_interval(session, output, level)
            kind, scores = "quantiles", torch.maximum(low - target, target - high)
        else:
            kind, scores = "absolute", (pred - target).abs()
    scores = scores.double().flatten(1) if scores.ndim > 1 else scores.double()[:, None]
    by = None if weights is None else weights.numpy()
    return Conformal(kind, level, tuple(_quantile(one.numpy(), level, by) for one in scores.T), len(scores))


def stored(session: Session, found: Conformal) -> dict[str, Any]:
    """Margins as JSON holds them, with what they were learned with: the temperature of probabilities, the loss's least
    target.
    """
    own = {
        "margins": list(found.margins),
        "temperature": session.after.get("temperature", 1.0),
        "least": least_target(session.loss),
    }
    return asdict(found) | own


def _quantile(scores: "np.ndarray[Any, Any]", level: float, weights: "np.ndarray[Any, Any] | None") -> float:
    """The score of rank ceil((n + 1) level) of n: a new one is below it with a probability of at least `level`.

    A row of weight 2 stands for two of them; weights below 1 on average are brought to an average of 1.
    """
    order = np.argsort(scores, kind="stable")
    ranks = np.arange(1.0, len(scores) + 1)
    if weights is not None:
        ranks = np.cumsum(weights[order]) / min(1.0, float(weights.mean()))
    place = int(np.searchsorted(ranks, (ranks[-1] + 1) * level - 1e-9)) if len(scores) else 0
    if place >= len(scores):
        raise OptionError(
            f"level={level} from {len(scores)} rows",
            f"at least {math.ceil(level / (1 - level) - 1e-9)} rows to calibrate on",
            "more rows, or a lower level",
        )
    return float(scores[order[place]])


def _outputs(session: Session, batches: Batches) -> tuple[Nested, Tensor, Tensor | None]:
    """What the module gives for all rows, their targets, and their weights or None; on the CPU."""
    session.model.eval()
    parts: list[Nested] = []
    with session.running(batches=batches.length):
        seed_step = seeder(session.seed, session.device)
        for index, batch in enumerate(batches.epoch(1)):
            seed_step("predict", 1, index)
            parts.append((session.predict_step(batch.input), batch.target, batch.weights))
    output, target, weights = concatenate(parts)
    if not isinstance(target, Tensor):
        raise DataError(f"targets that are a {describe(target)}", "a tensor of targets", "pass (input, target)")
    refuse_gaps(predictions=output, targets=target)
    if session.units is not None:
        output, target = session.units(output), session.units(target)
    return output, target, weights


def with_intervals(session: Session, output: Nested) -> "pd.DataFrame":
    """Predictions as a frame with what lies around them.

    Raises:
        OptionError: the model was not calibrated for it.
    """
    import pandas as pd

    found: Any = session.after.get("intervals")
    if found is None:
        raise OptionError(
            "predict(..., interval=True) of a model without intervals",
            "a model that knows how far it is wrong on rows that it was not trained on",
            "fitted.conformal(calibration, level=0.9) before",
        )
    if found["kind"] == "classes":
        own = {"temperature": found["temperature"]} if "temperature" in found else {}
        return _sets(replace(session, after={**session.after, **own}), output, found["margins"][0])
    from lumbre.fitted._response import bounds

    pred, around = responses(session, output), bounds(session, output)
    assert around is not None
    columns = {"prediction": pred, "lower": around[0], "upper": around[1]}
    flat = {name: one.double().reshape(-1).numpy() for name, one in columns.items()}
    outputs = pred[0].numel() if len(pred) else 1
    if outputs == 1:
        return pd.DataFrame(flat)
    numbers = {"row": np.repeat(np.arange(len(pred)), outputs), "output": np.tile(np.arange(outputs), len(pred))}
    return pd.DataFrame({**numbers, **flat})


def _sets(session: Session, output: Nested, margin: float) -> "pd.DataFrame":
    import pandas as pd

    scale = response_scale(session)
    shares = normalized(output if scale.kind == "logits" else responses(session, output), scale)
    count = shares.shape[1]
    names: Any = session.classes if session.classes is not None and len(session.classes) == count else range(count)
    top = shares.argmax(1)
    inside = shares.double() >= 1 - margin - 1e-12
    inside[torch.arange(len(top)), top] = True
    sets = [tuple(name for name, member in zip(names, row, strict=True) if member) for row in inside.tolist()]
    frame = pd.DataFrame({"prediction": [names[number] for number in top.tolist()]})
    return frame.assign(set=pd.Series(sets, dtype=object), size=inside.sum(1).numpy())


def calibrate(session: Session, batches: Batches) -> Calibration:
    """The temperature with the smallest log loss on these rows (L-BFGS on its logarithm).

    Raises:
        DataError: the module does not give scores of classes.
    """
    plain = replace(session, after={**session.after, "temperature": 1.0})
    scale = response_scale(plain)
    output, target, weights = _outputs(plain, batches)
    known = isinstance(output, Tensor) and scale.kind == "logits"
    numbers = class_numbers(output, target, session.ignored) if known else None
    if numbers is None or not bool((numbers >= 0).any()):
        raise DataError(
            f"predictions that are a {describe(output)}, targets that are a {describe(target)}",
            "scores of classes, for a loss such as nn.CrossEntropyLoss, and classes",
            "a module that gives scores, without softmax, and a loss of torch that takes them",
        )
    scores = output.double()
    single = scores.ndim == 1 or scores.shape[1] == 1
    scores = torch.stack([torch.zeros(len(scores)).double(), scores.reshape(-1)], 1) if single else scores
    kept = numbers >= 0
    scores, numbers = scores[kept], numbers[kept]
    by = torch.ones(len(numbers), dtype=torch.float64) if weights is None else weights[kept].double()
    each = scale.name == "sigmoid" and not single  # a probability for each class by itself, as predictions have them
    temperature = _temperature(scores, numbers, by, each=each)
    divided = (scores / one for one in (1.0, temperature))
    before, after = (_calibration_error(one.sigmoid() if each else one.softmax(1), numbers, by) for one in divided)
    return Calibration(temperature, before, after, len(numbers))


def _temperature(scores: Tensor, numbers: Tensor, weights: Tensor, *, each: bool) -> float:
    logarithm = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=100, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def closure() -> Tensor:
        divided = scores * (-logarithm).exp()
        losses = (
            F.binary_cross_entropy_with_logits(
                divided, F.one_hot(numbers, scores.shape[1]).double(), reduction="none"
            ).sum(1)
            if each
            else F.cross_entropy(divided, numbers, reduction="none")
        )
        loss = (losses * weights).sum() / weights.sum()
        (logarithm.grad,) = torch.autograd.grad(loss, [logarithm])
        return loss

    if bool((scores.argmax(1) == numbers).all()):
        return 1.0  # the best would be 0, and every later prediction certain: these rows do not show how sure it may be
    with torch.enable_grad():
        optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return math.exp(min(max(logarithm.item(), -5.0), 5.0))


def _calibration_error(shares: Tensor, numbers: Tensor, weights: Tensor) -> float:
    """Mean distance of the probability of the predicted class from the share that is right, in 15 bins by width."""
    top = shares.max(1)
    right = (top.indices == numbers).double()
    bins = (top.values * _BINS).long().clamp(max=_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64).scatter_add_(0, bins, (top.values - right) * weights)
    return (gaps.abs().sum() / weights.sum()).item()


def checked_after(stored: Any) -> dict[str, Any]:
    """What a file says was found out after training.

    Raises:
        ValueError: it makes no sense.
    """
    found: dict[str, Any] = dict(stored)
    temperature, intervals = found.get("temperature", 1.0), found.get("intervals")
    right = isinstance(temperature, float) and 0 < temperature < math.inf
    if intervals is not None:
        right = right and isinstance(intervals, Mapping) and intervals["kind"] in _KINDS and 0 < intervals["level"] < 1
        right = right and all(isinstance(margin, float) for margin in intervals["margins"])
        own = intervals.get("temperature", 1.0) if right else 1.0
        least = intervals.get("least") if right else None
        right = right and isinstance(own, float) and 0 < own < math.inf and (least is None or isinstance(least, float))
    review = found.get("review")
    if review is not None:
        texts = [text for one in review["findings"] for text in asdict(Finding(**one)).values()]
        right = right and all(isinstance(text, str) for text in (*texts, *review["left_out"]))
    if not right:
        raise ValueError("its temperature, its intervals or its review are damaged")
    return found
