"""Whether the best values of a search lie at an edge of its space, where it may be that better ones lie beyond."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lumbre.preflight import Finding, found_after
from lumbre.tune._space import Parameter

_Array = np.ndarray[Any, Any]
_NEAR = 0.1
_CLEAR = 3.0
_LEAST_FREEDOM = 5


class Ended(NamedTuple):
    """A trial that ended: its parameters, and its monitored value; None where it was given up before the end."""

    drawn: dict[str, Any]
    value: float | None


def at_edges(trials: Sequence[Ended], parameters: Sequence[Parameter], mode: str) -> Iterator[Finding]:
    """A finding for each parameter of the best trial that lies at an edge towards which the values get better."""
    numbers = [one for one in parameters if _is_number(one)]
    whole = [one for one in trials if all(each.label in one.drawn for each in numbers)]
    if not numbers or all(one.value is None for one in whole):
        return
    worst = np.inf if mode == "min" else -np.inf  # those given up; where in their course they were differs
    values = np.array([worst if one.value is None else one.value for one in whole])
    places = np.array([[_place(each, one.drawn[each.label]) for each in numbers] for one in whole])
    best = whole[int((values if mode == "min" else -values).argmin())]
    for number, upper in towards_edges(values if mode == "min" else -values, places):
        one = numbers[number]
        low, high = _ends(one)
        if _is_last(one, upper=upper):
            continue
        edge, drawn = high if upper else low, one.value(best.drawn[one.label])
        yield found_after(
            "LB136",
            f"a best value of {one.label}={_short(drawn)} at the {'upper' if upper else 'lower'} end of {_short(low)} "
            f"to {_short(high)}, towards which trials get better",
            "a best value inside the space, with worse ones on both sides",
            f"a space that goes beyond {_short(edge)} for {one.label}; a new study, as this one keeps its space",
        )


def towards_edges(values: _Array, places: _Array) -> list[tuple[int, bool]]:
    """The parameters at whose edge the best trial lies while values get better towards it, and whether it is the upper.

    The best must be in the outermost tenth. And in a regression of the values' ranks on all parameters and their
    squares the slope at this place must lead outwards, clear of 0 by 3 standard errors: chance leads to an edge, too.

    Args:
        values: of the trials, less is better, shape (trials,).
        places: from 0 to 1 inside the range of each parameter, shape (trials, parameters).
    """
    trials, count = places.shape
    table = np.column_stack([np.ones(trials), places, places**2])
    freedom = trials - np.linalg.matrix_rank(table)
    if freedom < _LEAST_FREEDOM:
        return []
    _, order, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[order]  # equal values share theirs
    inverse = np.linalg.pinv(table.T @ table)
    weights = inverse @ (table.T @ ranks)
    variance = float(((ranks - table @ weights) ** 2).sum() / freedom)
    found: list[tuple[int, bool]] = []
    for number, place in enumerate(places[values.argmin()].tolist()):
        slope = np.zeros(table.shape[1])
        slope[1 + number], slope[1 + count + number] = 1, 2 * place
        outwards = 1 if place >= 0.5 else -1
        gain = -outwards * float(slope @ weights)
        if min(place, 1 - place) <= _NEAR and gain > _CLEAR * (variance * float(slope @ inverse @ slope)) ** 0.5:
            found.append((number, place >= 0.5))
    return found


def _is_number(one: Parameter) -> bool:
    """A range, or three choices or more that are numbers: of two, one end is always the best."""
    if one.choices is None:
        return True
    values = one.choices.values()
    return len(values) > 2 and all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values)


def _ends(one: Parameter) -> tuple[float, float]:
    return (one.low, one.high) if one.choices is None else (min(one.choices.values()), max(one.choices.values()))


def _place(one: Parameter, drawn: Any) -> float:
    """Where a value lies, from 0 to 1; of choices their order counts."""
    if one.choices is not None:
        ordered = sorted(one.choices.values())
        return ordered.index(one.value(drawn)) / (len(ordered) - 1)
    low, high, value = np.log([one.low, one.high, drawn]) if one.log else (one.low, one.high, drawn)
    return float((value - low) / (high - low))


def _is_last(one: Parameter, *, upper: bool) -> bool:
    """Whether nothing lies beyond an edge: shares end at 0 and 1, counts at 1."""
    low, high = _ends(one)
    if upper:
        return high == 1 and low >= 0 and isinstance(high, float)
    return low == 0 or (low == 1 and isinstance(low, int))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
