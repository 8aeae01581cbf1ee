"""The module: what it registers, how its layers follow one another, what happens to a single row."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import brief, leaves, map_leaves, untouched
from lumbre.preflight._influence import mixed_rows, rows_compared
from lumbre.preflight._recorder import NORMS, LayerCall, times_used
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
FEW_ROWS = 8


@check("LB001", "error", "Nothing to train")
def no_parameters(subject: Subject) -> Iterator[Found]:
    """The module has no parameter that requires a gradient."""
    if not any(parameter.requires_grad for parameter in subject.model.parameters()):
        yield Found(
            f"{type(subject.model).__name__} without a parameter that can be trained",
            "at least one parameter with requires_grad=True",
            "keep layers as attributes of the module (in an nn.ModuleList, not a list), or unfreeze some",
        )


@check("LB026", "warning", "Layers in a plain list", several=True)
def plain_list(subject: Subject) -> Iterator[Found]:
    """A module knows the layers that are its attributes, or stand in an `nn.ModuleList` or `nn.ModuleDict`. Of those
    in a list, tuple or dict it knows nothing: they are not trained, not saved and not moved to the GPU."""
    known = {id(parameter) for parameter in subject.model.parameters()}
    for optimizer in subject.optimizers.values():
        known |= {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, part in subject.model.named_modules():
        for attribute, value in vars(part).items():
            if attribute.startswith("_") or not isinstance(value, (list, tuple, dict, set)):
                continue
            hidden = [
                one
                for one in _parameters_in(value, 3)
                if one.requires_grad and id(one) not in known and one.is_floating_point() and not one.is_meta
            ]
            if hidden:
                kind, count = type(value).__name__, sum(one.numel() for one in hidden)
                place = ".".join(filter(None, (name, attribute)))
                yield Found(
                    f"a {kind} {place!r} with {count:,} weights that the module does not know of",
                    "every layer registered, so that it is trained, saved and moved",
                    f"self.{attribute} = nn.Module{'Dict' if kind == 'dict' else 'List'}(...)",
                )


def _parameters_in(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, nn.Parameter):
        yield value
    elif depth and isinstance(value, (list, tuple, set, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parameters_in(part, depth - 1)


@check("LB008", "error", "BatchNorm and a batch of one row")
def short_batch_norm(subject: Subject) -> Iterator[Found]:
    """BatchNorm takes mean and spread over the rows of a batch, and cannot over one: torch raises where the epoch comes
    to that batch. So does whatever else needs several rows. A row is tried, in training mode. Where it passes, since a
    picture has several places, it is normalized by itself, and that is a warning; so is what a callback may prevent."""
    if not subject.has_one_row or not _rows_alone(subject):
        return
    size, whole, one = subject.batch.size, subject.trained, subject.one_row()
    passes = size > 1 and (whole.failure is None or whole.in_loss)
    fails = one.failure is not None or (passes and _finite(whole.pred) and not _finite(one.pred))
    normed = any(call.training for call in one.norms) or _wants_more_values(one.failure)
    if subject.loss is None:  # its own step may call other parts than forward() does
        normed, fails = any(isinstance(part, NORMS) for part in subject.model.modules()), False
    if not (passes and fails) and not normed:
        return
    why = "" if not fails else f": {_first_line(one.failure)}" if one.failure else ": its predictions are not finite"
    leave_out = "drop_last=True" if subject.shuffled is not None else "DataLoader(..., drop_last=True)"
    where = "" if subject.processes == 1 else f" in a process, as {subject.processes} share each batch,"
    yield Found(
        f"a batch of one row{where} for a module {'with BatchNorm' if normed else 'that needs several'}{why}",
        "several rows in every batch"
        + (", over which BatchNorm takes its mean and spread" if normed else "")
        + ("" if subject.processes == 1 else f": {2 * subject.processes}, two for each process"),
        (f"{leave_out}, which leaves out a last batch that is that short; or another batch_size")
        if size > 1
        else "a larger batch_size",
        None if fails and subject.settled else "warning",
    )


def _wants_more_values(failure: Exception | None) -> bool:
    """Whether it is what torch's normalizations raise for a single value of a channel."""
    return isinstance(failure, ValueError) and "more than 1 value per channel" in str(failure)


def _finite(pred: Any) -> bool:
    return all(bool(one.isfinite().all()) for one in tensors(pred) if one.is_floating_point())


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {brief(error)}".partition("\n")[0]


