"""The numbers of the runs in `golden_cases.py`, kept in `golden.json`: a change that should move none moves none.

    python tests/golden/golden_runs.py                     # all runs of today beside the file
    python tests/golden/golden_runs.py --time              # and the seconds of each
    python tests/golden/golden_runs.py --add               # digests of this kind of processor, beside those there
    python tests/golden/golden_runs.py --write             # the file anew: only where numbers are meant to change

The law: on a kind of processor and torch whose digests are in the file, all bits are those of the file. Anywhere else
the numbers are near those of the machine on which the file was written.
"""

import argparse
import hashlib
import json
import math
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from golden_cases import CASES, Case, Outcome
from torch import Tensor

FILE = Path(__file__).with_name("golden.json")
_FEW = 8
# Metrics that jump when a row changes sides, and by how much they may.
_COUNTED = {"confusion": 2.0, **dict.fromkeys(("acc", "f1", "auroc", "kappa", "sure"), 0.1)}


def kind() -> str:
    """What bits depend on besides the code: torch, its kernels, the processor, its vector instructions, threads.

    The processor by name, since MKL and oneDNN choose by it; libc, whose cosine and exponential schedules use.
    """
    processor = {"vendor_id": platform.machine(), "cpu family": "", "model": "", "flags": ""}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for name, _, value in (line.partition(":") for line in reversed(lines)):
        if name.strip() in processor:
            processor[name.strip()] = value.strip()
    vector = sorted(flag for flag in processor.pop("flags").split() if flag.startswith(("avx", "amx", "fma")))
    parts = [
        f"torch {torch.__version__}",
        torch.backends.cpu.get_cpu_capability(),
        f"{torch.get_num_threads()} threads",
        " ".join(part for part in processor.values() if part),
        " ".join(vector),
        " ".join(platform.libc_ver()),
    ]
    return ", ".join(parts)


def leaves(value: Any) -> Iterator[Tensor]:
    """The tensors of a prediction."""
    if isinstance(value, Tensor):
        yield value
    elif value is not None:
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)


def digest(tensors: Sequence[tuple[str, Tensor]]) -> str:
    """Of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:32]


def numbers(tensors: Sequence[Tensor]) -> dict[str, Any]:
    """A few numbers of many, as float64."""
    every = torch.cat([tensor.detach().cpu().double().flatten() for tensor in tensors])
    return {
        "count": len(every),
        "first": every[:_FEW].tolist(),
        "sum": every.sum().item(),
        "norm": every.norm().item(),
    }


def record(outcome: Outcome) -> dict[str, Any]:
    """What is kept of a run: bits of the weights, the predictions and the history as digests, and some as numbers."""
    fitted = outcome.fitted
    weights = sorted({**dict(fitted.model.named_buffers()), **dict(fitted.model.named_parameters())}.items())
    rows = fitted.history.itertuples(index=False)
    history = [[f"{row.set} {row.metric} {row.epoch}", float(row.value)] for row in rows]
    history += [[name, float(value)] for name, value in outcome.more.items()]
    predicted = [] if outcome.input is None else list(leaves(fitted.predict(outcome.input)))
    return {
        "digests": {
            "weights": digest(weights),
            "predictions": digest([(str(place), part) for place, part in enumerate(predicted)]),
            "history": hashlib.sha256(repr(history).encode()).hexdigest()[:32],
        },
        "weights": numbers([value for _, value in weights]),
        "predictions": numbers(predicted) if predicted else None,
        "history": history,
    }


def run(name: str) -> dict[str, Any]:
    """The record of a case, run now."""
    with tempfile.TemporaryDirectory() as folder:
        return record(CASES[name].run(Path(folder)))


def distances(case: Case, kept: dict[str, Any], found: dict[str, Any]) -> Iterator[tuple[str, Any, Any, float]]:
    """What was kept, what is found, and their distance as a share of what is allowed on another processor.

    Another processor adds up in another order, so that the results of a step differ by some 1e-7 of their size, and
    training carries this on: after the few steps of these runs by a factor of ten to a hundred, after the hundreds of
    an example's by up to ten thousand. So 1e-4 is a wide bound for most, and a fault in the code (another rate, order,
    seed, mask) moves the numbers by more than 1e-2. Weights and predictions are measured by the size of their kind (the
    root of the mean square), losses by their own size or 0.01; of metrics that count rows one or two may change sides.
    """
    if case.masks and not torch.backends.mkl.is_available():
        return
    for part in ("weights", "predictions"):
        was, now = kept[part], found[part]
        if was is None or now is None or was["count"] != now["count"]:
            yield part, was, now, 0.0 if was == now else math.inf
            continue
        size = was["norm"] / math.sqrt(was["count"])
        for place, (left, right) in enumerate(zip(was["first"], now["first"], strict=True)):
            yield f"{part}, number {place}", left, right, _share(left, right, case.tolerance * size)
        for name, scale in (("sum", size * was["count"]), ("norm", was["norm"])):
            yield f"{part}, {name}", was[name], now[name], _share(was[name], now[name], case.tolerance * scale)
    if [name for name, _ in kept["history"]] != [name for name, _ in found["history"]]:
        yield "history", kept["history"], found["history"], math.inf
        return
    for (name, left), (_, right) in zip(kept["history"], found["history"], strict=True):
        counted = [rows for word, rows in _COUNTED.items() if word in name]
        yield name, left, right, _share(left, right, counted[0] if counted else case.tolerance * max(abs(left), 0.01))


def _share(left: float, right: float, allowed: float) -> float:
    return 0.0 if left == right else abs(left - right) / allowed if math.isfinite(left - right) else math.inf


def compare(name: str, golden: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is against the law of this file."""
    kept = golden["runs"][name]
    wrong = [f"{what}: {was} and {now}" for what, was, now, share in distances(CASES[name], kept, found) if share > 1]
    bits = golden["digests"].get(kind(), {}).get(name)
    if bits is not None and bits != found["digests"]:
        wrong += [f"other bits of {part}" for part in bits if bits[part] != found["digests"][part]]
    return wrong


