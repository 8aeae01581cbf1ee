"""The example that looks inside a net."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_it_learns_and_draws(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, ROOT / "examples" / "activations.py", "--quick", "--pictures", tmp_path / "pictures"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    accuracy = re.search(r"acc: (\S+)", found)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.8
    assert "Activations of 200 rows" in found
    for name in ("one_digit", "training"):
        assert (tmp_path / "pictures" / f"{name}.png").stat().st_size > 10_000
