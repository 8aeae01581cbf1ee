"""Several processes, started by torchrun, train as one does: the same rows in the same order, the same weights."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import FAILED, start
from script import train
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb

SCRIPT = Path(__file__).with_name("script.py")
RUNS: dict[str, dict[str, Any]] = {
    "two hundred steps": {"epochs": 23},
    "accumulation, short batches, clip": {"dtype": "float64", "accumulate": 4, "clip": 0.3},
    "a sum of losses": {"dtype": "float64", "reduction": "sum", "accumulate": 2},
    "fewer rows than processes": {"dtype": "float64", "rows": 50, "batch": 3},
    "averages, an early stop": {"dtype": "float64", "averaged": True, "stopped": True, "epochs": 12},
    "AdamW, the best kept, clip": {"dtype": "float64", "optimizer": "AdamW", "stopped": True, "clip": 0.1},
    "bfloat16, averages": {"precision": "bfloat16", "averaged": True, "accumulate": 3, "clip": 0.3},
    "layers that join later": {"dtype": "float64", "unfrozen": ["layers.2", "layers.0"], "accumulate": 2},
    "float16": {"precision": "float16", "optimizer": "Adam", "clip": 0.3},
}
CLOSE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 3e-2, "float16": 0.1}  # the loss scale skips other updates
OWN_ROWS = {"dtype": "float64", "own_rows": True, "averaged": True}  # what depends on the number of processes
STRATEGIES: tuple[dict[str, Any], ...] = ({}, {"strategy": "fsdp"})
ALL = list(product(RUNS, STRATEGIES))
SHORT = ("accumulation, short batches, clip", "averages, an early stop", "bfloat16, averages", "layers that join later")
QUICK = [*((name, STRATEGIES[0]) for name in SHORT[:2]), (SHORT[0], STRATEGIES[1])]  # FSDP is slow


def torchrun(processes: int, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=1500,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


@functools.cache
def alone(name: str) -> dict[str, Any]:
    """What one process trains."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return train(Path(folder), **RUNS[name])
    finally:
        torch.set_num_threads(threads)


def distance(ours: Any, theirs: Any) -> float:
    a, b = torch.tensor(ours, dtype=torch.float64), torch.tensor(theirs, dtype=torch.float64)
    return ((a - b).norm() / b.norm()).item()


def flat(values: Any) -> list[float]:
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, list) else [values]
    return [values] if isinstance(values, (int, float)) else [number for part in parts for number in flat(part)]


@pytest.mark.parametrize(
    ("processes", "which"),
    [(2, QUICK), pytest.param(2, ALL, marks=pytest.mark.slow), pytest.param(4, ALL, marks=pytest.mark.slow)],
    ids=["2-quick", "2", "4"],
)
def test_processes_train_as_one_does(processes: int, which: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> None:
    runs = {f"{name}{strategy}": RUNS[name] | strategy for name, strategy in which}
    runs |= {f"own rows{strategy}": OWN_ROWS | strategy for strategy in STRATEGIES}
    done = torchrun(processes, str(SCRIPT), str(tmp_path), json.dumps(runs), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Epoch 1/") == len(runs), "one process speaks"
    weights: list[list[float]] = []
    for rank in range(processes):
        left = (tmp_path / f"{rank}.threads").read_text()
        assert "gloo" not in left, "a thread that outlives the interpreter can abort the process"
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        for name, strategy in which:
            options = RUNS[name] | strategy
            ours, theirs = found[f"{name}{strategy}"], alone(name)
            close = CLOSE[options.get("precision", options.get("dtype", "float32"))]
            reported = close if "precision" in options else 1e-6
            assert distance(ours["weights"], theirs["weights"]) < close, options
            assert distance(ours["pred"], theirs["pred"]) < 10 * close, options
            assert distance(flat(ours["history"]), flat(theirs["history"])) < reported, options
            assert distance(flat(ours["evaluation"]), flat(theirs["evaluation"])) < max(
                close if close > 1e-3 else 0, 1e-6
            ), options
            assert ("part of the model (FSDP)" if strategy else "a copy (DDP)") in ours["engine"]
        weights += [found[f"own rows{strategy}"]["weights"] for strategy in STRATEGIES]
    for other in weights[1:]:
        assert distance(other, weights[0]) < 1e-12, "both ways and all processes end with the same statistics"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("optimizer", "data", "said"),
    [
        (optim.SGD, lambda x, y: DataLoader(TensorDataset(x, y)), "DataLoader in a run that 2 processes share"),
        (optim.LBFGS, lambda x, y: (x, y), "2 processes for LBFGS"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    optimizer: type[optim.Optimizer], data: Callable[[Tensor, Tensor], object], said: str, tmp_path: Path
) -> None:
    given = data(torch.randn(20, 4), torch.arange(20) % 2)
    recipe = lb.setup(lambda: nn.Linear(4, 2), loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    ranks = start(2, lambda rank: recipe.fit(given, epochs=1, verbose=False, device="cpu"), tmp_path)
    assert ranks.ended() == [FAILED, FAILED]
    assert all(said in ranks.reported(rank) for rank in range(2))
