"""The figures of docs/understand.md, measured anew: `make judge`, or `python -m tests.judge LB131 conformal`.

It prints a table, and ends with 1 where a figure is not what it should be. Words choose lines by their beginnings.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import beta
from tests.fitted import test_effects, test_importance, test_intervals, test_suspects
from tests.judge.situations import SITUATIONS, Situation

MOST_ALARMS, LEAST_POWER = 0.02, 0.9


class Figure(NamedTuple):
    """A line of the table: what is measured, what it should be, and the measuring, which says what it is."""

    name: str
    wanted: str
    seeds: str
    measure: Callable[[], tuple[str, bool]]


def rate(one: Situation) -> tuple[str, bool]:
    """How often a check speaks, with the exact 95 % interval of Clopper and Pearson."""
    times = one.alarms(one.seeds)
    low = 0.0 if times == 0 else beta.ppf(0.025, times, one.seeds - times + 1)
    high = 1.0 if times == one.seeds else beta.ppf(0.975, times + 1, one.seeds - times)
    good = times >= LEAST_POWER * one.seeds if one.fault else times <= MOST_ALARMS * one.seeds
    return f"{times / one.seeds:.1%} ({low:.1%} to {high:.1%})", good


def importance(name: str) -> tuple[str, bool]:
    ours, mean, spread = test_importance.beside_scikit_learn(name)
    furthest = float((np.abs(ours - mean) / (spread + 1e-4)).max())
    return f"{furthest:.2f} of its spread", furthest <= 1


def noise(metric: str) -> tuple[str, bool]:
    covered = test_importance.times_noise_is_covered(metric)
    return f"{covered} of 100", covered >= 93


def coverage(data: Callable[[], tuple]) -> tuple[str, bool]:
    share = test_intervals.coverage(*data(), 0.9)
    return f"{share:.1%}", abs(share - 0.9) <= 0.02


def slopes() -> tuple[str, bool]:
    frame = test_effects.weighed()
    found = test_effects.linear_net(frame).effects(frame).frame().set_index("feature")["slope"]
    wanted = test_effects.least_squares(frame)
    furthest = max(abs(found[name] - wanted[other]) for name, other in test_effects.NAMES.items())
    return f"{furthest:.1g}", furthest <= 1e-3


def suspects() -> tuple[str, bool]:
    root = Path(os.environ.get("LUMBRE_DATA", ""))
    if (root / "mnist").is_dir():
        precision = test_suspects.precision_on_mnist(root)
        return f"{precision:.2f}", precision >= 0.8
    return "not measured: LUMBRE_DATA names no folder that holds mnist/", True


def figures() -> Iterator[Figure]:
    for name in test_importance.SETS:
        yield Figure(f"importance of {name}, from scikit-learn's", "1 or less", "1", lambda name=name: importance(name))
    for metric in ("loss", "mae"):
        yield Figure(f"noise: interval in {metric} covers 0", "93 or more", "100", lambda metric=metric: noise(metric))
    for data in (test_intervals.simulated, test_intervals.real):
        yield Figure(
            f"conformal intervals, {data.__name__} data", "88 to 92 %", "200", lambda data=data: coverage(data)
        )
    yield Figure("slopes, from least squares", "0.001 or less", "1", slopes)
    yield Figure("suspects of MNIST, precision at recall 0.8", "0.8 or more", "1", suspects)
    for one in SITUATIONS:
        wanted = "90 % or more" if one.fault else "2 % or less"
        yield Figure(f"{one.code} {one.name}", wanted, f"{one.seeds:,}", lambda one=one: rate(one))


def main(words: list[str]) -> int:
    print("| figure | should be | seeds | is |\n|---|---|---|---|", flush=True)
    failed = 0
    for one in figures():
        if words and not one.name.startswith(tuple(words)):
            continue
        said, good = one.measure()
        failed += not good
        print(f"| {one.name} | {one.wanted} | {one.seeds} | {said}{'' if good else ' **no**'} |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
