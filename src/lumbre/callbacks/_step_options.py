"""Settings of the step itself, given among the callbacks: they hold for every engine and listen to no event."""

from lumbre.base import OptionError, only_numbers
from lumbre.core import Callback


class GradientClip(Callback):
    """Bound the gradients before each update, at their true size also under float16.

    Args:
        max_norm: bring the norm of all gradients together down to this; None leaves the norm.
        norm_type: which norm: 2.0, 1.0 or float("inf").
        max_value: cut each gradient to [-max_value, max_value]; None leaves values.
        optimizer: clip the gradients of this one of several alone, by its name, with a norm of their own; a run may
            have a clip for each. None takes one norm over all gradients of a step.

    Raises:
        OptionError: a bound is not positive, or there is none; when the run starts, no optimizer has that name.

    References:
        Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks, 2013.

    Example:
        >>> import lumbre as lb
        >>> clip = lb.callbacks.GradientClip(max_norm=1.0)
    """

    optimizer: str | None = None

    def __init__(
        self,
        max_norm: float | None = 1.0,
        *,
        norm_type: float = 2.0,
        max_value: float | None = None,
        optimizer: str | None = None,
    ) -> None:
        bounds = {"max_norm": max_norm, "max_value": max_value, "norm_type": norm_type}
        only_numbers("a number above 0", 1.0, lambda bound: bound > 0, **bounds)
        if max_norm is None and max_value is None:
            raise OptionError("GradientClip without a bound", "max_norm, max_value or both", "GradientClip(1.0)")
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.max_value = max_value
        if optimizer is not None:  # where it is not, runs of before this option can go on
            self.optimizer = optimizer


class Accumulate(Callback):
    """Update once for several batches, as if they were one: a large batch where memory holds a small one.

    Rows weigh alike however they are cut into batches, and a group that the end of the epoch cuts short counts the
    rows it has. `ctx.step` counts updates. (BatchNorm still sees each batch by itself.)

    Args:
        batches: batches in a group, at least 1.

    Raises:
        OptionError: less than 1.

    Example:
        >>> import lumbre as lb
        >>> large = lb.callbacks.Accumulate(4)
    """

    def __init__(self, batches: int) -> None:
        if not isinstance(batches, int) or batches < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"Accumulate({batches!r})", "a whole number from 1", "Accumulate(4)")
        self.batches = batches
