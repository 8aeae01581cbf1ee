"""What happened in a pass: which functions of torch were called with what, and which layers."""

import inspect
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ELEMENTWISE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
"""Losses that compare number by number."""

CLASSES = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
RAW = ("Addmm", "Mm", "Convolution")
"""Kinds of functions that end in raw scores."""
_WITH_DOMAINS = (
    "kl_div",
    "poisson_nll_loss",
    "cosine_embedding_loss",
    "margin_ranking_loss",
    "hinge_embedding_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "ctc_loss",
    "multilabel_margin_loss",
)
_LOSSES = (*ELEMENTWISE, *CLASSES, *BINARY)
_SUMS = ("add", "add_", "__add__", "__radd__", "__iadd__")
_SUBTRACTIONS = ("sub", "__sub__", "rsub", "__rsub__")
RELUS = ("relu", "relu_")
_IN_FORWARD = ("softmax", "log_softmax", *RELUS, "dropout", "dropout2d", "dropout3d", "scaled_dot_product_attention")
_RESHAPING = ("view", "reshape", "flatten", "unflatten")
_MOST_NODES = 20_000
_PASSING = ("overrides.py", "_tensor.py")
_RECORDED = {*_LOSSES, *_WITH_DOMAINS, *_SUBTRACTIONS, *_IN_FORWARD}
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase)  # pyright: ignore[reportPrivateUsage]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Shape: TypeAlias = tuple[int, ...]

# What changes only how numbers lie, not what they are.
_LAYOUT = ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias", "ToCopy", "Clone", "Permute", "Transpose", "T", "Expand")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of torch's functions."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    units: "Units | None" = None

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, whether it was given by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def input(self) -> Any:
        """The first argument."""
        return self.argument(0, "input")

    @property
    def target(self) -> Any:
        """The second argument."""
        return self.argument(1, "target")

    @property
    def is_loss(self) -> bool:
        """Whether it compares predictions with targets."""
        return self.name in _LOSSES


@dataclass(frozen=True, slots=True)
class Units:
    """What a ReLU was given and gave, noted at once: either may be overwritten by what comes after.

    Attributes:
        alive: of each unit, the entries of dimension 1, whether it gives anything but 0 for some row.
        alike: whether it was given the same for every row.
    """

    alive: Tensor
    alike: bool


def _alike(value: Any) -> bool:
    """Whether the rows are the same, but for rounding."""
    if not isinstance(value, Tensor) or value.ndim < 2 or not len(value):
        return False
    value = value.detach()
    return float((value - value[:1]).abs().max()) <= 1e-4 * float(value.abs().max())


def _alive(result: Any) -> Tensor | None:
    if not isinstance(result, Tensor) or result.ndim < 2 or not result.numel():
        return None
    return (result.detach() != 0).transpose(0, 1).flatten(1).any(1)


class Recorder(TorchFunctionMode):
    """Keeps the calls that tell of mistakes, also those that fail.

    Args:
        units: note which units of ReLUs are alive.
    """

    def __init__(self, *, units: bool = False) -> None:
        super().__init__()
        self._units = units
        self.calls: list[Call] = []
        self.sums: list[Call] = []  # of single numbers, of which a loss is put together
        self.shapes: list[tuple[Shape, Shape]] = []  # before and after view() and its like, in code of the user's own
        self._viewed: dict[int, tuple[weakref.ref[Tensor], Shape]] = {}

    def __torch_function__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = "" if _in_transform() else getattr(func, "__name__", "")
        if name in _RESHAPING:
            result = func(*args, **kwargs)
            if _called_by_own():
                self._reshaped(args[0] if args else kwargs.get("input"), result)
            return result
        if name in _SUMS:
            result = func(*args, **kwargs)
            if isinstance(result, Tensor) and result.ndim == 0:
                self.sums.append(Call(name, args, kwargs, result))
            return result
        if name not in _RECORDED:
            return func(*args, **kwargs)
        result, units = None, None
        noted = self._units and name in RELUS
        alike = noted and _alike(args[0] if args else kwargs.get("input"))
        try:
            result = func(*args, **kwargs)
            alive = _alive(result) if noted else None
            units = None if alive is None else Units(alive, alike)
        finally:
            self.calls.append(Call(name, args, kwargs, result, units))
        return result

    def _reshaped(self, before: Any, after: Any) -> None:
        """Note the shapes; of one view after another, the first and the last."""
        if not isinstance(before, Tensor) or not isinstance(after, Tensor) or before.numel() != after.numel():
            return
        held = self._viewed.get(id(before))
        first = held[1] if held is not None and held[0]() is before else tuple(before.shape)
        self.shapes.append((first, tuple(after.shape)))
        self._viewed[id(after)] = weakref.ref(after), first


def _in_transform() -> bool:
    """Whether a transform of torch.func is at work, outside of which its tensors cannot be looked at."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def _called_by_own() -> bool:
    """Whether the function that is recorded is called in code of the user's own."""
    frame = inspect.currentframe()
    # From here to the recorder, and on through what torch puts between.
    frame = None if frame is None or frame.f_back is None else frame.f_back.f_back
    while frame is not None and frame.f_code.co_filename.endswith(_PASSING):
        frame = frame.f_back
    return frame is not None and _is_own(frame.f_code.co_filename)


