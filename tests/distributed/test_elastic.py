"""torchrun brings a run back whose processes are killed, from its last checkpoint and to the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_going_on import outs, warm, whole

SCRIPT = Path(__file__).with_name("elastic.py")

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
assert warm  # a fixture


def test_torchrun_brings_a_killed_run_back(tmp_path: Path) -> None:
    last = whole(2, tmp_path / "whole", list)
    restarts = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    done = subprocess.run(
        [*restarts, str(SCRIPT), str(tmp_path), "0:5"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "0.lives").read_text() == "1"
    assert outs(2, tmp_path) == last
