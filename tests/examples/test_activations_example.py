"""The example that looks inside a net."""

import re
from pathlib import Path

import pytest
from programs import run_program

from conftest import ROOT


@pytest.mark.slow
def test_it_learns_and_draws(tmp_path: Path) -> None:
    done = run_program(
        ROOT / "examples" / "activations.py", "--quick", "--pictures", str(tmp_path / "pictures"), folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout
    accuracy = re.search(r"acc: (\S+)", found)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.8
    assert "Activations of 200 rows" in found
    for name in ("one_digit", "training"):
        assert (tmp_path / "pictures" / f"{name}.png").stat().st_size > 10_000
