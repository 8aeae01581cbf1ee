"""Runs the corpus: which mistakes are found, whether the right cause is named, and what is said of sound programs."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from corpus.program import CASES, GROWN, HEALTHY, Case, Program
from lumbre import PreflightError, PreflightWarning

SEEDS = range(5)
_CODE = re.compile(r"LB\d{3}")
EXAMPLES = Path(__file__).parents[3] / "examples"

_WITH_WARNINGS_AS_ERRORS = """
import runpy, sys, warnings, lumbre
warnings.simplefilter("error", lumbre.PreflightWarning)
sys.argv = [sys.argv[1], "--quick"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def checked(program: Program) -> list[tuple[str, str]]:
    """(code, severity) of what `recipe.check` finds."""
    found = program.recipe.check(program.data, test_data=program.test, **program.options)
    return sorted((finding.code, finding.severity) for finding in found)


def fitted(program: Program, epochs: int = 3) -> list[tuple[str, str]]:
    """(code, severity) of what `recipe.fit` says before and during some epochs, or as many as the program sets."""
    said: list[tuple[str, str]] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            done = program.recipe.fit(program.data, **{"epochs": epochs, "verbose": False, **program.options})
            said += [(line.partition(" ")[0], "warning") for line in done.remarks]
        except PreflightError as error:
            said += [(_CODE.findall(str(error))[0], "error")]
        except Exception as error:
            said += [(type(error).__name__, "error")]
    found = [str(one.message) for one in caught if issubclass(one.category, PreflightWarning)]
    return sorted([*said, *((_CODE.findall(text)[0], "warning") for text in found)])


def run_grown(
    half: str,
    look: Callable[[Program], list[tuple[str, str]]],
    seeds: Iterable[int] = SEEDS,
    cases: Iterable[Case] = GROWN,
) -> list[Row]:
    """The later pairs of a half."""
    rows: list[Row] = []
    for case in cases:
        if case.half == half:
            row = Row(case.name, case.half, case.codes)
            for seed in seeds:
                row.broken.append(look(made(case, True, seed)))
                row.sound.append(look(made(case, False, seed)))
            rows.append(row)
    return rows


def grown_table(results: dict[tuple[str, str], list[Row]]) -> str:
    """The figures of the later pairs by (half, how)."""
    lines = ["| | right cause named | any finding | sound twins with an error or warning |", "|---|---|---|---|"]
    for (half, how), rows in results.items():
        named = sum(2 * row.named > len(row.broken) for row in rows)
        found = sum(2 * row.found > len(row.broken) for row in rows)
        false = sum(any(kind != "hint" for one in row.sound for _, kind in one) for row in rows)
        cells = (share(one, len(rows)) for one in (named, found, false))
        lines.append(f"| {half}, `{how}()` | {' | '.join(cells)} |")
    return "\n".join(lines)


def made(case: Case, broken: bool, seed: int) -> Program:
    torch.manual_seed(seed)
    program = case.make(broken, torch.Generator().manual_seed(seed))
    program.options["seed"] = seed
    return program


@dataclass
class Row:
    """What the seeds gave for one program."""

    name: str
    half: str
    codes: tuple[str, ...] = ()
    broken: list[list[tuple[str, str]]] = field(default_factory=list)
    sound: list[list[tuple[str, str]]] = field(default_factory=list)

    @property
    def found(self) -> int:
        """Seeds of the broken program with an error or warning."""
        return sum(any(kind != "hint" for _, kind in one) for one in self.broken)

    @property
    def named(self) -> int:
        """Seeds of the broken program in which an error or warning names the right cause."""
        return sum(any(code in self.codes and kind != "hint" for code, kind in one) for one in self.broken)

    @property
    def hinted(self) -> int:
        """Seeds of the broken program in which the right cause is named, if only as a hint."""
        return sum(any(code in self.codes for code, _ in one) for one in self.broken)

    @property
    def false(self) -> int:
        """Seeds of the sound program with a finding."""
        return sum(bool(one) for one in self.sound)

    @property
    def flips(self) -> bool:
        """Whether the codes depend on the seed."""
        return any(len({tuple(one) for one in runs}) > 1 for runs in (self.broken, self.sound))


def run(seeds: Iterable[int] = SEEDS, half: str | None = None) -> list[Row]:
    """Every pair, and with `half` None or "sound" the further sound programs."""
    rows: list[Row] = []
    for case in CASES:
        if half in (None, case.half):
            row = Row(case.name, case.half, case.codes)
            for seed in seeds:
                row.broken.append(checked(made(case, True, seed)))
                row.sound.append(checked(made(case, False, seed)))
            rows.append(row)
    if half in (None, "sound"):
        for name, make in HEALTHY.items():
            row = Row(name, "sound")
            for seed in seeds:
                torch.manual_seed(seed)
                program = make(torch.Generator().manual_seed(seed))
                program.options["seed"] = seed
                row.sound.append(checked(program))
            rows.append(row)
    return rows


def examples() -> dict[str, str]:
    """The programs of `examples/`, run with the checks' warnings as errors: the last line of each that fails, or ""."""
    ended: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("tutorials/*.py")]):
            command = [sys.executable, "-c", _WITH_WARNINGS_AS_ERRORS, str(path)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            last = done.stderr.strip().splitlines()[-1:] or ["failed"]
            ended[str(path.relative_to(EXAMPLES))] = last[0] if done.returncode else ""
    return ended


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson."""
    if not n:
        return 0.0, 1.0
    z, p = 1.96, hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def share(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{hits} of {n} ({hits / max(n, 1):.0%}; {low:.0%} to {high:.0%})"


def table(rows: list[Row]) -> str:
    """The figures as a table for the docs. A program counts as found where most seeds find it."""
    lines = ["| | develop | frozen | further sound |", "|---|---|---|---|"]
    halves = {half: [row for row in rows if row.half == half] for half in ("develop", "frozen", "sound")}

    def line(name: str, cell) -> None:
        lines.append(f"| {name} | " + " | ".join(cell(part, half) for half, part in halves.items()) + " |")

    def most(row: Row, count: int) -> bool:
        return 2 * count > len(row.broken)

    def of_broken(pick):
        return lambda part, half: (
            "-" if half == "sound" else share(sum(most(row, pick(row)) for row in part), len(part))
        )

    line("mistakes found", of_broken(lambda row: row.found))
    line("right cause named", of_broken(lambda row: row.named))
    line("the same, hints counted", of_broken(lambda row: row.hinted))

    def of_sound(severity: str):
        def cell(part: list[Row], _: str) -> str:
            wrong = sum(any(kind == severity for one in row.sound for _, kind in one) for row in part)
            return share(wrong, len(part))

        return cell

    line("sound programs with an error", of_sound("error"))
    line("sound programs with a warning", of_sound("warning"))
    line("sound programs with a hint", of_sound("hint"))
    line(
        "programs whose findings depend on the seed", lambda part, _: f"{sum(row.flips for row in part)} of {len(part)}"
    )
    return "\n".join(lines)


def missed(rows: list[Row]) -> str:
    """The mistakes whose cause is not named in every seed, and what is said of sound programs."""
    said = [
        f"{row.half} {row.name}: cause named in {row.named} of {len(row.broken)}, {row.broken[0]}"
        for row in rows
        if row.broken and row.named < len(row.broken)
    ]
    said += [f"{row.half} {row.name}: sound, {row.sound}" for row in rows if row.false]
    return "\n".join(said)
