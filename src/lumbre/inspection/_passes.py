"""Passes over data that look at activations and gradients, and the look at weights."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor, nn

from lumbre.base import (
    Batch,
    Batches,
    DataError,
    Divisor,
    LumbreError,
    Nested,
    OptionError,
    at_least,
    cloned,
    describe,
    leaves,
    map_leaves,
    reduction_of,
    total_loss,
    untouched,
)
from lumbre.inspection._layers import (
    INPUT,
    OUTPUT,
    choose_layers,
    choose_parameters,
    ends,
    row_dim,
    unit_dim,
    unit_dims,
)
from lumbre.inspection._record import Inspection
from lumbre.inspection._statistics import Gathered, Statistics
from lumbre.inspection._watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model and data to look at it with.

    Attributes:
        module: the model.
        forward: calls it in the way its input asks for.
        batches: the data, the same at each reading.
        device: where model and batches are.
        autocast: makes the context of a forward pass.
        seed_step: seeds the generators for (stream name, epoch, batch).
        classes: names of the classes, or None.
    """

    module: nn.Module
    forward: Callable[[Nested], Nested]
    batches: Batches
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    seed_step: Callable[[str, int, int], None]
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is looked at, told and kept.

    Attributes:
        keep: whether the tensors themselves are kept.
        max_rows: only so many rows, the first ones; None for all.
        max_bytes: what is kept may take no more memory than this.
        quantiles: those told, as shares.
    """

    keep: bool
    max_rows: int | None
    max_bytes: int
    quantiles: Sequence[float]

    def __post_init__(self) -> None:
        at_least(1, max_rows=self.max_rows, max_bytes=self.max_bytes)
        shares = list(self.quantiles) if isinstance(self.quantiles, Iterable) else [None]
        if not all(isinstance(one, Real) and 0 <= one <= 1 for one in shares):
            raise OptionError(f"quantiles={self.quantiles!r}", "shares from 0 to 1", "quantiles=(0.05, 0.5, 0.95)")


def look_at_activations(subject: Subject, layers: str | Sequence[str] | None, extent: Extent) -> Inspection:
    """What layers put out for the rows of the data, in evaluation mode."""
    chosen = choose_layers(subject.module, layers)

    def look(batch: Batch, show: "_Show") -> None:
        watch = Watch(subject.module, chosen, lambda name, part, tensor: show(name, part, tensor.detach()))
        try:
            with torch.no_grad(), subject.autocast():
                _call(subject, batch.input)
        finally:
            watch.close()

    return _looked("activations", subject, look, extent, tuple(chosen))


def look_at_gradients(
    subject: Subject,
    loss: Callable[[Nested, Nested], Tensor | dict[str, Tensor]],
    divisor: Divisor | None,
    layers: str | Sequence[str] | None,
    of: str,
    extent: Extent,
) -> Inspection:
    """How the loss of each row changes with what layers put out or take in, in evaluation mode."""
    chosen = choose_layers(subject.module, layers)
    if of == "inputs" and tuple(chosen) == (OUTPUT,) and layers is None:
        chosen = {INPUT: subject.module}

    def look(batch: Batch, show: "_Show") -> None:
        found: dict[str, tuple[nn.Module | None, list[Tensor]]] = {}

        def seen(name: str, part: nn.Module | None, tensor: Tensor) -> None:
            if tensor.requires_grad:
                found[name] = part, []
                tensor.register_hook(found[name][1].append)

        watch = Watch(subject.module, chosen, seen, inputs=of == "inputs")
        try:
            _gradients(subject, loss, batch, [])
        finally:
            watch.close()
        for name, (part, gradients) in found.items():
            if gradients:
                show(name, part, gradients[0] * _weight(loss, divisor, batch))

    return _looked("gradients", subject, look, extent, tuple(chosen))


def look_at_parameter_gradients(
    subject: Subject,
    loss: Callable[[Nested, Nested], Tensor | dict[str, Tensor]],
    divisor: Divisor | None,
    layers: str | Sequence[str] | None,
    extent: Extent,
) -> Inspection:
    """The gradient of the mean loss over the data with respect to each chosen parameter."""
    chosen = choose_parameters(subject.module, layers)
    sums = {name: torch.zeros_like(value) for name, value in chosen.items()}
    rows, divided = 0, 0.0
    with _still(subject):
        for batch in _limited(subject, extent.max_rows):
            gradients = _gradients(subject, loss, batch, list(chosen.values()))
            weight = _weight(loss, divisor, batch)
            for total, gradient in zip(sums.values(), gradients, strict=True):
                if gradient is not None and weight:  # a batch whose labels are all ignored has a gradient of NaN
                    total += gradient * weight
            rows += batch.size
            divided += batch.size if reduction_of(loss) == "sum" else weight
    means = {name: total / (divided or 1) for name, total in sums.items()}
    return replace(_described("gradients", subject.module, means, chosen, extent), rows=rows)


def look_at_weights(module: nn.Module, layers: str | Sequence[str] | None, extent: Extent) -> Inspection:
    """The values of parameters."""
    chosen = choose_parameters(module, layers)
    return _described("weights", module, {name: value.detach() for name, value in chosen.items()}, None, extent)


_Show = Callable[[str, nn.Module | None, Tensor], None]


class _Collector:
    """Gathers what a first and a second pass show, and keeps the tensors of the first where that is wanted."""

    def __init__(self, module: nn.Module, extent: Extent) -> None:
        self.gathered: dict[str, Gathered] = {}
        self.rows = 0
        self.expected_rows = math.nan
        self._parts: dict[str, list[tuple[Tensor, int | None]]] = {}
        self._extent = extent
        self._unit_dims = unit_dims(module)
        self._bytes = 0

    def first(self, name: str, part: nn.Module | None, tensor: Tensor, rows: int) -> None:
        """Gather a batch's tensor, and keep it."""
        dim = row_dim(part, name, tensor, rows)
        if name not in self.gathered:
            self.gathered[name] = Gathered(
                name,
                name if part is None else type(part).__name__,
                tuple(self._extent.quantiles),
                unit_dim=None if part is None else unit_dim(self._unit_dims.get(part), tensor),
                ends=ends(part),
            )
            self.gathered[name].shape = tuple(size for at, size in enumerate(tensor.shape) if at != dim)
        self.gathered[name].first(tensor)
        if self._extent.keep:
            self._parts.setdefault(name, []).append((tensor.to("cpu", copy=True), dim))
            self._bytes += tensor.numel() * tensor.element_size()
            if self._bytes > self._extent.max_bytes:
                raise _too_much(self._bytes, self._extent.max_bytes, f"after {self.rows + rows:,} rows")

    def second(self, name: str, part: nn.Module | None, tensor: Tensor, rows: int) -> None:
        """Gather the tensor of a batch that was seen before."""
        if name not in self.gathered:
            raise DataError(
                f"{name}, called in a second pass and not in the first",
                "a model that calls the same layers for the same data",
                "a list of batches or a Dataset instead of a generator",
            )
        self.gathered[name].second(tensor)

    def forecast(self, expected_rows: float) -> None:
        """Refuse, after the first batch, what will not fit into the memory allowed."""
        needed = self._bytes * expected_rows / max(self.rows, 1)
        if self._extent.keep and needed > self._extent.max_bytes:
            raise _too_much(needed, self._extent.max_bytes, f"for {int(expected_rows):,} rows")

    def tensors(self) -> dict[str, Tensor]:
        """What was kept, joined along the rows."""
        return {name: _joined(name, parts) for name, parts in self._parts.items()}


