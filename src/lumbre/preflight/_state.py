"""What is left from the batch before: in predictions, and in the graph."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import as_scalar, map_leaves, untouched
from lumbre.devices import same_chance
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
