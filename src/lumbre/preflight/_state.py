"""What is left from the batch before: in predictions, and in the graph."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import as_scalar, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import BINARY, CLASSES, ELEMENTWISE, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors


@check("LB078", "warning", "Predictions that depend on the batch before", unless=("LB032",), costly=True)
def state_left(subject: Subject) -> Iterator[Found]:
    """In evaluation mode the same rows get another prediction when they come again: a hidden state that is not begun
    anew, statistics or a memory that also follow the rows that are only to be judged, numbers drawn without torch's
    generators."""
    if subject.evaluated.failure is not None or subject.own_step or subject.row_by_row:
        return
    with untouched(subject.model, subject.device), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            once, twice = (_judged(subject) for _ in range(2))
            if not any(_differ(a, b) for a, b in zip(once, twice, strict=False)):
                return
            again = _judged(subject)
        except Exception:  # a module that takes no second batch, or counts those it has had
            return
    try:  # what the module draws without torch differs after it is put back, too
        with untouched(subject.model, subject.device), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            anew = _judged(subject)
    except Exception:
        return
    pairs = list(zip(once, twice, again, anew, strict=False))
    if any(torch.equal(a, d) and _differ(a, b) and _differ(a, c) for a, b, c, d in pairs):
        yield Found(
            "predictions that change when the same batch comes a second time, in evaluation mode",
            "predictions that depend on their rows alone",
            "a hidden state that begins at zero in each forward(); `if self.training:` before what is to follow the "
            'rows, or draws by chance. Where batches are parts of one long sequence: ignore=("LB078",)',
        )


def _judged(subject: Subject) -> list[Tensor]:
    same_chance(subject.device)
    return tensors(map_leaves(_own, subject.call(map_leaves(_own, subject.batch.input))))


def _own(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point() or not bool(one.isfinite().all()):
        return False
    scale = float(one.std()) if one.numel() > 1 else float(one.abs().max())
    return float((one - other).abs().max()) > 1e-3 * scale > 0


@check("LB079", "error", "A graph that reaches into the batch before", unexplained=True)
def graph_left(subject: Subject) -> Iterator[Found]:
    """A hidden state, or a sum of losses, keeps its graph from one batch to the next: the second backward pass of the
    run fails, since the first has spent it."""
    model, loss = subject.model, subject.loss
    first = subject.trained
    if loss is None or first.failure is not None or first.backward is not None or not first.graph_kept:
        return
    trained = [one for one in model.parameters() if one.requires_grad]
    with (
        untouched(model, subject.device, loss, training=True),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            for _ in range(2):
                value: Any = as_scalar(loss(subject.call(map_leaves(_own, subject.batch.input)), subject.batch.target))
                if not isinstance(value, Tensor) or not value.requires_grad or not trained:
                    return
                torch.autograd.grad(value, trained, allow_unused=True)
        except RuntimeError as error:
            if "backward through the graph a second time" not in str(error):
                return
        except Exception:
            return
        else:
            return
    yield Found(
        "a second batch whose backward pass goes into the graph of the first",
        "a graph for each batch",
        "self.state = state.detach() for what is kept for the next batch",
    )


@check(
    "LB122",
    "warning",
    "Predictions that are drawn by chance in evaluation",
    unless=("LB032", "LB078", "LB070", "LB026"),
    costly=True,
)
def drawn_in_evaluation(subject: Subject) -> Iterator[Found]:
    """In evaluation mode the same rows get other predictions by other random numbers: noise, a sample or a drop path
    that `forward()` draws whatever the mode. Figures of validation then go up and down by themselves. (Looked at are
    predictions that a loss of torch compares with labels or measurements, not pictures that are made from noise.)"""
    found = subject.evaluated
    preds = [one for one in tensors(found.pred) if one.is_floating_point()]
    if not found.drew or subject.own_step or len(preds) != 1 or not _supervised(subject):
        return
    try:
        once, again, other = (tensors(subject.predict(_given(subject), seed=seed)) for seed in (0, 0, 1))
    except Exception:  # a module that takes no second batch
        return
    if any(torch.equal(a, b) and _differ(a, c) for a, b, c in zip(once, again, other, strict=False)):
        yield Found(
            "predictions in evaluation mode that change with the random numbers that are drawn",
            "predictions that depend on their rows alone",
            "`if self.training:` before what is drawn by chance, or its mean in evaluation; nn.Dropout as a layer of "
            'the module. Where it is meant: ignore=("LB122",)',
        )


def _given(subject: Subject) -> Any:
    return map_leaves(_own, subject.batch.input)


def _supervised(subject: Subject) -> bool:
    """Whether the loss is one of torch's, of predictions and targets that are no input."""
    shapes = {one.shape for one in tensors(subject.batch.input)}
    asked = loss_inputs(subject.loss_calls, (*CLASSES, *BINARY, *ELEMENTWISE))
    targets = [call.target for call in asked if isinstance(call.target, Tensor)]
    held = tensors(subject.batch.target)
    return any(one is mine and one.shape not in shapes for one in targets for mine in held)


@check("LB129", "warning", "Rows that change as they are read")
def changing(subject: Subject) -> Iterator[Found]:
    """Training rows are others each time they are read, though the same random numbers are drawn: the data set works in
    place on the rows that it keeps. Each epoch scales what was scaled before."""
    if subject.changing:
        yield Found(
            "training inputs that are others each time the same rows are read",
            "rows that stay as they are; what is drawn by chance may differ",
            "x = (x - mean) / std in place of x -= mean and x /= std; or x = self.x[i].clone() first",
        )
