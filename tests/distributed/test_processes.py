"""Several processes, started by torchrun, train as one does: the same rows in the same order, the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from script import train

SCRIPT = Path(__file__).with_name("script.py")
RUNS: dict[str, dict[str, Any]] = {
    "two hundred steps": {"epochs": 23},
    "accumulation, short batches, clip": {"dtype": "float64", "accumulate": 4, "clip": 0.3},
    "a sum of losses": {"dtype": "float64", "reduction": "sum", "accumulate": 2},
    "fewer rows than processes": {"dtype": "float64", "rows": 50, "batch": 3},
}


def torchrun(processes: int, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: train(tmp_path_factory.mktemp("alone"), **options) for name, options in RUNS.items()}
    finally:
        torch.set_num_threads(threads)


def apart(ours: Any, theirs: Any) -> float:
    a, b = torch.tensor(ours, dtype=torch.float64), torch.tensor(theirs, dtype=torch.float64)
    return ((a - b).norm() / b.norm()).item()


def flat(values: Any) -> list[float]:
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, list) else [values]
    return [values] if isinstance(values, (int, float)) else [number for part in parts for number in flat(part)]


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_train_as_one_does(processes: int, alone: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    done = torchrun(processes, str(SCRIPT), str(tmp_path), json.dumps(RUNS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Epoch 1/") == len(RUNS), "one process speaks"
    for rank in range(processes):
        left = (tmp_path / f"{rank}.threads").read_text()
        assert "gloo" not in left, "a thread that outlives the interpreter can abort the process"
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for name, options in RUNS.items():
            ours, theirs = found[name], alone[name]
            close = 1e-5 if options.get("dtype") != "float64" else 1e-12
            assert apart(ours["weights"], theirs["weights"]) < close, name
            assert apart(ours["pred"], theirs["pred"]) < 10 * close, name
            assert apart(flat(ours["history"]), flat(theirs["history"])) < 1e-6, name
            assert apart(flat(ours["evaluation"]), flat(theirs["evaluation"])) < 1e-6, name


REFUSED = """
import torch, lumbre as lb
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset
x, y = torch.randn(20, 4), torch.arange(20) % 2
recipe = lb.setup(lambda: nn.Linear(4, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.{optimizer})
recipe.fit({data}, epochs=1, verbose=False, device="cpu")
"""


@pytest.mark.parametrize(
    ("optimizer", "data", "said"),
    [
        ("SGD", "DataLoader(TensorDataset(x, y))", "DataLoader in a run that 2 processes share"),
        pytest.param("LBFGS", "(x, y)", "2 processes for LBFGS", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_shared_is_refused(optimizer: str, data: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "refused.py").write_text(REFUSED.format(optimizer=optimizer, data=data))
    done = torchrun(2, "refused.py", cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
