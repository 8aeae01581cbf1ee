"""`setup()` declares a run: what is trained, against which loss, with which optimizer."""

from collections.abc import Callable
from typing import Any, Never

from torch import nn, optim
from torch.optim.lr_scheduler import LRScheduler

from lumbre._recipe import Recipe
from lumbre.base import Loss, RecipeError, Response, no_more, own_method
from lumbre.metrics import as_sets
from lumbre.nets import Prepared
from lumbre.run import has_loss, no_loss, no_optimizer


def setup(
    module: Callable[..., nn.Module] | Prepared,
    *more: Never,
    loss: Loss | None = None,
    optimizer: Callable[..., optim.Optimizer] | None = None,
    metrics: Any = (),
    response: Response | None = None,
) -> Recipe:
    """Declare what to train, against which loss, with which optimizer.

    Args:
        module: a module class, which every `fit()` builds afresh; a callable that returns a module; or a module,
            which `fit()` then trains itself. It may define what is not given here: `loss(self, pred, target)`,
            `configure_optimizers(self, **opt_hparams)` (returns an optimizer), `predict(self, x)`,
            `response(self, pred)`. Or what `lumbre.nets.tabular(data)` or `lumbre.nets.vision(...)` gives, which brings
            all of them.
        *more: refused: the others have names.
        loss: a function of prediction and target that gives a scalar, for example `nn.CrossEntropyLoss()`.
        optimizer: a class of `torch.optim`, or a callable `(parameters, **options)`.
        metrics: metrics of lumbre or torchmetrics: one, several, or a dict that names them; or
            `lumbre.metrics.Sets(both, train=..., valid=...)`, where not all are for both passes.
        response: a function of a prediction that gives it on the scale of the target, on which `compare()`, plots,
            reports and the metrics of numbers look at it. Not needed for the losses of torch, of which lumbre knows it:
            `exp` of those of `nn.PoissonNLLLoss()`, for example, and probabilities for those of classes. Of a loss of
            your own it is seen where that calls one of these, or is least where `exp`, `expm1`, `softplus` or `sigmoid`
            of the prediction is the target.

    Raises:
        OptionError: there is more than one argument without a name.
        RecipeError: loss or optimizer are missing, or something is not what it should be.

    Example:
        >>> import lumbre as lb
        >>> from torch import nn, optim
        >>> lb.setup(
        ...     nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD, metrics=lb.metrics.MAE()
        ... )
        Recipe
          module: Linear
          loss: MSELoss()
          optimizer: SGD
          metrics: MAE
    """
    no_more(more, "setup(module)", "loss, optimizer and metrics by their names", "setup(Net, loss=..., optimizer=...)")
    if not callable(module):
        raise RecipeError(
            f"setup({module!r})",
            "a module class, a callable that returns a module, or a module",
            "setup(Net, ...)",
        )
    if isinstance(loss, type):
        raise RecipeError(
            f"loss={loss.__name__}, a class",
            "a loss function",
            f"loss={loss.__name__}() with parentheses",
        )
    if isinstance(optimizer, optim.Optimizer):
        kind = type(optimizer).__name__
        raise RecipeError(
            f"optimizer={kind}(...), over parameters of its own",
            "an optimizer class: fit() makes the optimizer for the module it builds",
            f"optimizer=torch.optim.{kind}, and .set_opt_hparams(lr=...)",
        )
    if isinstance(optimizer, type) and issubclass(optimizer, LRScheduler):
        raise RecipeError(
            f"optimizer={optimizer.__name__}, which changes the learning rate of an optimizer",
            "an optimizer class",
            f"optimizer=torch.optim.Adam, and lumbre.callbacks.LRScheduler({optimizer.__name__}, ...) in fit()",
        )
    if loss is not None and not callable(loss):
        named = _LOSSES.get(str(loss).lower().replace("_", ""), "MSELoss")
        raise RecipeError(f"loss={loss!r}", "a function of prediction and target", f"loss=torch.nn.{named}()")
    if optimizer is not None and not callable(optimizer):
        named = _OPTIMIZERS.get(str(optimizer).lower(), "Adam")
        raise RecipeError(f"optimizer={optimizer!r}", "an optimizer class", f"optimizer=torch.optim.{named}")
    if response is not None and not callable(response):
        raise RecipeError(f"response={response!r}", "a function of a prediction", "response=torch.exp")
    if isinstance(module, Prepared):
        return Recipe(
            module=module.module,
            loss=loss or module.loss,
            optimizer=optimizer or module.optimizer,
            metrics=as_sets(metrics) or as_sets(module.metrics),
            hparams=dict(module.hparams),
            opt_hparams={} if optimizer else dict(module.opt_hparams),
            response=response,
        )
    known = isinstance(module, (type, nn.Module))
    name = getattr(module, "__name__", type(module).__name__)
    if loss is None and known and not has_loss(module):
        raise no_loss(name)
    if optimizer is None and known and not own_method(module, "configure_optimizers"):
        raise no_optimizer(name)
    return Recipe(module=module, loss=loss, optimizer=optimizer, metrics=as_sets(metrics), response=response)


# How other libraries name losses and optimizers.
_LOSSES = {
    "mae": "L1Loss",
    "l1": "L1Loss",
    "huber": "HuberLoss",
    "crossentropy": "CrossEntropyLoss",
    "categoricalcrossentropy": "CrossEntropyLoss",
    "sparsecategoricalcrossentropy": "CrossEntropyLoss",
    "bce": "BCEWithLogitsLoss",
    "binarycrossentropy": "BCEWithLogitsLoss",
    "poisson": "PoissonNLLLoss",
    "nll": "NLLLoss",
}
_OPTIMIZERS = {name.lower(): name for name in ("AdamW", "SGD", "RMSprop", "Adagrad", "LBFGS")}
