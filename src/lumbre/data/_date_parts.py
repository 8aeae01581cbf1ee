"""What a date says in numbers: year, days since the first one of the training, and places in month, week and day."""

import math
from typing import Any, TypeAlias

import numpy as np

_Array: TypeAlias = np.ndarray[Any, Any]
_DAY = 86_400_000_000  # microseconds
_THURSDAY = 3  # 1970-01-01, counted from Monday


def has_clock(micros: _Array) -> bool:
    """Whether any of the dates has a time of day."""
    return bool((micros % _DAY != 0).any())


def years(micros: _Array) -> _Array:
    """The year of each, float64 of shape (rows,)."""
    return (_days(micros).astype("datetime64[Y]").astype(np.int64) + 1970).astype(np.float64)


def days_since(micros: _Array, origin: int) -> _Array:
    """Days since `origin`, with their fraction, float64 of shape (rows,)."""
    return (micros - origin) / _DAY


def circles(micros: _Array, *, clock: bool) -> list[_Array]:
    """Sine and cosine of the places in the year (by month), in the week (by day) and, with `clock`, in the day.

    So December lies beside January, Sunday beside Monday, and 23 o'clock beside 0.
    """
    days = _days(micros)
    places = [
        days.astype("datetime64[M]").astype(np.int64) % 12 / 12,
        (micros // _DAY + _THURSDAY) % 7 / 7,
        *([micros % _DAY / _DAY] if clock else []),
    ]
    return [function(2 * math.pi * place) for place in places for function in (np.sin, np.cos)]


def _days(micros: _Array) -> _Array:
    return (micros // _DAY).astype("datetime64[D]")
