"""What happened in a pass: which functions of torch were called with what, and which layers."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ELEMENTWISE = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
"""Losses that compare number by number."""

CLASSES = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
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
)
_LOSSES = (*ELEMENTWISE, *CLASSES, *BINARY)
_SUBTRACTIONS = ("sub", "__sub__", "rsub", "__rsub__")
_IN_FORWARD = ("softmax", "log_softmax", "relu", "relu_", "dropout", "dropout2d", "dropout3d")
_RECORDED = {*_LOSSES, *_WITH_DOMAINS, *_SUBTRACTIONS, *_IN_FORWARD}
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase)  # pyright: ignore[reportPrivateUsage]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

# What changes only how numbers lie, not what they are.
_LAYOUT = ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias", "ToCopy", "Clone", "Permute", "Transpose", "T", "Expand")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one of torch's functions."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

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


class Recorder(TorchFunctionMode):
    """Keeps the calls that tell of mistakes, also those that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in _RECORDED:
            return func(*args, **kwargs)
        result = None
        try:
            result = func(*args, **kwargs)
        finally:
            self.calls.append(Call(name, args, kwargs, result))
        return result


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A call of a layer with weights, or of a batch normalisation."""

    name: str
    layer: nn.Module
    input: Tensor
    output: Any
    training: bool


@contextmanager
def recorded_layers(model: nn.Module, into: list[LayerCall], norms: list[LayerCall]) -> Generator[None]:
    """Keep what goes into layers with weights, and into batch normalisations, and what comes out."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def after(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if args and isinstance(args[0], Tensor):
                kept = norms if isinstance(layer, NORMS) else into
                kept.append(LayerCall(name, layer, args[0], output, layer.training))

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
    while node is not None and kind_of(node).removeprefix("Unsafe").startswith(_LAYOUT) and kind_of(node) != "Tanh":
        if not node.next_functions or node.next_functions[0][0] is None:
            break
        node = node.next_functions[0][0]
    return node


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
