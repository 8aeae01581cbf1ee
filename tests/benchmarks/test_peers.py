"""The benchmark's contenders train, learn alike, and answer in the same form."""

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.peers.child import make_job, timed
from benchmarks.peers.report import GOALS, learned, ratios, settings, spread
from benchmarks.peers.works import WORKS

ROOT = Path(__file__).parents[2]
PEERS = ("lightning", "keras", "skorch", "fastai", "accelerate", "ignite")


@pytest.mark.parametrize("name", ["raw", "expert", "lumbre"])
def test_a_contender_learns_and_answers_in_the_common_form(name: str) -> None:
    module = import_module(f"benchmarks.peers.contenders.{name}")
    result = timed(module.train, make_job("penguins", rows=333, epochs=10, root=None)(0))
    assert set(result) == {"wall", "cpu", "loss", "accuracy"}
    assert result["wall"] > 0
    assert result["cpu"] > 0
    assert result["accuracy"] > 0.9


@pytest.mark.parametrize("work", ["mnist_bfloat16", "residual", "transformer", "lstm"])
def test_every_work_is_done_by_lumbre(work: str) -> None:
    module = import_module("benchmarks.peers.contenders.lumbre")
    result = timed(module.train, make_job(work, rows=2 * 16, epochs=1, root=None)(0))
    assert 0 < result["loss"] < 10


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_learns_as_the_raw_loop_does(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    asked = [{"work": "penguins", "rows": 333, "epochs": 10, "root": None}, {"seed": 0}]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.child", name, "1"],
        cwd=ROOT,
        input="".join(f"{json.dumps(line)}\n" for line in asked),
        capture_output=True,
        text=True,
        check=True,
    )
    start, ready, result = (json.loads(line) for line in done.stdout.splitlines())
    assert start["import_seconds"] > 0
    assert ready == {}
    assert set(result) == {"wall", "cpu", "loss", "accuracy", "note"}
    assert result["accuracy"] > 0.9


def test_same_seed_same_first_weights_and_rows_for_all() -> None:
    make = make_job("tabular_128", rows=256, epochs=1, root=None)
    first, second, other = make(1), make(1), make(2)
    assert all((a == b).all() for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))
    assert not all((a == b).all() for a, b in zip(first.model.parameters(), other.model.parameters(), strict=True))
    assert (first.x == other.x).all()


@pytest.mark.slow
def test_the_runner_writes_rounds_table_and_picture(tmp_path: Path) -> None:
    pytest.importorskip("plotnine")
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--rounds", "3", "--works", "penguins"]
    done = subprocess.run(
        [*command, "--contenders", "raw", "lumbre", "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "penguins.json").read_text())
    assert len(found["rounds"]) == 3
    assert {frozenset(one) for one in found["rounds"]} == {frozenset({"raw", "lumbre", "load"})}
    page = (tmp_path / "peers.md").read_text()
    assert "| lumbre |" in page
    assert "the times say nothing" in page
    assert (tmp_path / "peers.png").stat().st_size > 10_000


def test_ratios_are_of_one_round_each() -> None:
    rounds = [
        {"raw": {"cpu": raw, "accuracy": 0.9}, "lumbre": {"cpu": 1.0, "accuracy": 0.5}} for raw in (2.0, 4.0, 6.0)
    ]
    result = {"rounds": rounds, "share": 1}
    assert ratios(result, "raw", "lumbre", "cpu") == [2.0, 4.0, 6.0]
    assert spread([2.0, 4.0, 6.0]).startswith("4.00 (")
    assert learned(result, "raw") == "equal"
    assert learned(result, "lumbre") == "NOT EQUAL"


def test_goals_name_works_and_contenders_that_exist() -> None:
    reported = settings()
    assert all(work in WORKS and f"| {name} |" in reported for work, name, _ in GOALS)
