"""Gives the corpus of tests/preflight to every contender, and writes the table into docs/preflight.md.

    python -m benchmarks.mistakes --peers .venv-peers/bin/python --checkers .venv-checkers/bin/python

Each contender runs in a process of the environment that has it; what it says is kept in a folder (`--keep`), from which
`--only` runs some anew.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.mistakes.contenders import CHECKERS, NAMES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "preflight.md"
SECTION = "## Beside others"
TITLES = {"lumbre": "lumbre, `check()`", "lumbre_fit": "lumbre, `fit()`", "raw": "a loop of torch"}
PACKAGES = {"ignite": "pytorch-ignite"}

_TEXT = """
The same programs in other libraries, each with its ordinary call and one seed: every broken program, its corrected
twin and the further sound ones, for three epochs, or as many as the program sets. All output counts: errors, warnings,
lines in the log. A *sign* is a line that the broken program prints and the corrected one does not. The *right cause is
named* if a sign contains a word that points to it; the words are in `benchmarks/mistakes/report.py`, and are generous
(an error about shapes counts for shapes that do not fit). Many of these messages are torch's own. *Pairs* counts the
programs that the library can run: its adapter can express them, and the corrected twin runs to the end. A *false alarm*
is a sound program, corrected or further, with a message that most programs do not get. For lumbre the cause is named by
the code of the right check. The programs were collected for lumbre's checks: the table shows what other libraries leave
to their users, not how good they are at their own purpose. The adapter's author set what torcheck expects of each net.
deepchecks compares distributions, and most tables here have only a few hundred rows, fewer than it is made for. Tools
that compare a run with a sound one (TrainCheck) or plot for an expert (Cockpit, SkorchDoctor) give no verdict on a
single program and are not included.
"""


def said_by(name: str, python: str, folder: Path, anew: bool) -> bool:
    """Run a contender, unless that is done; whether it is there now."""
    kept = folder / f"{name}.json"
    if kept.exists() and not anew:
        return True
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [python, "-W", "ignore", "-m", "benchmarks.mistakes.child", name]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        print(f"{name}: not run", file=sys.stderr)
        return False
    kept.write_bytes(done.stdout)
    return True


def titled(name: str, python: str) -> str:
    """The contender with its version."""
    if name in TITLES:
        return TITLES[name]
    asked = f"from importlib.metadata import version; print(version({PACKAGES.get(name, name)!r}))"
    return f"{name} {subprocess.run([python, '-c', asked], capture_output=True, text=True, check=True).stdout.strip()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=sys.executable, help="the interpreter that has the libraries")
    parser.add_argument("--checkers", default=sys.executable, help="the interpreter that has the stand-alone checkers")
    parser.add_argument("--keep", type=Path, default=ROOT / ".venv-peers" / "mistakes", help="folder of what was said")
    parser.add_argument("--only", nargs="*", choices=NAMES, help="run these anew, whatever is kept")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    from benchmarks.mistakes.report import table

    results = {}
    for name in NAMES:
        python = given.checkers if name in CHECKERS else given.peers
        if said_by(name, python, given.keep, anew=name in (given.only or ())):
            said = json.loads((given.keep / f"{name}.json").read_text())
            results[name] = titled(name, python), said
    before = PAGE.read_text().partition(SECTION)[0]
    PAGE.write_text(f"{before.rstrip()}\n\n{SECTION}\n{_TEXT}\n{table(results)}\n")


if __name__ == "__main__":
    main()