@cache
def _is_own(path: str) -> bool:
    """Whether code is the user's: not of an installed package, but for `nn.Flatten` and `nn.Unflatten`."""
    parts = path.replace("\\", "/")
    return "/site-packages/" not in parts or parts.endswith("torch/nn/modules/flatten.py")


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A call of a layer with weights, or of a batch normalisation.

    Attributes:
        name: of the layer.
        layer: itself.
        input: what it was given.
        output: what it gave.
        training: its mode.
        given: the node of the graph that had computed the input when the layer was called; None without a graph. A
            tensor that is changed in place afterwards has another.
        made: the same of the output.
        versions: how often the numbers of input and output had been written to in place by then.
    """

    name: str
    layer: nn.Module
    input: Tensor
    output: Any
    training: bool
    given: Any = None
    made: Any = None
    versions: tuple[int, int] = (0, 0)

    def feeds(self, other: "LayerCall") -> bool:
        """Whether `other` was given the very numbers that this call has made."""
        same = self.made is not None and self.made is other.given and self is not other
        return same and other.versions[0] <= self.versions[1]


@contextmanager
def recorded_layers(model: nn.Module, into: list[LayerCall], norms: list[LayerCall]) -> Generator[None]:
    """Keep what goes into layers with weights, and into batch normalisations, and what comes out."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def after(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if args and isinstance(args[0], Tensor) and not _in_transform():
                kept = norms if isinstance(layer, NORMS) else into
                made, version = (origin(output), output._version) if isinstance(output, Tensor) else (None, 0)
                versions = (args[0]._version, version)
                kept.append(LayerCall(name, layer, args[0], output, layer.training, origin(args[0]), made, versions))

        return after

    handles = [
        part.register_forward_hook(hook(name))
        for name, part in model.named_modules()
        if isinstance(part, (*_WEIGHTED, *NORMS))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def origin(tensor: Tensor) -> Any:
    """The node of the graph that computed the numbers of `tensor`; None without a graph."""
    node: Any = tensor.grad_fn
    while node is not None and _moves_only(node):
        if not node.next_functions or node.next_functions[0][0] is None:
            break
        node = node.next_functions[0][0]
    return node


def _moves_only(node: Any) -> bool:
    return kind_of(node).removeprefix("Unsafe").startswith(_LAYOUT) and kind_of(node) != "Tanh"


def times_used(roots: list[Tensor]) -> dict[Any, int]:
    """How many functions the numbers of each node go into, in the graph behind `roots`."""
    users: dict[Any, set[Any]] = {}
    seen: set[Any] = set()
    waiting: list[tuple[Any, Any]] = [(root.grad_fn, id(root)) for root in roots if root.grad_fn is not None]
    while waiting:
        node, user = waiting.pop()
        users.setdefault(node, set()).add(user)
        if node in seen and not _moves_only(node):
            continue
        seen.add(node)
        user = user if _moves_only(node) else node
        waiting += [(before, user) for before, _ in node.next_functions if before is not None]
    return {node: len(those) for node, those in users.items()}


def nodes_of(preds: Iterable[Tensor]) -> Iterator[tuple[Any, list[Any]]]:
    """Each node of the graph behind some tensors, with those whose results it was given; of a huge graph not all."""
    seen: set[Any] = set()
    waiting: list[Any] = [one.grad_fn for one in preds if one.grad_fn is not None]
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        given = [before for before, _ in node.next_functions if before is not None]
        waiting += given
        yield node, given


def kind_of(node: Any) -> str:
    """The kind of a node, such as "Softmax"."""
    return type(node).__name__.split("Backward")[0]


def made_by(tensor: Any) -> str:
    """The kind of function that computed `tensor`, such as "Softmax"; "" where it has no graph."""
    if not isinstance(tensor, Tensor):
        return ""
    node = origin(tensor)
    return "" if node is None else kind_of(node)


def loss_inputs(calls: Any, names: tuple[str, ...]) -> list[Call]:
    """The calls of these losses whose arguments are tensors."""
    return [call for call in calls if call.name in names and isinstance(call.input, Tensor)]


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite."""
    return bool(torch.isfinite(tensor).all())


def recomputed(root: Tensor) -> bool:
    """Whether a part of the graph is made when it is gone back through, which only `backward()` does.

    So it is with `torch.utils.checkpoint` and `use_reentrant=True`.
    """
    return any("Checkpoint" in type(node).__name__ for node, _ in nodes_of([root]))


def graph_leaves(roots: list[Tensor], *, without_zero_factors: bool = False) -> dict[int, Tensor]:
    """The leaf tensors in the graph behind `roots`, by id.

    Args:
        roots: where to begin.
        without_zero_factors: leave out what counts with a factor of 0, such as a term that is switched off.
    """
    found: dict[int, Tensor] = {}
    seen: set[Any] = set()
    waiting: list[Any] = [root.grad_fn for root in roots]
    for root in roots:
        if root.requires_grad and root.grad_fn is None:
            found[id(root)] = root
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        elif not (without_zero_factors and kind_of(node) == "Mul" and _zero_factor(node)):
            waiting += [before for before, _ in node.next_functions]
    return found


def _zero_factor(node: Any) -> bool:
    """Whether a product has a factor that is the single number 0, and that is not trained."""
    trained = [before is not None for before, _ in node.next_functions]
    if all(trained):
        return False
    for name in ("_saved_self", "_saved_other"):
        factor = getattr(node, name, None)
        if isinstance(factor, Tensor) and not factor.ndim and not factor.requires_grad and float(factor) == 0:
            return True
    return False


def in_two_modes(part: nn.Module) -> bool:
    """Whether it is a layer of torch's that does something else in training."""
    drops = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase)  # pyright: ignore[reportPrivateUsage]
    return isinstance(getattr(part, "running_var", None), Tensor) or isinstance(part, drops)
