"""Fine-tuning: the head first, then all of a net, with lower rates for its first layers."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lumbre.base import OptionError, RecipeError, at_least
from lumbre.callbacks import GradualUnfreezing, LearningRate
from lumbre.callbacks._schedules import Schedule, one_cycle
from lumbre.fitted import Fitted
from lumbre.run import Spec, callback_list
from lumbre.trials._several import FitOf

Parts: TypeAlias = Sequence[str | Sequence[str]]
"""Patterns of the parts of a net, from the head towards the first layers; several may make one part."""


def fine_tune(
    recipe: Spec,
    fit: FitOf,
    data: Any,
    options: Mapping[str, Any],
    *,
    epochs: int,
    frozen: int,
    parts: Parts | None,
    spread: float,
) -> Fitted:
    """Train the head for `frozen`, then all for `epochs`; the arguments are those of `Recipe.fine_tune`.

    Raises:
        OptionError: a value is impossible.
        RecipeError: the parts are not known, or there is no learning rate.
    """
    for name, value in (("epochs", epochs), ("frozen", frozen)):
        if not isinstance(value, int):
            raise OptionError(f"{name}={value!r}", "a whole number of epochs", f"{name}=1")
    at_least(1, epochs=epochs)
    at_least(0, frozen=frozen)
    if not isinstance(spread, (int, float)) or not spread >= 1:
        raise OptionError(f"spread={spread!r}", "by how much the head learns faster, from 1", "spread=100")
    known = _known(recipe, parts)
    callbacks: list[Any] = [LearningRate(fine_tuning(frozen / (frozen + epochs)))]
    if frozen:
        callbacks.append(GradualUnfreezing({**dict.fromkeys(known[0], 0), "*": frozen}))
    given = {**options, "callbacks": [*callback_list(options.get("callbacks", ())), *callbacks]}
    return fit(_with_rates(recipe, known, spread), data, epochs=frozen + epochs, **given)


def fine_tuning(share: float) -> Schedule:
    """Up to the full rate while the body is frozen, for a share of the steps; then one cycle at half of it.

    Both are those of fastai's `Learner.fine_tune` (Howard and Gugger, "fastai: A Layered API for Deep Learning", 2020).
    """
    head, every = one_cycle(warmup=0.99), one_cycle(start=1 / 5, end=1e-5)

    def factor(step: int, total_steps: int) -> float:
        first = round(share * total_steps)
        return head(step, first) if step < first else 0.5 * every(step - first, total_steps - first)

    return factor


def _known(recipe: Spec, parts: Parts | None) -> list[list[str]]:
    """The parts, each as a list of patterns.

    Raises:
        RecipeError: nobody says them.
    """
    known: Any = getattr(recipe.module, "parts", None) if parts is None else parts
    if isinstance(known, (list, tuple)) and known and all(isinstance(one, (str, list, tuple)) for one in known):
        return [[one] if isinstance(one, str) else list(one) for one in known]
    raise RecipeError(
        f"fine_tune(...) with parts={parts!r}" if parts is not None else "fine_tune(...) of a module of your own",
        "the parts of the net by their names, from the head towards the first layers; the rest learns slowest",
        'parts=["head", "body.layer4", "body.layer3"]; lumbre.nets.vision(...) knows them',
    )


def _with_rates(recipe: Spec, parts: list[list[str]], spread: float) -> Spec:
    """The recipe with a learning rate for each part, in equal ratios; what is in none, and the last, has the lowest.

    Groups that the recipe has already stay as they are.
    """
    rate = recipe.opt_hparams.get("lr")
    if not isinstance(rate, (int, float)):
        raise RecipeError(
            f"fine_tune(...) of a recipe with the learning rate {rate!r}",
            "the learning rate of the head, from which the others follow",
            "recipe.set_opt_hparams(lr=2e-3)",
        )
    if "groups" in recipe.opt_hparams:
        return recipe
    rates = [rate * spread ** (-depth / len(parts)) for depth in range(len(parts))]
    groups = {pattern: {"lr": its} for its, part in zip(rates, parts, strict=True) for pattern in part}
    return recipe.set_opt_hparams(lr=rate / spread, groups=groups)
