"""The suite under conditions of other machines, each in a process of its own, and a table of what failed.

`make test-anywhere`, or `python tests/anywhere.py --only avx2 busy -- tests/data -x`. Standard library only.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAST = "not slow and not faults and not hosts and not fuzz"


@dataclass(frozen=True)
class Condition:
    """What a run of the suite meets.

    Attributes:
        said: how the table names it.
        environment: variables beside those of this process.
        random_order: files and tests within them in an order drawn anew.
        sigint_ignored: as under `nohup`, after `&` in a script, and in many CI runners.
        busy: number of processes that compute beside it.
    """

    said: str
    environment: dict[str, str] = field(default_factory=dict)
    random_order: bool = False
    sigint_ignored: bool = False
    busy: int = 0


CONDITIONS = {
    "default": Condition("`ATEN_CPU_CAPABILITY=default`", {"ATEN_CPU_CAPABILITY": "default"}),
    "avx2": Condition("`ATEN_CPU_CAPABILITY=avx2`", {"ATEN_CPU_CAPABILITY": "avx2"}),
    "onednn": Condition("`ONEDNN_MAX_CPU_ISA=AVX2`", {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "mkl": Condition("`MKL_ENABLE_INSTRUCTIONS=AVX2`", {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    "threads-1": Condition("`OMP_NUM_THREADS=1`", {"OMP_NUM_THREADS": "1"}),
    "threads-2": Condition("`OMP_NUM_THREADS=2`", {"OMP_NUM_THREADS": "2"}),
    "sigint": Condition("SIGINT ignored", sigint_ignored=True),
    "order": Condition("in a random order", random_order=True),
    "busy": Condition("beside two busy processes", busy=2),
}


@dataclass
class Outcome:
    """What came of the tests: how many passed and were skipped, which failed, and what else went wrong."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)


def main() -> int:
    """Run the conditions that were asked for, and print the table; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CONDITIONS, metavar="NAME", help=f"of {', '.join(CONDITIONS)}")
    parser.add_argument("--seed", type=int, help="of the random order; another each time by default")
    parser.add_argument("--out", type=Path, help="a file for the table, which is printed in any case")
    parser.add_argument(
        "pytest", nargs="*", help="after --, arguments for pytest, such as files; all of tests/ otherwise"
    )
    args = parser.parse_args()
    seed = random.randrange(100_000) if args.seed is None else args.seed
    outcomes: dict[str, Outcome] = {}
    for name in args.only or CONDITIONS:
        condition = CONDITIONS[name]
        said = f"{condition.said}, seed {seed}" if condition.random_order else condition.said
        print(f"\n== {said}", flush=True)
        outcomes[said] = run(condition, args.pytest, seed)
    text = table(outcomes, args.pytest)
    print(f"\n{text}")
    if args.out is not None:
        args.out.write_text(text)
    return int(any(outcome.failed for outcome in outcomes.values()))


def run(condition: Condition, arguments: list[str], seed: int) -> Outcome:
    """Run pytest under a condition."""
    # Only what the condition names is set: what this shell has for another would hide it.
    unset = {name for other in CONDITIONS.values() for name in other.environment}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | condition.environment
    with tempfile.TemporaryDirectory() as folder, busy(condition.busy):
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", FAST, "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-o", "junit_family=xunit1"]  # which names files
        if condition.random_order:
            command += ["--random-order", f"--random-order-seed={seed}"]
        with sigint(ignored=condition.sigint_ignored):
            status = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, check=False).returncode
        outcome = read(report)
    if status and not outcome.failed:
        outcome.failed.append(f"pytest ended with status {status}")
    return outcome


def read(report: Path) -> Outcome:
    """The outcome in pytest's report; none where it was not written."""
    outcome = Outcome()
    if not report.exists():
        return outcome
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            outcome.failed.append(f"{case.get('file', case.get('classname'))}::{case.get('name')}")
        elif "skipped" in kinds:
            outcome.skipped += 1
        else:
            outcome.passed += 1
    return outcome


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute without a pause, and end with this one even where it is killed."""
    code = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1000))"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def sigint(*, ignored: bool) -> Iterator[None]:
    """Ignored or not for processes that start within: they inherit it when it is ignored, and no handler else."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def table(outcomes: dict[str, Outcome], arguments: list[str]) -> str:
    """The Markdown table, and what it was made on."""
    lines = [
        f"{datetime.date.today().isoformat()}, {processor()} ({os.cpu_count()} cores), "
        f"torch {importlib.metadata.version('torch')}, Python {platform.python_version()}"
        + (f", `{' '.join(arguments)}`" if arguments else "")
        + ":",
        "",
        "| condition | passed | failed | skipped | which failed |",
        "|---|---|---|---|---|",
    ]
    for said, outcome in outcomes.items():
        names = ", ".join(f"`{name}`" for name in outcome.failed).replace("|", "\\|")
        lines.append(f"| {said} | {outcome.passed} | {len(outcome.failed)} | {outcome.skipped} | {names} |")
    return "\n".join(lines) + "\n"


def processor() -> str:
    """Its name, as well as it can be had."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
