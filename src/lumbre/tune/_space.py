"""What may be tried: a plain dict, read and checked before the first trial."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lumbre._recipe import Recipe
from lumbre.base import OptionError, RecipeError, did_you_mean
from lumbre.run import check_hparams, options_from, short_name
from lumbre.steps import check_options

PARTS = ("hparams", "opt_hparams", "fit")
_OWN_OPTIONS = ("seed", "verbose")
_FORMS = "a list of choices, a pair (low, high), or lumbre.LogRange(low, high)"


@dataclass(frozen=True, slots=True)
class LogRange:
    """Numbers from `low` to `high`, drawn evenly on a logarithmic scale: as many below 0.01 as above in (1e-4, 1).

    Args:
        low: the least, greater than 0.
        high: the greatest. Two whole numbers give whole numbers.

    Raises:
        OptionError: the bounds are no numbers with 0 < low < high.

    Example:
        >>> import lumbre as lb
        >>> {"opt_hparams": {"lr": lb.LogRange(1e-4, 1e-1)}}
        {'opt_hparams': {'lr': LogRange(low=0.0001, high=0.1)}}
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (_number(self.low) and _number(self.high) and 0 < self.low < self.high):
            raise OptionError(f"{self!r}", "two numbers with 0 < low < high", "lumbre.LogRange(1e-4, 1e-1)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that varies from trial to trial.

    Attributes:
        part: where it goes: "hparams", "opt_hparams" or "fit".
        name: its name there.
        label: its name in frames, plots and the study.
        choices: what may be chosen, by what stands for it in the study; None for a range.
        low: the least value of a range.
        high: the greatest.
        log: the range is drawn on a logarithmic scale.
    """

    part: str
    name: str
    label: str
    choices: Mapping[Any, Any] | None = None
    low: float = 0
    high: float = 0
    log: bool = False

    @property
    def whole(self) -> bool:
        """A range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def value(self, drawn: Any) -> Any:
        """The value that a draw of the study stands for."""
        return drawn if self.choices is None else self.choices[drawn]


def read_space(space: Any, recipe: Recipe, options: Mapping[str, Any]) -> list[Parameter]:
    """The parameters of `space`, checked against what the module, the optimizer and `fit` take.

    Args:
        space: by part and name.
        recipe: what is tuned.
        options: of `fit`, the same for every trial.

    Raises:
        OptionError: the space is empty, names an unknown part or option, or a value is no form of a space.
        RecipeError: the module or the optimizer does not take a parameter.
    """
    parts = _parts(space)
    found = [(part, name, values) for part, named in parts.items() for name, values in named.items()]
    if not found:
        raise OptionError("an empty space", "at least one parameter to vary", _example())
    names = [name for _, name, _ in found]
    parameters = [
        _parameter(part, name, name if names.count(name) == 1 else f"{part}.{name}", values)
        for part, name, values in found
    ]
    _check_recipe(recipe, parts)
    _check_fit(parameters, options)
    return parameters


def settings(recipe: Recipe, parameters: list[Parameter], drawn: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with drawn values set, and the options of `fit` that were drawn."""
    values: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for parameter in parameters:
        values[parameter.part][parameter.name] = parameter.value(drawn[parameter.label])
    return recipe.set_hparams(**values["hparams"]).set_opt_hparams(**values["opt_hparams"]), values["fit"]


def _parts(space: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(space, Mapping):
        raise OptionError(f"a {type(space).__name__} as space", f"a dict with {', '.join(PARTS)}", _example())
    for part, named in space.items():
        if part not in PARTS:
            hint = did_you_mean(str(part), PARTS) or f'Say what {part} belongs to: {{"opt_hparams": {{"{part}": ...}}}}'
            raise OptionError(f"space with {part!r}", f"a dict with {', '.join(PARTS)}", hint.strip())
        if not isinstance(named, Mapping):
            raise OptionError(f"space[{part!r}] that is a {type(named).__name__}", "a dict by name", _example())
    return dict(space)


def _parameter(part: str, name: str, label: str, values: Any) -> Parameter:
    if isinstance(values, LogRange):
        return Parameter(part, name, label, low=values.low, high=values.high, log=True)
    if isinstance(values, list) and values:
        return Parameter(part, name, label, choices=_labelled(name, values))
    if isinstance(values, tuple) and len(values) == 2 and all(map(_number, values)) and values[0] < values[1]:
        return Parameter(part, name, label, low=values[0], high=values[1])
    fixed = (
        "" if isinstance(values, (list, tuple)) else f"; what is fixed is set in the recipe: .set_{part}({name}=...)"
    )
    if part == "fit" and fixed:
        fixed = f"; what is fixed is an option: tune(..., {name}=...)"
    raise OptionError(
        f"space[{part!r}][{name!r}] = {values!r}",
        _FORMS,
        f"[16, 32, 64], (0.0, 0.5) or lumbre.LogRange(1e-4, 1e-1){fixed}",
    )


def _labelled(name: str, values: list[Any]) -> dict[Any, Any]:
    """Choices by what stands for them: themselves where a study file can hold them, else their names."""
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in values)
    labels = values if plain else [value if isinstance(value, str) else short_name(value) for value in values]
    if len(set(labels)) < len(labels):
        raise OptionError(
            f"{name} with the choices {', '.join(map(str, labels))}",
            "choices that differ, and print differently",
            "remove the double ones; give objects a __repr__ that tells them apart",
        )
    return dict(zip(labels, values, strict=True))


def _check_recipe(recipe: Recipe, parts: Mapping[str, Mapping[str, Any]]) -> None:
    if isinstance(recipe.module, nn.Module):
        name = type(recipe.module).__name__
        raise RecipeError(
            f"tune() for a {name} that is built already",
            "a module class, which each trial builds afresh",
            f"setup({name}, ...) with the class, not setup({name}(...), ...)",
        )
    check_hparams(recipe.module, {**recipe.hparams, **parts.get("hparams", {})})
    varied = parts.get("opt_hparams", {})
    if recipe.optimizer is not None:
        check_options(recipe.optimizer, [name for name in (*recipe.opt_hparams, *varied) if name != "groups"])
        return
    configure: Callable[..., Any] | None = getattr(recipe.module, "configure_optimizers", None)
    if configure is not None:
        check_options(configure, [*recipe.opt_hparams, *varied])


def _check_fit(parameters: list[Parameter], options: Mapping[str, Any]) -> None:
    for parameter in parameters:
        if parameter.part != "fit":
            continue
        name = parameter.name
        if name in _OWN_OPTIONS:
            raise OptionError(f"space['fit'] with {name!r}", "options that make a difference", f"tune(..., {name}=...)")
        if name in options:
            raise OptionError(
                f"{name} in space['fit'] and as an option of tune()", "one of them", "leave one of them away"
            )
        for value in _samples(parameter):
            options_from({name: value})


def _samples(parameter: Parameter) -> Iterator[Any]:
    """Values to check: every choice, or both ends."""
    yield from (parameter.low, parameter.high) if parameter.choices is None else parameter.choices.values()


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _example() -> str:
    return '{"hparams": {"d_hidden": [16, 32, 64]}, "opt_hparams": {"lr": lumbre.LogRange(1e-4, 1e-1)}}'
