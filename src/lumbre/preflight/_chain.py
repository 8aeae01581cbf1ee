"""Nets that are a chain of layers of torch's, of which it is known what they cannot do: nothing has to be tried."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lumbre.preflight._recorder import NORMS, LayerCall

# And the dimensions of what they take, rows and channels included.
_CONVS: dict[type[nn.Module], int] = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
_PLAIN = frozenset(
    {
        nn.Sequential,
        nn.Identity,
        nn.Linear,
        *_CONVS,
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
        *(nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish),
        *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
        *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
        *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
        nn.GroupNorm,
    }
)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_chain_of_rows(model: nn.Module, input: Any, size: int, layers: Sequence[LayerCall]) -> bool:
    """Whether a net keeps nothing from call to call, and in evaluation mode gives for a row what that row alone says.

    True for `nn.Sequential` of torch's own layers that leave the rows where they are: the first dimension of what goes
    into the first is that of the rows, there is a second, and each layer keeps it so. False says nothing.

    Args:
        model: the net.
        input: a batch of it.
        size: rows of the batch.
        layers: calls of its layers with weights, for this batch.
    """
    if not isinstance(input, Tensor) or input.ndim < 2 or len(input) != size:
        return False
    if not all(map(_keeps_rows, model.modules())):
        return False
    # A convolution takes one dimension less for a single row, whose channels the rows would be.
    return all(one.input.ndim == _CONVS.get(type(one.layer), one.input.ndim) for one in layers)


def _keeps_rows(part: nn.Module) -> bool:
    kind, held = type(part), vars(part)
    if "forward" in held or any(held.get(name) for name in _HOOKS):
        return False
    if any(type(one) is not nn.Parameter for one in held["_parameters"].values() if one is not None):
        return False  # a class of tensors of one's own may do anything
    if kind in _PLAIN:
        return True
    if isinstance(part, (nn.Flatten, nn.Unflatten)):
        first = part.start_dim if isinstance(part, nn.Flatten) else part.dim
        return kind in (nn.Flatten, nn.Unflatten) and isinstance(first, int) and first >= 1
    if isinstance(part, (nn.Softmax, nn.LogSoftmax)):
        return kind in (nn.Softmax, nn.LogSoftmax) and part.dim in (1, -1)
    if isinstance(part, nn.LayerNorm):
        return kind is nn.LayerNorm and len(part.normalized_shape) == 1
    if isinstance(part, nn.Embedding):
        return kind is nn.Embedding and part.max_norm is None
    return kind in NORMS and getattr(part, "running_mean", None) is not None
