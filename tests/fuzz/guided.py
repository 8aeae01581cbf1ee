"""Fuzz one reader by what its code runs through: `python tests/fuzz/guided.py r -max_total_time=60`.

Needs atheris, which the suite does not; what is a finding is the same as in run.py, and stops the run.
"""

import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lumbre.storage", "lumbre.datasets", "lumbre.fitted._load"]):
    from mutations import signed
    from targets import TARGETS

    import lumbre as lb


def main() -> None:
    """Fuzz the reader that is named first, with libFuzzer's own options after it."""
    name, *options = sys.argv[1:]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as kept:
        made = Path(kept) / "made"
        corpus = Path(kept) / "corpus"
        for folder in (made, corpus):
            folder.mkdir()
        target = TARGETS[name](made)
        for number in range(300):
            (corpus / str(number)).write_bytes(target.make(random.Random(number)))

        def one(data: bytes) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "file"
                path.write_bytes(signed(data) if name == "archive" else data)
                try:
                    target.read(path)
                except (lb.LumbreError, *target.allowed):
                    return

        atheris.Setup([sys.argv[0], str(corpus), *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
