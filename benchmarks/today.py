"""Another commit beside this tree: CPU time of lumbre's trainings in both, `python -m benchmarks.today --base COMMIT`.

The commit's `src` is checked out into a temporary folder. The works and what times them are this tree's for both
(`benchmarks/peers`), so that only lumbre differs. In each round both train once, in an order drawn anew, each in a
warm process of its own; processes are started anew several times, since where a process lies in memory alone can
make it faster by some percent.

A ratio is the base's CPU time over the tree's in the same round: above 1 the tree is faster. On a busy machine single
rounds differ by a third; look at the median and its interval, and take more rounds where the interval is too wide to
tell. `taskset -c 1 make bench-today BASE=main` keeps both on one core.
"""

import argparse
import contextlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from benchmarks.peers.__main__ import ROOT, Child
from benchmarks.peers.report import machine
from benchmarks.peers.works import WORKS, Work

LONG = ("long",)  # asked for by name


@contextlib.contextmanager
def checked_out(commit: str) -> Generator[Path]:
    """The tree of a commit, for as long as this lasts."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "base")
        _git("worktree", "add", "--quiet", "--detach", str(place), commit)
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place))


def sizes(work: Work, most_steps: int | None) -> tuple[int, int]:
    """Rows and epochs of a training, shortened to at most so many steps."""
    if most_steps is None:
        return work.rows, work.epochs
    epochs = min(work.epochs, 2, most_steps)
    return min(work.rows, most_steps // epochs * work.batch), epochs


Seconds = dict[str, dict[str, list[float]]]


def play(sides: dict[str, Path], given: argparse.Namespace, seconds: Seconds) -> None:
    """Add the CPU seconds of each training to `seconds`, by work and side, in the order of the rounds."""
    dice = random.Random(given.seed)
    for start in range(given.starts):
        with tempfile.TemporaryDirectory() as cache:
            children: dict[str, Child] = {}
            try:
                for side, source in sides.items():
                    children[side] = Child("lumbre", given.threads, str(Path(cache, side)), source)
                    if not Path(children[side].start["file"]).is_relative_to(source):
                        raise RuntimeError(f"lumbre came from {children[side].start['file']} instead of {source}")
                for work in given.works:
                    rows, epochs = sizes(WORKS[work], given.steps)
                    for child in children.values():
                        child.ask(work=work, rows=rows, epochs=epochs, root=given.mnist)
                    for number in range(given.rounds):
                        order = dice.sample(list(sides), len(sides))
                        took = {side: children[side].ask(seed=given.seed + number)["cpu"] for side in order}
                        for side in sides:
                            seconds.setdefault(work, {}).setdefault(side, []).append(took[side])
                    print(f"{work}, start {start + 1} of {given.starts}", file=sys.stderr, flush=True)
            finally:
                for child in children.values():
                    child.close()


def interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies with 95 % confidence, whatever the distribution; wider than that for five values."""
    ordered = sorted(values)
    out = math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered)))
    return ordered[max(0, out)], ordered[len(ordered) - 1 - max(0, out)]


def page(seconds: Seconds, given: argparse.Namespace, load: str) -> str:
    lines = [
        f"{machine()}; {given.threads} thread(s); load average {load}. Base: {given.base}. CPU seconds of a training "
        "(median), and base / tree by round: above 1 the tree is faster. The last column compares the fastest rounds.",
        "",
        "| work | steps | base s | tree s | median | 95 % interval | least | most | n | fastest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for work, times in seconds.items():
        rows, epochs = sizes(WORKS[work], given.steps)
        base, tree = times["base"], times["tree"]
        ratios = [before / now for before, now in zip(base, tree, strict=True)]
        low, high = interval(ratios)
        cells = [
            f"{-(-rows // WORKS[work].batch) * epochs:,}",
            *(f"{statistics.median(one):.2f}" for one in (base, tree)),
            f"{statistics.median(ratios):.3f}",
            f"{low:.3f}-{high:.3f}",
            *(f"{one:.3f}" for one in (min(ratios), max(ratios))),
            str(len(ratios)),
            f"{min(base) / min(tree):.3f}",
        ]
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.today", description=__doc__)
    parser.add_argument("--base", required=True, help="a commit, branch or tag")
    parser.add_argument("--works", nargs="+", choices=list(WORKS), metavar="WORK", help="all but the longest")
    parser.add_argument("--rounds", type=int, default=5, help="in each pair of processes")
    parser.add_argument("--starts", type=int, default=2, help="pairs of processes, one after the other")
    parser.add_argument("--steps", type=int, help="the most of a training; those of the works where not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mnist", help="the folder that holds the folder mnist; synthetic images where not given")
    parser.add_argument("--out", type=Path, help="a JSON file for every time that was taken")
    given = parser.parse_args()
    given.works = given.works or [work for work in WORKS if work not in LONG]
    load = f"{os.getloadavg()[0]:.1f} at first"
    seconds: Seconds = {}
    with checked_out(given.base) as base, contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: what was measured so far
        play({"base": base / "src", "tree": ROOT / "src"}, given, seconds)
    load += f", {os.getloadavg()[0]:.1f} at last"
    if given.out is not None:
        given.out.write_text(json.dumps({"machine": machine(), "base": given.base, "load": load, "seconds": seconds}))
    print(page(seconds, given, load))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
