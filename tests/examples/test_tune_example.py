"""The search over penguins, as a program."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def test_penguins(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "tune_penguins.py", "--quick", "--study", "tune.journal"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert len(re.findall(r"^Trial \d+ of 12: ", said, re.MULTILINE)) == 12
    assert "given up at epoch" in said
    assert float(re.findall(r"acc: (\S+)", said)[-1]) >= 0.9
    assert (tmp_path / "tune.journal").stat().st_size > 0
