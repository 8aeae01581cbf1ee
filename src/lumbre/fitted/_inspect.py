"""A look inside a model: what its layers put out, how the loss depends on that, and what its weights are.

The model is left as it was: its mode, buffers, gradients and hooks, and the random generators. For a look during the
training there is the callback `Inspect`.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lumbre.base import Nested, OptionError, RecipeError, at_least, caller, divisor_of, one_of
from lumbre.devices import seeder
from lumbre.fitted._fitted import Fitted
from lumbre.inspection import (
    Extent,
    Inspect,
    Inspection,
    Sample,
    Statistics,
    Subject,
    look_at_activations,
    look_at_gradients,
    look_at_parameter_gradients,
    look_at_weights,
)
from lumbre.run import feed, given_data

__all__ = ["Inspect", "Inspection", "Sample", "Statistics", "activations", "gradients", "weights"]
__dir__ = __all__.copy  # names for dir() and tab completion

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_MAX_BYTES = 1 << 30


def activations(
    model: nn.Module | Fitted,
    data: Any,
    *,
    layers: str | Sequence[str] | None = None,
    keep: bool = False,
    max_rows: int | None = None,
    max_bytes: int = _MAX_BYTES,
    quantiles: Sequence[float] = _QUANTILES,
    batch_size: int | None = None,
) -> Inspection:
    """What each layer puts out for the rows of `data`, in evaluation mode: statistics, and the tensors where wanted.

    Statistics are exact and take no more memory for more data: it is read twice, batch by batch, and quantiles are
    found by counting the bits of float32 (of wider types they are those of the rounded values). A layer that is called
    several times has a row for each call: `relu`, `relu#2`. The parts of a tuple or a dict are `lstm[0]`, `lstm[1][0]`,
    `head[logits]`.

    Args:
        model: a module, or what `fit()` gave.
        data: an input, or a pair (input, target); whatever `Fitted.predict()` takes, for a bare module no frames with
            texts. Several inputs stand in a pair ((a, b), None).
        layers: names or patterns of names, such as "conv*" or ["input", "encoder.*"]; "input" and "output" are those of
            the model. All layers without parts where not given.
        keep: keep the tensors themselves, on the CPU.
        max_rows: look at so many rows only, the first ones.
        max_bytes: tensors that would take more memory than this are refused.
        quantiles: those told, as shares from 0 to 1.
        batch_size: rows in a batch; that of the training, or 32, where not given.

    Returns:
        An `Inspection`.

    Raises:
        OptionError: a pattern fits no layer, the layers are never called, tensors to keep need more memory than
            max_bytes, or an option is impossible.
        DataError: the data cannot be used as it is.
        RecipeError: `model` is neither a module nor fitted.

    Example:
        >>> import lumbre as lb, torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> found = lb.inspect.activations(net, torch.ones(8, 2), keep=True)
        >>> list(found.layers), found["1"].shape
        (['0', '1'], torch.Size([8, 3]))
        >>> found.layers["1"].minimum >= 0
        True
    """
    extent = Extent(keep=keep, max_rows=max_rows, max_bytes=max_bytes, quantiles=quantiles)
    return look_at_activations(_subject(model, data, batch_size, need_target=False), layers, extent)


def gradients(
    model: nn.Module | Fitted,
    data: Any,
    *,
    loss: Any = None,
    layers: str | Sequence[str] | None = None,
    of: str = "outputs",
    keep: bool = False,
    max_rows: int | None = None,
    max_bytes: int = _MAX_BYTES,
    quantiles: Sequence[float] = _QUANTILES,
    batch_size: int | None = None,
) -> Inspection:
    """How the loss changes with what layers put out or take in, or with the weights, in evaluation mode.

    For outputs and inputs these are the gradients of each row's own loss, for parameters that of the mean over all
    rows: neither depends on the batch size. Frozen parameters are looked at like others. Gradients that lie in the
    parameters stay as they are.

    Args:
        model: a module, or what `fit()` gave.
        data: with targets; as for `activations()`.
        loss: a function of prediction and target that gives the mean over the rows of a batch, or their sum, if its
            `reduction` says so; that of the training, or the module's own, where not given.
        layers: as for `activations()`; of parameters also their names.
        of: "outputs" or "inputs" of layers, which are no leaves of the graph, or "parameters".
        keep: as for `activations()`.
        max_rows: as for `activations()`.
        max_bytes: as for `activations()`.
        quantiles: as for `activations()`.
        batch_size: as for `activations()`.

    Returns:
        An `Inspection`; for parameters `ratio` is the norm of the gradient over that of the weights.

    Raises:
        OptionError: as `activations()` does; or there is no loss.
        DataError: the data cannot be used as it is, or the loss is no scalar.
        RecipeError: `model` is neither a module nor fitted.

    Example:
        Partial derivatives on the way, of 0.2 * x² with x = 2, where the square is 4:

        >>> import lumbre as lb, torch
        >>> from torch import nn
        >>> class Square(nn.Module):
        ...     def forward(self, x):
        ...         return x**2
        >>> net = nn.Sequential(Square(), nn.Flatten())
        >>> found = lb.inspect.gradients(
        ...     net,
        ...     torch.tensor([[2.0]]),
        ...     loss=lambda pred, _: 0.2 * pred.sum(),
        ...     layers=["input", "0"],
        ...     keep=True,
        ... )
        >>> found["input"], found["0"]
        (tensor([[0.8000]]), tensor([[0.2000]]))
    """
    one_of("of", of, ("outputs", "inputs", "parameters"))
    extent = Extent(keep=keep, max_rows=max_rows, max_bytes=max_bytes, quantiles=quantiles)
    subject = _subject(model, data, batch_size, need_target=True)
    if loss is None:
        loss = _loss(model)
    divisor = divisor_of(loss)
    if isinstance(model, Fitted) and loss is model.loss:
        divisor = model._session.divisor()  # pyright: ignore[reportPrivateUsage]
    if of == "parameters":
        return look_at_parameter_gradients(subject, loss, divisor, layers, extent)
    return look_at_gradients(subject, loss, divisor, layers, of, extent)


def weights(
    model: nn.Module | Fitted,
    *,
    layers: str | Sequence[str] | None = None,
    keep: bool = False,
    max_bytes: int = _MAX_BYTES,
    quantiles: Sequence[float] = _QUANTILES,
) -> Inspection:
    """The values of a model's parameters: statistics, and copies of the tensors where wanted.

    Args:
        model: a module, or what `fit()` gave.
        layers: names or patterns of layers or parameters, such as "encoder.*" or "fc?.bias"; all where not given.
        keep: keep copies of the tensors, on the CPU.
        max_bytes: copies that would take more memory than this are refused.
        quantiles: those told, as shares from 0 to 1.

    Returns:
        An `Inspection`, whose layers are parameters; shared ones stand there once.

    Raises:
        OptionError: a pattern fits no layer, or the copies need more memory than max_bytes.
        RecipeError: `model` is neither a module nor fitted.

    Example:
        >>> import lumbre as lb, torch
        >>> found = lb.inspect.weights(torch.nn.BatchNorm1d(4))
        >>> found.layers["weight"].mean, found.layers["bias"].zeros
        (1.0, 1.0)
    """
    extent = Extent(keep=keep, max_rows=None, max_bytes=max_bytes, quantiles=quantiles)
    return look_at_weights(_module(model), layers, extent)


def _module(model: Any) -> nn.Module:
    module = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    if not isinstance(module, nn.Module):
        raise RecipeError(
            f"a look into {model!r}"[:200],
            "a module, or what fit() gave",
            f"{model.__name__}(...), with its hyper-parameters" if isinstance(model, type) else "fitted, or net",
        )
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    if any(is_lazy(value) for value in (*module.parameters(), *module.buffers())):
        raise RecipeError(
            f"a {type(module).__name__} with lazy layers, whose shapes are not known yet",
            "a module that has been called once",
            "net(input) first, or fit() it",
        )
    return module


def _subject(model: Any, data: Any, batch_size: int | None, *, need_target: bool) -> Subject:
    module = _module(model)
    at_least(1, batch_size=batch_size)
    if isinstance(model, Fitted):
        session = model._session  # pyright: ignore[reportPrivateUsage]
        batches = model._feed(data, batch_size, None, need_target=need_target)  # pyright: ignore[reportPrivateUsage]
        device, autocast, classes = session.device, session.precision.autocast, session.classes
    else:
        device = next((value.device for value in (*module.parameters(), *module.buffers())), torch.device("cpu"))
        batches = feed(given_data(data, None, 0, need_target=need_target)[0], device, 0, batch_size=batch_size)
        autocast, classes = nullcontext, getattr(data, "classes", None)

    def forward(input: Nested) -> Nested:
        return caller(module, input)(input)

    return Subject(
        module=module,
        forward=forward,
        batches=batches,
        device=device,
        autocast=autocast,
        seed_step=seeder(0, device),
        classes=classes,
    )


def _loss(model: Any) -> Any:
    if isinstance(model, Fitted):
        session = model._session  # pyright: ignore[reportPrivateUsage]
        loss = session.loss
    else:
        loss = getattr(model, "loss", None)
    if not callable(loss):
        raise OptionError(
            f"gradients of a {type(model).__name__} without a loss",
            "a function of prediction and target",
            "loss=nn.CrossEntropyLoss(), for example",
        )
    return loss
