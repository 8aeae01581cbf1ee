"""Feed damaged and hostile files to the readers, and count what comes of it.

`python tests/fuzz/run.py --inputs 100000` gives each reader its share. An input must be read or refused with an error
of lumbre's, within seconds and a bounded memory, and leave no file outside its folder; anything else is a finding: it
is printed with a number from which `--only` makes the same input again.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

import torch
from targets import TARGETS, Target

import lumbre as lb

_SECONDS_PER_INPUT = 20
_ADDRESS_SPACE_BYTES = 3 << 30
_INSIDE = ("file", "images.gz", "images.xz", "into", "run")
_OUTSIDE = Path("/tmp/lumbre-fuzz-out.txt")


class TooSlow(BaseException):
    """An input took longer than it may; no reader catches it."""


def fuzz(name: str, inputs: range, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Give a reader some inputs.

    Args:
        name: of the reader.
        inputs: the numbers of the inputs, from which they are made.
        seed: of all inputs.
        folder: an empty one.

    Returns:
        How many were read, refused, or are findings; and the findings in words.
    """
    made = folder / "made"
    made.mkdir()
    target = TARGETS[name](made)
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    for number in inputs:
        scratch = folder / "scratch"
        scratch.mkdir()
        data = target.make(random.Random(f"{seed} {name} {number}"))
        (scratch / "file").write_bytes(data)
        outcome, reported = _one(target, scratch)
        escaped = [path.name for path in scratch.iterdir() if path.name not in _INSIDE]
        escaped += [path.name for path in (scratch / "into").rglob("*") if path.is_symlink()]
        if escaped or _OUTSIDE.exists() or len(list(folder.iterdir())) != 2:
            outcome, reported = "finding", f"files outside its folder: {escaped}"
        outcomes[outcome] += 1
        if outcome == "finding":
            findings.append(f"{name} {number}: {reported}")
        shutil.rmtree(scratch)
    shutil.rmtree(made)
    return outcomes, findings


def _one(target: Target, scratch: Path) -> tuple[str, str]:
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_PER_INPUT)
    try:
        target.read(scratch / "file")
    except lb.LumbreError as error:
        if not (error.received and error.expected and error.fix):
            return "finding", f"an error without advice: {error!r}"
        return "refused", ""
    except target.allowed:
        return "refused", ""
    except (Exception, TooSlow) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/lumbre/" in frame.filename] or frames
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        return "finding", f"{type(error).__name__}: {str(error)[:150]} at {place}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "read", ""


def _too_slow(signal_number: int, frame: FrameType | None) -> None:
    raise TooSlow


def main() -> int:
    """Fuzz, print a line a reader and every finding; the status says whether there was any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--only", type=int, help="the number of one input")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])  # a torch for CUDA maps gigabytes of libraries
    most = pages * resource.getpagesize() + _ADDRESS_SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, _too_slow)
    os.fsync = lambda handle: None  # thousands of small checkpoints: the disk is no part of this
    share = -(-given.inputs // len(given.targets))
    total, everything = 0, []
    for name in given.targets:
        inputs = range(share) if given.only is None else range(given.only, given.only + 1)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="lumbre-fuzz-") as folder:
            outcomes, findings = fuzz(name, inputs, given.seed, Path(folder))
        total += sum(outcomes.values())
        everything += findings
        counts = ", ".join(f"{outcomes[kind]:,} {kind}" for kind in ("read", "refused", "finding"))
        print(f"{name}: {sum(outcomes.values()):,} inputs, {counts}, {time.perf_counter() - started:.1f} s", flush=True)
        for finding in findings[:20]:
            print(f"  {finding}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{total:,} inputs, {len(everything)} findings, {peak} MiB of memory at most")
    return 1 if everything else 0


if __name__ == "__main__":
    sys.exit(main())