@check("LB021", "warning", "A dimension that is lost where a batch has one row", costly=True)
def squeezed(subject: Subject) -> Iterator[Found]:
    """`squeeze()` without a dimension takes away every dimension of size 1: that of the rows too, when a batch has one
    row, as the last one of an epoch may."""
    size, pred = subject.batch.size, subject.evaluated.pred
    if not subject.has_one_row or size < 2 or subject.evaluated.failure is not None or not _rows_alone(subject):
        return
    before = tensors(pred)
    try:
        after = tensors(subject.predict(map_leaves(_first_row, subject.batch.input)))
    except Exception:  # a module that cannot take one row at all, for whatever reason
        after = None
    if after is None or any(a.ndim < b.ndim for a, b in zip(after, before, strict=False)):
        shapes = "an error" if after is None else f"predictions {tuple(after[0].shape)}"
        yield Found(
            f"{shapes} for a batch of one row, predictions {tuple(before[0].shape)} for one of {size}, and a last "
            "batch of one row",
            "predictions whose first dimension counts the rows, also when it is 1",
            "squeeze(1) or flatten(1) instead of squeeze() in forward(); or drop_last=True",
            "error" if subject.settled and (after is None or _loss_fails(subject, after)) else None,
        )


def _loss_fails(subject: Subject, pred: list[Tensor]) -> bool:
    """Whether the loss of this prediction for the first row cannot be computed, so that the run would end there."""
    if subject.loss is None or len(pred) != 1 or subject.evaluated.failure is not None:
        return False
    scores = pred[0].detach().clone().requires_grad_(pred[0].is_floating_point())
    try:
        with untouched(subject.model, subject.device, subject.loss), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = subject.loss(scores, map_leaves(_first_row, subject.batch.target))
            # Some losses of torch give a value for shapes of which only the gradient fails.
            torch.autograd.grad(loss.sum(), scores)
    except Exception:
        return True
    return False


def _first_row(leaf: Any) -> Any:
    return leaf[:1] if isinstance(leaf, Tensor) else leaf


def _by_rows(subject: Subject) -> bool:
    size = subject.batch.size
    return all(leaf.ndim and leaf.shape[0] == size for leaf in tensors(subject.batch.input))


def _rows_alone(subject: Subject) -> bool:
    """Whether the first row of a batch can be cut out of it."""
    return _by_rows(subject) and all(isinstance(leaf, Tensor) for leaf in leaves(subject.batch.input))


@check("LB020", "warning", "Rows that see one another", costly=True)
def rows_mixed(subject: Subject) -> Iterator[Found]:
    """What the module gives for a row changes with the other rows of the batch, in evaluation mode. Mostly dimensions
    are mistaken: attention or a recurrent net without `batch_first=True`, `view` where `transpose` was meant, a softmax
    over the rows, a mean or a mask over the whole batch."""
    model, size, found = subject.model, subject.batch.size, subject.evaluated
    if size < 3 or found.failure is not None or not _by_rows(subject) or subject.row_by_row:
        return
    loose = [name for name, part in model.named_modules() if isinstance(part, NORMS) and part.running_mean is None]
    if loose:  # it normalizes over the batch, and says so
        yield Found(
            f"{loose[0]!r}, a {type(model.get_submodule(loose[0])).__name__} with track_running_stats=False: in "
            "evaluation, too, a prediction changes with the other rows of its batch",
            "running statistics for evaluation",
            "leave track_running_stats=False out; GroupNorm or LayerNorm where batches are small",
            "hint",
        )
        return
    if rows_compared(subject):
        return
    # A few rows tell; a module that takes batches of one size alone is given them all.
    for rows in dict.fromkeys((min(size, FEW_ROWS), size)):
        try:
            mixed = _mixed_row(subject, rows)
        except Exception:  # a module that cannot take rows that are all alike has not been found to mix them
            continue
        if mixed is not None:
            yield Found(
                f"a prediction of the {'first' if mixed == 0 else 'last'} row that changes when the other rows of "
                "the batch are others",
                "predictions of a row that depend on this row alone",
                _UNMIX,
            )
        elif mixed_rows(subject, rows):
            yield Found(
                "predictions of rows that depend on other rows of the batch",
                "predictions of a row that depend on this row alone",
                _UNMIX,
            )
        return