def _looked(
    what: str, subject: Subject, look: Callable[[Batch, _Show], None], extent: Extent, chosen: tuple[str, ...]
) -> Inspection:
    collector, targets = _Collector(subject.module, extent), list[Nested]()
    length = subject.batches.length
    with _still(subject):
        for batch in _limited(subject, extent.max_rows):
            look(batch, lambda name, part, tensor, rows=batch.size: collector.first(name, part, tensor, rows))
            collector.rows += batch.size
            targets.append(batch.target)
            if length is not None and collector.rows == batch.size:
                collector.forecast(min(length * batch.size, extent.max_rows or math.inf))
        if not collector.gathered:
            raise _nothing(what, chosen, collector.rows)
        for batch in _limited(subject, extent.max_rows):
            look(batch, lambda name, part, tensor, rows=batch.size: collector.second(name, part, tensor, rows))
    plain = extent.keep and all(isinstance(target, Tensor) and target.ndim for target in targets)
    return Inspection(
        what=what,
        layers={name: gathered.result() for name, gathered in collector.gathered.items()},
        tensors=collector.tensors(),
        target=torch.cat([target.detach().cpu() for target in targets]) if plain else None,
        classes=subject.classes,
        rows=collector.rows,
    )


def _described(
    what: str,
    module: nn.Module,
    values: dict[str, Tensor],
    weights: dict[str, nn.Parameter] | None,
    extent: Extent,
) -> Inspection:
    """An inspection of tensors that are there as a whole, named like parameters."""
    needed = sum(value.numel() * value.element_size() for value in values.values())
    if extent.keep and needed > extent.max_bytes:
        raise _too_much(needed, extent.max_bytes, "for these parameters")
    layers: dict[str, Statistics] = {}
    for name, value in values.items():
        if not value.numel():
            continue
        gathered = Gathered(name, type(module.get_submodule(name.rpartition(".")[0])).__name__, extent.quantiles)
        gathered.shape = tuple(value.shape)
        gathered.first(value)
        gathered.second(value)
        layers[name] = gathered.result()
        if weights is not None:
            size = float(weights[name].detach().norm())
            layers[name] = replace(layers[name], ratio=layers[name].l2_norm / size if size else math.inf)
    tensors = {name: value.detach().to("cpu", copy=True) for name, value in values.items()} if extent.keep else {}
    return Inspection(what=what, layers=layers, tensors=tensors)


