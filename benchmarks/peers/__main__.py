"""Plays rounds: in each, every contender trains once, in an order drawn anew, each in a warm process of its own."""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import NAMES
from benchmarks.peers.report import machine, table, write_report
from benchmarks.peers.works import WORKS, Work, digits, flat_digits

ROOT = Path(__file__).parents[2]


class Child:
    """A contender in its process; with the lumbre of another tree where `source` is its folder `src`."""

    def __init__(self, name: str, threads: int, cache: str, source: Path | None = None) -> None:
        counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
        # Compilation starts cold, whatever this machine has compiled before.
        caches = {"TORCHINDUCTOR_CACHE_DIR": str(Path(cache, name))}
        paths = {} if source is None else {"PYTHONPATH": str(source)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.child", name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **counts, **caches, **paths},
        )
        self.start = self._answer()

    def ask(self, **values: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(values), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def play(work_name: str, children: dict[str, Child], given: argparse.Namespace) -> dict[str, Any]:
    """All rounds of a work."""
    work = WORKS[work_name]
    rows, epochs = sizes(work, given)
    names = [*(work.contenders or NAMES), *work.beside]
    absent = {name: child.start["missing"] for name, child in children.items() if "missing" in child.start}
    playing = {name: child for name, child in children.items() if name in names and name not in absent}
    scale: dict[str, float] = {}
    for name, child in list(playing.items()):
        own = epochs if name == "lumbre" else max(1, epochs // work.share)
        scale[name] = epochs / own
        ready = child.ask(work=work_name, rows=rows, epochs=own, root=given.mnist)
        if "unsupported" in ready:
            absent[name] = ready["unsupported"]
            del playing[name]
    rounds: list[dict[str, Any]] = []
    dice = random.Random(given.seed)
    for number in range(given.rounds):
        order = list(playing)
        dice.shuffle(order)
        found: dict[str, Any] = {"load": os.getloadavg()[0]}
        for name in order:
            result = playing[name].ask(seed=given.seed + number)
            found[name] = {**result, **{clock: result[clock] * scale[name] for clock in ("wall", "cpu")}}
        rounds.append(found)
    return {
        "work": work_name,
        "title": work.title,
        "steps": -(-rows // work.batch) * epochs,
        "rows": rows,
        "batch": work.batch,
        "epochs": epochs,
        "share": work.share,
        "precision": work.precision,
        "data": data_of(work_name, given.mnist),
        "threads": given.threads,
        "seed": given.seed,
        "quick": given.quick,
        "machine": machine(),
        "versions": {name: child.start["version"] for name, child in playing.items()},
        "import_seconds": {name: child.start["import_seconds"] for name, child in playing.items()},
        "absent": absent,
        "rounds": rounds,
    }


def sizes(work: Work, given: argparse.Namespace) -> tuple[int, int]:
    if given.quick:
        return min(work.rows, 8 * work.batch), min(work.epochs, 2)
    if given.full and work.full_rows is not None:
        return work.full_rows, 2
    return work.rows, work.epochs


def data_of(work: str, root: str | None) -> str:
    if WORKS[work].data not in (digits, flat_digits):
        return "as in works.py"
    return "MNIST" if root and Path(root, "mnist").is_dir() else "synthetic, of MNIST's shape"


def play_all(works: list[str], names: list[str], given: argparse.Namespace) -> None:
    """Works one after the other, with the same processes."""
    children: dict[str, Child] = {}
    with tempfile.TemporaryDirectory() as cache:
        try:
            for name in names:
                children[name] = Child(name, given.threads, cache)
            for work in works:
                began = time.perf_counter()
                result = play(work, children, given)
                (given.out / f"{work}.json").write_text(json.dumps(result, indent=1) + "\n")
                print(table(result))
                print(f"({time.perf_counter() - began:.0f} s)\n", flush=True)
        finally:
            for child in children.values():
                child.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS), metavar="WORK")
    parser.add_argument("--contenders", nargs="+", default=[], metavar="NAME", help="all where not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mnist", help="the folder that holds the folder mnist; synthetic images where not given")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all runs; the times say nothing")
    parser.add_argument("--full", action="store_true", help="all 60,000 digits, 2 epochs (an hour)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for precision in ("float32", "bfloat16"):  # Accelerate's choice holds for a whole process
        works = [work for work in given.works if WORKS[work].precision == precision]
        names = [*NAMES, *dict.fromkeys(name for work in works for name in WORKS[work].beside)]
        if works:
            play_all(works, given.contenders or names, given)
    print(f"written: {write_report(given.out)}")


if __name__ == "__main__":
    main()
