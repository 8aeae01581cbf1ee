"""Find the parameter in which numbers stop being numbers."""

from collections.abc import Iterator

from torch import Tensor, nn

from lumbre.base import NonFiniteLossError, at_least
from lumbre.core import Callback, Context


class NaNGuard(Callback):
    """Stop the run when a gradient spoils a weight, and name the first parameter that is not finite.

    Every run stops by itself at a loss that is not finite. But a finite loss may have gradients that are not, as that
    of `sqrt` has at 0: then the weights are spoiled, and only the loss of the next step tells, without saying where it
    began. And running statistics, such as BatchNorm's, may become infinite while the training loss stays finite. This
    guard looks at all parameters and buffers after each step, which waits for the device: use it to find a fault.

    Args:
        every: steps between two looks. Above 1 the loss of a later step may stop the run first.

    Raises:
        OptionError: less than 1.
        NonFiniteLossError: during the run.

    Example:
        >>> import lumbre as lb
        >>> guard = lb.callbacks.NaNGuard()
    """

    def __init__(self, every: int = 1) -> None:
        at_least(1, every=every)
        self.every = every
        self._infinite_by_design: set[str] = set()

    def on_fit_begin(self, ctx: Context) -> None:
        """Leave buffers aside that are not finite from the start, as a mask of attention scores."""
        self._infinite_by_design = {name for name, value in ctx.model.named_buffers() if not value.isfinite().all()}

    def on_train_batch_end(self, ctx: Context) -> None:
        """Look, if it is time."""
        if ctx.batch_index % self.every:
            return
        tensors = [value for _, value in self._watched(ctx.model)]
        # The largest magnitude of all: one number to wait for, and it does not overflow as a sum of squares would.
        if tensors and not nn.utils.get_total_norm(tensors, float("inf")).isfinite():
            raise self._error(ctx)

    def _error(self, ctx: Context) -> NonFiniteLossError:
        bad = [(name, value) for name, value in self._watched(ctx.model) if not value.isfinite().all()]
        name, value = bad[0]
        spoiled = int((~value.isfinite()).sum())
        gradients = [
            name
            for name, parameter in ctx.named_parameters().items()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
        cause = f"; so is the gradient of {', '.join(gradients[:5])}" if gradients else ""
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        return NonFiniteLossError(
            f"{name}, in which {spoiled} of {value.numel()} values are not finite{more}, "
            f"after step {ctx.batch_index} of epoch {ctx.epoch}{cause}",
            "finite weights",
            "look at what its layer does to zeros and large values (sqrt, log, division, norms of zero), "
            "lower the learning rate, or add lumbre.callbacks.GradientClip",
        )

    def _watched(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            number = value.is_floating_point() or value.is_complex()
            if number and value.numel() and name not in self._infinite_by_design:
                yield name, value.detach()
