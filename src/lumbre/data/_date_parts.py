"""Dates as microseconds, and what they say in numbers: year, days since the first one of the training, and places in
month, week and day."""

import datetime
import math
import re
import zoneinfo
from typing import Any, TypeAlias

import numpy as np

from lumbre.base import DataError

NO_DATE = np.iinfo(np.int64).min
"""Stands where a date is missing."""

_Array: TypeAlias = np.ndarray[Any, Any]
_DAY = 86_400_000_000  # microseconds
_THURSDAY = 3  # 1970-01-01, counted from Monday
_MICROS = {"D": _DAY, "h": _DAY // 24, "m": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
_MOST = 2**63 - 2  # the next number is infinity in PostgreSQL and DuckDB


def zone_name(zone: Any) -> str:
    """The name of a time zone, "" for none.

    One that never changes its clock is its distance from UTC, which libraries write as +02:00, UTC+02:00, Etc/GMT-2 or
    pytz.FixedOffset(120), and that of 0 as UTC, +00:00 or Etc/UTC.

    Args:
        zone: a zone of Python, or its name as a library writes it; None for none.
    """
    if not zone and not isinstance(zone, datetime.tzinfo):
        return ""
    if isinstance(zone, str):
        if re.fullmatch(r"(UTC)?[+-]\d\d:\d\d", zone):
            return "UTC" if zone[-5:] == "00:00" else f"UTC{zone[-6:]}"
        try:
            zone = zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            return zone
    distance = zone.utcoffset(None)
    return str(zone) if distance is None else str(datetime.timezone(distance))


def microseconds(name: str, values: _Array, unit: str) -> _Array:
    """Numbers of a unit since 1970 as microseconds, rounded down, int64 of shape (rows,); `NO_DATE` stays.

    Raises:
        DataError: a date is infinite, or lies beyond what 64 bits of microseconds count.
    """
    there = values != NO_DATE
    if unit == "ns":
        return np.where(there, values // 1000, NO_DATE)
    most = _MOST // _MICROS[unit]
    beyond = there & ((values > most) | (values < -most))
    if beyond.any():
        raise DataError(
            f"column {name!r} with {int(beyond.sum())} dates that are infinite, or beyond the year 290,000",
            "dates up to there, or missing values",
            "leave these rows out, or put a missing value in the place of such dates",
        )
    return np.where(there, values * _MICROS[unit], NO_DATE)


def micros_of(date: datetime.date) -> int:
    """A date of Python's, with or without a time of day, as the clock of its zone shows it, in microseconds."""
    clock = datetime.time()
    if isinstance(date, datetime.datetime):
        clock = datetime.time(date.hour, date.minute, date.second, date.microsecond)
    wall = datetime.datetime.combine(datetime.date(date.year, date.month, date.day), clock)
    return (wall - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)


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