def _written(found: dict[str, dict[str, Any]], golden: dict[str, Any]) -> dict[str, Any]:
    digests = {name: one.pop("digests") for name, one in found.items()}
    return {
        "written_on": golden.get("written_on") or kind(),
        "digests": {**golden.get("digests", {}), kind(): digests},
        "runs": golden.get("runs") or found,
    }


def _text(document: dict[str, Any]) -> str:
    """JSON with a run a line, so that a change shows which runs it moved."""
    lines = [f'"written_on": {json.dumps(document["written_on"])}']
    for name, digests in document["digests"].items():
        lines.append(f'"digests of {name}": {_by_line(digests)}')
    return "{\n" + ",\n".join([*lines, f'"runs": {_by_line(document["runs"])}']) + "\n}\n"


def _by_line(runs: dict[str, Any]) -> str:
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in runs.items()) + "\n}"


def golden_file() -> dict[str, Any]:
    """What the file holds: "written_on" a kind, "digests" of each run by kind, and "runs", the numbers."""
    document = json.loads(FILE.read_text())
    head = "digests of "
    digests = {name.removeprefix(head): value for name, value in document.items() if name.startswith(head)}
    return {"written_on": document["written_on"], "digests": digests, "runs": document["runs"]}


def runnable(name: str) -> bool:
    """Whether the run can be made here: steps are compiled by torch 2.13 and a C++ compiler."""
    return not CASES[name].compiler or (torch.__version__.startswith("2.13.") and shutil.which("g++") is not None)


def main() -> None:
    """Run all, and compare or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="the file anew")
    parser.add_argument("--add", action="store_true", help="digests of this kind of processor into the file")
    parser.add_argument("--time", action="store_true", help="print the seconds of each run")
    parser.add_argument("--order", type=int, help="a seed: run in an order drawn by it")
    parser.add_argument("--numbers", action="store_true", help="print how far the numbers are from those kept")
    parser.add_argument("--only", nargs="*", default=list(CASES), help="names of runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in given.only if given.write or given.add or runnable(name)]
    if given.order is not None:
        random.Random(given.order).shuffle(names)
    golden = {} if given.write else golden_file()
    found, failed = {}, 0
    for name in names:
        began = time.process_time()
        found[name] = run(name)
        seconds = f" {time.process_time() - began:.2f} s" if given.time else ""
        wrong = [] if given.write else compare(name, golden, found[name])
        failed += bool(wrong)
        if given.numbers:
            farthest = max(share for *_, share in distances(CASES[name], golden["runs"][name], found[name]))
            seconds += f" {farthest:.2g} of the tolerance"
        if wrong or seconds:
            print(f"{name}{seconds}", *wrong, sep="\n  ", flush=True)
    if given.write or (given.add and not failed):
        found = {name: found[name] for name in CASES}
        FILE.write_text(_text(_written(found, golden)))
    known = "bit for bit" if kind() in golden.get("digests", {}) else "within tolerances"
    print(f"{kind()}\n{len(names)} runs, {failed} differ ({'written' if given.write else known})")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
