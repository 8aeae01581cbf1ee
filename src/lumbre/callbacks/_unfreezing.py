"""Train the head first, then one part of the body after the other."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from lumbre.base import OptionError, at_least, did_you_mean
from lumbre.core import Callback, Context


class GradualUnfreezing(Callback):
    """Hold parameters of the module still for some epochs, and let them join the training one group after the other.

    What no pattern names is held still for the whole run. A BatchNorm whose parameters are held still keeps its
    statistics too. After the run every parameter may be trained or not as before it.

    A parameter that is held still has no gradient, so that the optimizer passes over it: no momentum gathers and no
    weight decay pulls until it joins, with the learning rate of its parameter group.

    Args:
        plan: patterns, each with the number of epochs that it is held still (0: trained from the start); or a list of
            patterns, the first of which is trained from the start, and one more after every `every` epochs. A pattern
            is the name of a module or parameter, such as "body.layer4", or has wildcards, such as "body.layer[34]*". Of
            several patterns that fit a parameter, the one that frees it first holds.
        every: epochs between two patterns of a list.

    Raises:
        OptionError: at once for impossible values; when the run starts, for a pattern that fits no parameter, and where
            nothing is trained from the start.

    References:
        Howard and Ruder: Universal Language Model Fine-tuning for Text Classification, ACL 2018.

    Example:
        >>> import lumbre as lb
        >>> plan = lb.callbacks.GradualUnfreezing(
        ...     {"head": 0, "body.layer4": 3, "body.layer3": 5}
        ... )
        >>> same = lb.callbacks.GradualUnfreezing(
        ...     ["head", "body.layer4", "body.layer3"], every=2
        ... )
    """

    def __init__(self, plan: Mapping[str, int] | Iterable[str], *, every: int = 1) -> None:
        if isinstance(plan, str) or not isinstance(plan, Iterable):
            raise OptionError(f"plan={plan!r}", "a dict or a list of patterns", f"plan=[{plan!r}]")
        at_least(1, every=every)
        if not isinstance(plan, Mapping):
            plan = {pattern: index * every for index, pattern in enumerate(plan)}
        elif every != 1:
            raise OptionError(f"every={every} beside a plan with its own epochs", "one of the two", "leave `every` out")
        for pattern, epochs in plan.items():
            if not (isinstance(epochs, int) and epochs >= 0):
                raise OptionError(f"plan={{{pattern!r}: {epochs!r}}}", "0 epochs or more", f"{{{pattern!r}: 0}}")
        if not plan:
            raise OptionError("an empty plan", "at least one pattern", 'GradualUnfreezing(["head", "body"])')
        self.plan = dict(plan)
        self._frozen_epochs: list[tuple[nn.Parameter, int | None]] = []
        self._before: list[tuple[nn.Parameter, bool]] = []

    def on_fit_begin(self, ctx: Context) -> None:
        """Find the parameters that each pattern names, and hold still what is not trained from the start."""
        named = dict(ctx.model.named_parameters())
        for pattern in self.plan:
            if not any(_fits(pattern, name) for name in named):
                parts = [name.split(".")[:-1] for name in named]
                known = list(dict.fromkeys(".".join(part[: n + 1]) for part in parts for n in range(len(part))))
                raise OptionError(
                    f"the pattern {pattern!r}, which fits no parameter of {type(ctx.model).__name__}",
                    f"names of modules, such as {', '.join(known[:8])}, or of parameters, such as {next(iter(named))}",
                    f"{did_you_mean(pattern, [*known, *named])}Correct or remove it",
                )
        self._frozen_epochs = [
            (parameter, min((self.plan[pattern] for pattern in self.plan if _fits(pattern, name)), default=None))
            for name, parameter in named.items()
        ]
        if not any(epochs == 0 for _, epochs in self._frozen_epochs):
            first = min(self.plan, key=self.plan.__getitem__)
            raise OptionError(
                f"a plan that trains nothing in the first epoch: {self.plan}",
                "a pattern with 0 epochs",
                f"plan={{{first!r}: 0, ...}}",
            )
        self._before = [(parameter, parameter.requires_grad) for parameter in named.values()]

    def on_epoch_begin(self, ctx: Context) -> None:
        """Free what is due. It depends on the epoch alone, so that a run that goes on later needs no more."""
        for parameter, epochs in self._frozen_epochs:
            parameter.requires_grad_(epochs is not None and ctx.epoch > epochs)

    def on_train_begin(self, ctx: Context) -> None:
        """Keep the statistics of a BatchNorm that is held still."""
        for part in ctx.model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                parameters = list(part.parameters(recurse=False))
                if parameters and not any(parameter.requires_grad for parameter in parameters):
                    part.eval()

    def on_fit_end(self, ctx: Context) -> None:
        """Leave the parameters as free as they were."""
        for parameter, free in self._before:
            parameter.requires_grad_(free)
        self._frozen_epochs, self._before = [], []

    on_failure = on_fit_end


def _fits(pattern: str, name: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