@contextmanager
def _still(subject: Subject) -> Generator[None]:
    """The model in evaluation mode and left as it was."""
    with untouched(subject.module, subject.device):
        yield


def _limited(subject: Subject, max_rows: int | None) -> Iterator[Batch]:
    """The batches up to a number of rows; the last one is cut to fit. Each begins with its own seed."""
    left = math.inf if max_rows is None else max_rows
    for index, batch in enumerate(subject.batches.epoch(1)):
        if batch.size > left:
            rows = int(left)
            batch = Batch(_cut(batch.input, batch.size, rows), _cut(batch.target, batch.size, rows), rows)
        left -= batch.size
        subject.seed_step("inspect", 1, index)
        yield batch
        if left <= 0:
            return


def _cut(value: Nested, size: int, rows: int) -> Nested:
    def cut(leaf: object) -> object:
        return leaf[:rows] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size else leaf

    return map_leaves(cut, value)


def _call(subject: Subject, input: Nested) -> Nested:
    try:
        return subject.forward(input)
    except LumbreError:
        raise
    except Exception as error:
        raise DataError(
            f"{type(error).__name__} in {type(subject.module).__name__} of a {describe(input)}: {error}",
            "an input that the module takes",
            "pass the data that it was trained on; several inputs as ((a, b), target)",
        ) from error


def _gradients(
    subject: Subject,
    loss: Callable[[Nested, Nested], Tensor | dict[str, Tensor]],
    batch: Batch,
    wanted: list[nn.Parameter],
) -> Sequence[Tensor | None]:
    """The gradients of a batch's loss; hooks on tensors are called on the way. Parameters keep their own `.grad`."""
    frozen = [value for value in subject.module.parameters() if not value.requires_grad and value.is_floating_point()]
    began = map_leaves(_leaf, batch.input)
    roots = [leaf for leaf in leaves(began) if isinstance(leaf, Tensor) and leaf.requires_grad]
    recurrent = any(isinstance(part, nn.RNNBase) for part in subject.module.modules())
    try:
        for value in frozen:
            value.requires_grad_(True)
        roots += subject.module.parameters()
        # cuDNN's recurrent layers have no backward pass in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and not recurrent):
            with subject.autocast():
                # A copy goes in: a layer that works in place could not change a leaf.
                copied = cloned(began)
                value = total_loss(loss(_call(subject, copied), batch.target))
            if not value.requires_grad or value.numel() != 1:
                raise DataError(
                    f"a loss that is a {describe(value)}" + ("" if value.requires_grad else ", without a gradient"),
                    "a scalar that depends on what the model puts out",
                    "loss=nn.CrossEntropyLoss(), or a function of prediction and target",
                )
            asked = [*wanted, *roots] if wanted else roots
            return list(torch.autograd.grad(value, asked, allow_unused=True))[: len(wanted)]
    finally:
        for value in frozen:
            value.requires_grad_(False)


def _leaf(leaf: object) -> object:
    return leaf.detach().requires_grad_() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _weight(loss: object, divisor: Divisor | None, batch: Batch) -> float:
    """What turns the gradient of a batch's loss into that of the sum over its rows, or its labels by their weights."""
    return 1 if reduction_of(loss) == "sum" else batch.size if divisor is None else float(divisor(batch.target))


def _joined(name: str, parts: list[tuple[Tensor, int | None]]) -> Tensor:
    dim = parts[0][1]
    tensors = [tensor for tensor, _ in parts]
    try:
        if dim is not None:
            return torch.cat([tensor.movedim(dim, 0) for tensor in tensors])
        return torch.cat(tensors) if tensors[0].ndim else torch.stack(tensors)
    except RuntimeError as error:
        shapes = ", ".join(dict.fromkeys(str(tuple(tensor.shape)) for tensor in tensors))
        raise DataError(
            f"tensors of {name} with the shapes {shapes}",
            "the same shape in every batch, but for the rows",
            "statistics without keep=True, or batch_size=1 and max_rows=1",
        ) from error


def _too_much(needed: float, allowed: int, when: str) -> OptionError:
    return OptionError(
        f"tensors of {needed / 1e6:,.0f} MB {when}",
        f"at most {allowed / 1e6:,.0f} MB to keep",
        "max_rows=..., fewer layers=..., keep=False for statistics alone, or a larger max_bytes",
    )


def _nothing(what: str, chosen: tuple[str, ...], rows: int) -> DataError | OptionError:
    if not rows:
        return DataError("data without rows", "at least one row", "pass some data")
    shown = ", ".join(chosen[:8])
    why = "were called" if what == "activations" else "have a gradient"
    return OptionError(
        f"layers {shown}, none of which {why}",
        "layers that the model calls" + ("" if what == "activations" else ", and on which the loss depends"),
        "a layer around them: functions of torch use some layers' weights without calling these",
    )
