"""The search over penguins, as a program."""

import re
from pathlib import Path

import pytest
from programs import run_program

from conftest import ROOT


@pytest.mark.slow
def test_penguins(tmp_path: Path) -> None:
    arguments = ("--quick", "--study", "tune.journal")
    done = run_program(ROOT / "examples" / "tune_penguins.py", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert len(re.findall(r"^Trial \d+ of 12: ", said, re.MULTILINE)) == 12
    assert "given up at epoch" in said
    assert float(re.findall(r"acc: (\S+)", said)[-1]) >= 0.9
    assert (tmp_path / "tune.journal").stat().st_size > 0
