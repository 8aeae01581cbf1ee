"""A commit beside the tree: the right lumbre in each process, and ratios of one round each."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.peers.works import WORKS
from benchmarks.today import checked_out, interval, page, sizes

ROOT = Path(__file__).parents[2]
in_git = pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git repository")


def test_trainings_are_shortened_to_so_many_steps_and_no_more() -> None:
    for work in WORKS.values():
        for most in (1, 3, 16, 200):
            rows, epochs = sizes(work, most)
            assert 0 < -(-rows // work.batch) * epochs <= most
        assert sizes(work, None) == (work.rows, work.epochs)


def test_a_ratio_is_the_base_over_the_tree_in_the_same_round() -> None:
    given = argparse.Namespace(steps=16, threads=1, base="main")
    cells = page({"penguins": {"base": [2.0, 3.0, 8.0], "tree": [1.0, 2.0, 2.0]}}, given, "1.0").splitlines()[-1]
    assert [cell.strip() for cell in cells.strip("|").split("|")] == [
        "penguins", "16", "3.00", "2.00", "2.000", "1.500-4.000", "1.500", "4.000", "3", "2.000",
    ]  # fmt: skip


def test_the_interval_of_a_median_leaves_out_the_outer_values() -> None:
    assert interval([float(one) for one in range(1, 101)]) == (41.0, 60.0)
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


@in_git
def test_a_commit_is_there_while_it_is_used_and_gone_after() -> None:
    with checked_out("HEAD") as place:
        assert (place / "src" / "lumbre" / "__init__.py").is_file()
    assert not place.exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert str(place) not in listed


@in_git
@pytest.mark.slow
def test_both_sides_train_and_the_table_tells() -> None:
    command = [sys.executable, "-m", "benchmarks.today", "--base", "HEAD", "--works", "penguins"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--starts", "1", "--steps", "4"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| penguins | 4 |" in done.stdout