_UNMIX = (
    "batch_first=True for attention and recurrent layers; transpose() or permute(), not view() or reshape(), to bring "
    "dimensions into another order; softmax(dim=1); means, masks and norms over the numbers of a row, not over the "
    'batch. Where rows are meant to see one another, as the nodes of a graph are: ignore=("LB020",)'
)


def _mixed_row(subject: Subject, rows: int) -> int | None:
    """A row, among the first `rows` of the batch, whose prediction changes with the others."""
    input = map_leaves(lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) else leaf, subject.batch.input)
    once, again = tensors(subject.predict(input)), None
    for row in (0, rows - 1):  # a recurrent net over the rows looks at those before, or those after
        other = tensors(subject.predict(map_leaves(lambda leaf, at=row: _all_as(leaf, at), input)))
        for at, (a, b) in enumerate(zip(once, other, strict=False)):
            if _differs(a, b, row):
                again = tensors(subject.predict(input)) if again is None else again
                if torch.equal(a, again[at]):
                    return row
    return None


def _differs(once: Tensor, other: Tensor, row: int) -> bool:
    if not (once.ndim and once.shape == other.shape and len(once) > row and once.is_floating_point()):
        return False
    if not torch.isfinite(once).all():
        return False
    scale = float(once.std()) + float(once.abs().mean()) * 1e-2
    return float((once[row] - other[row]).abs().max()) > 1e-3 * scale > 0


def _all_as(leaf: Any, row: int) -> Any:
    return leaf[row : row + 1].expand_as(leaf).clone() if isinstance(leaf, Tensor) else leaf


@check("LB027", "warning", "Linear layers without anything between")
def linear_chain(subject: Subject) -> Iterator[Found]:
    """Two linear layers in a row are one linear layer, with more weights. (A narrow one between two wide ones, and a
    convolution by channels before one of size 1, are meant.)"""
    found = subject.evaluated
    calls = [call for call in found.layers if _is_plain(call.layer)]
    pairs = [(before, call) for call in calls for before in calls if before.feeds(call) and _wasteful(before, call)]
    used = times_used([*tensors(found.pred), *tensors(found.loss)]) if pairs else {}
    for before, call in pairs:
        # What several layers share, or goes around the next one, is computed once. Within a function whose gradient is
        # its own, as that of a differential equation, it is not seen which of these it is.
        if used.get(before.made, 0) > 1 or call.made not in used:
            continue
        yield Found(
            f"{before.name!r} and {call.name!r}, two linear layers with nothing between them",
            "an activation between linear layers",
            f"{call.name}(torch.relu({before.name}(x))), or one layer instead of the two",
        )


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer computes what torch's own does, and no hook puts an activation behind it."""
    own = next((kind for kind in (nn.Linear, *_CONVS) if isinstance(layer, kind)), None)
    return own is not None and type(layer).forward is own.forward and not ("forward" in vars(layer) or _hooked(layer))


def _hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks)  # pyright: ignore[reportPrivateUsage]


def _wasteful(first: LayerCall, second: LayerCall) -> bool:
    one, two = first.layer, second.layer
    if isinstance(one, nn.Linear) and isinstance(two, nn.Linear):
        return one.out_features >= min(one.in_features, two.out_features)
    if isinstance(one, _CONVS) and isinstance(two, _CONVS):
        if one.groups > 1 or two.groups > 1 or set(one.kernel_size) == {1} or set(two.kernel_size) == {1}:
            return False
        # Kernels behind one another are a factored large one, of 1x3 and 3x1 for example.
        return len(set(one.kernel_size)) == len(set(two.kernel_size)) == 1
    return False


@check("LB028", "warning", "First weights that are all the same")
def same_weights(subject: Subject) -> Iterator[Found]:
    """Units that begin with the same weights get the same gradients and stay the same for ever: a layer of a hundred
    is a layer of one."""
    named = subject.model.named_modules()
    parts = [(name, part) for name, part in named if isinstance(part, (nn.Linear, *_CONVS))]
    held = all("weight" in vars(part)["_parameters"] for _, part in parts)
    # Where it is no parameter, a weight may be computed anew each time it is asked for.
    with nullcontext() if held else untouched(subject.model, subject.device):
        layers = [(name, part, weight.detach()) for name, part in parts if (weight := part.weight).requires_grad]
    for name, part, weight in layers:
        if part.bias is not None and bool((part.bias != part.bias[0]).any()):
            continue
        if weight.shape[0] > 1 and bool((weight == weight[:1]).all()) and bool((weight[0] != 0).any()):
            yield Found(
                f"the {weight.shape[0]} units of {name!r} begin with the same weights",
                "first weights drawn by chance",
                "leave torch's own first weights, or nn.init.kaiming_uniform_(layer.weight)",
            )


@check("LB030", "warning", "Dropout of channels where there are none")
def dropout_of_channels(subject: Subject) -> Iterator[Found]:
    """`nn.Dropout2d` drops whole channels of (rows, channels, height, width). Of two dimensions it drops as plain
    dropout does, or whole rows, by version; of three it takes the first for channels or for rows."""
    for call in subject.trained.forward:
        wanted = {"dropout2d": 4, "dropout3d": 5}.get(call.name)
        if wanted and isinstance(call.input, Tensor) and call.input.ndim < wanted:
            yield Found(
                f"{call.name} of {tuple(call.input.shape)}",
                f"{wanted} dimensions: rows, channels, and the places",
                "nn.Dropout() after linear layers; nn.Dropout1d() of sequences (rows, channels, length)",
            )


@check("LB032", "warning", "Dropout that is never switched off")
def dropout_in_evaluation(subject: Subject) -> Iterator[Found]:
    """`F.dropout(x)` drops in evaluation too: its `training` is True unless it is told."""
    for call in subject.evaluated.forward:
        if call.name == "dropout" and call.argument(2, "training", True) and call.argument(1, "p", 0.5) > 0:
            yield Found(
                "F.dropout that drops in evaluation mode",
                "dropout in training alone",
                "F.dropout(x, p, self.training), or an nn.Dropout(p) as a layer",
            )


@check("LB029", "warning", "A layer whose ReLU gives only zeros")
def dead_relu(subject: Subject) -> Iterator[Found]:
    """Every unit of a layer, or nine of ten, are negative for every row of the first batch: little or nothing passes,
    and no gradient comes back. (Behind a branch that begins at zero, nothing can be said before the first step.)"""
    size = subject.batch.size
    relus = [call for call in subject.trained.forward if call.units is not None]
    for place, call in enumerate(relus):
        if call.units is None or size < 2 or call.result.numel() <= size:
            continue
        alive = call.units.alive
        dead = int((~alive).sum())
        if dead == len(alive) or (len(alive) >= 10 and size >= 16 and dead >= 0.9 * len(alive)):
            if call.units.alike and _differs_after_a_step(subject, place, len(relus)):
                continue
            yield Found(
                f"a ReLU that gives 0 in {dead} of {len(alive)} units for every row of the first batch",
                "units that are positive for some rows",
                "torch's own first weights and biases; inputs of mean 0 and spread 1",
            )


def _differs_after_a_step(subject: Subject, place: int, count: int) -> bool:
    """Whether the ReLU that was called at `place` gets different rows once the weights have made a step."""
    relus = [call for call in subject.stepped.forward if call.units is not None]
    units = relus[place].units if len(relus) == count else None
    return units is not None and not units.alike


@check("LB040", "warning", "Channels in the last place")
def channels_last(subject: Subject) -> Iterator[Found]:
    """torch's convolutions take pictures as (rows, channels, height, width). Files and NumPy mostly hold (rows, height,
    width, channels); a convolution over these takes rows of pixels for channels."""
    shapes = [tuple(leaf.shape) for leaf in tensors(subject.batch.input) if leaf.ndim == 4]
    last = next((shape for shape in shapes if shape[3] in (1, 3, 4) and shape[1] == shape[2] > 4), None)
    convs = [part for part in subject.model.modules() if isinstance(part, nn.Conv2d)]
    if last is None or not convs:
        return
    first = next((call for call in subject.evaluated.layers if isinstance(call.layer, nn.Conv2d)), None)
    if first is None or tuple(first.input.shape) == last:
        yield Found(
            f"pictures {last} for a convolution: the channels stand last",
            f"(rows, channels, height, width), here {(last[0], last[3], last[1], last[2])}",
            "x.permute(0, 3, 1, 2), not view() or reshape()",
        )


@check("LB052", "warning", "One layer at several places")
def shared_layers(subject: Subject) -> Iterator[Found]:
    """`[nn.Linear(8, 8)] * 3` is three times the same layer, with one set of weights. Where that is meant, calling one
    layer several times says it better. Looked at are layers in a `Sequential`, `ModuleList` or `ModuleDict`."""
    for name, part in subject.model.named_modules():
        if not isinstance(part, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            continue
        places: dict[nn.Module, list[str]] = {}
        children: dict[str, nn.Module | None] = part._modules  # pyright: ignore[reportPrivateUsage, reportAssignmentType]
        for place, child in children.items():
            if child is not None and any(one.requires_grad for one in child.parameters()):
                places.setdefault(child, []).append(place)
        for child, shared in places.items():
            if len(shared) > 1:
                yield Found(
                    f"the same {type(child).__name__} at {', '.join(shared)} of {name or type(part).__name__!r}",
                    "layers with weights of their own",
                    "[make() for _ in range(n)], not [layer] * n; or copy.deepcopy(layer)",
                )


@check("LB053", "warning", "Modes that are switched by hand", several=True)
def mode_switched(subject: Subject) -> Iterator[Found]:
    """`fit()` puts the whole module into training mode before each epoch, and into evaluation mode to validate. A
    `self.eval()` in `forward()` turns dropout and BatchNorm off for all that comes; one in `__init__()` is undone."""
    for found in (subject.trained, subject.evaluated):
        if found.switched:
            yield Found(
                f"forward(), which switches the mode of {_shown(found.switched)}",
                "a module that leaves its mode alone",
                "leave self.train() and self.eval() out of forward(); fit() and predict() switch modes",
            )
            return
    model = subject.model
    kinds = (*NORMS, nn.modules.dropout._DropoutNd)  # pyright: ignore[reportPrivateUsage]
    modal = {name: part for name, part in model.named_modules() if isinstance(part, kinds)}
    if modal and not subject.trained.modes.get("", True):
        yield Found(
            "a module that stays in evaluation mode when it is put into training mode",
            "dropout and BatchNorm that train",
            "def train(self, mode=True): super().train(mode); ...; return self, with the mode that is given",
        )
        return
    by_hand = [name for name, part in modal.items() if not part.training]
    if not model.training or not by_hand:
        return
    undone = [name for name in by_hand if subject.trained.modes.get(name)]
    if undone:
        yield Found(
            f"{_shown(undone)} in evaluation mode by hand, in a module in training mode",
            "modes that last: fit() puts every part into training mode",
            "def train(self, mode=True): super().train(mode); self.part.eval(); return self",
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) if name else "the module" for name in names[:3]) + ("..." if len(names) > 3 else "")


@check("LB031", "hint", "A bias before BatchNorm")
def bias_before_norm(subject: Subject) -> Iterator[Found]:
    """BatchNorm takes the mean away, and with it the bias of the layer before: it is never trained."""
    found = subject.trained
    made = {id(call.output): call for call in found.layers if _has_bias(call.layer) and not _hooked(call.layer)}
    pairs = [(made.get(id(norm.input)), norm) for norm in found.norms if norm.training]
    used = times_used([*tensors(found.pred), *tensors(found.loss)]) if pairs and made else {}
    idle = [
        before.name
        for before, norm in pairs
        if before is not None and before.feeds(norm) and used.get(before.made, 0) < 2
    ]
    if idle:
        yield Found(
            f"{_shown(list(dict.fromkeys(idle)))} with a bias, straight before BatchNorm",
            "layers without a bias before BatchNorm, which has one of its own",
            "bias=False for these layers",
        )


def _has_bias(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, *_CONVS)) and layer.bias is not None and layer.bias.requires_grad


@check("LB061", "hint", "Frozen BatchNorm whose statistics move")
def frozen_norms(subject: Subject) -> Iterator[Found]:
    """`requires_grad_(False)` keeps weights, not running means: in training mode these go on to follow the rows, and
    what a frozen net gives changes from step to step."""
    moving = [
        call.name
        for call in subject.trained.norms
        if call.training
        and isinstance(call.layer, NORMS)
        and call.layer.track_running_stats
        and call.layer.affine
        and not any(one.requires_grad for one in call.layer.parameters())
    ]
    if moving:
        yield Found(
            f"{_shown(moving)} frozen, in training mode",
            "frozen parts in evaluation mode too, if they are to stay as they are",
            "def train(self, mode=True): super().train(mode); self.body.eval(); return self",
        )
