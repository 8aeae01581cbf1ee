"""Runs killed at random moments and inside writes end with the bits of runs that nobody killed.

`make faults` runs all of it and prints how often it killed; the fast suite has a taste of it.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults_harness import Tally, differing, killed_at_boundary, killed_until_done, unbroken
from faults_scenarios import COMPILED, SCENARIOS

from lumbre.resume import _state as _run_state

KILLS = int(os.environ.get("LUMBRE_KILLS", "16"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What torch imports at its first optimizer and step, every child would import anew."""
    folder = tmp_path_factory.mktemp("warm")
    for name in list(SCENARIOS)[:2]:
        SCENARIOS[name](final=folder / "final", resume=None, attempt=0)


@pytest.fixture(scope="module")
def tallies(request: pytest.FixtureRequest) -> Iterator[dict[str, Tally]]:
    """What was done, reported at the end."""
    found: dict[str, Tally] = {}
    yield found
    kills, runs = sum(one.kills for one in found.values()), sum(one.runs for one in found.values())
    lines = [f"  {name}: {one.kills} kills ({one.by}), {one.runs} runs" for name, one in found.items()]
    lines.append(f"{kills} kills in all, {runs} runs, each equal to the unbroken one bit for bit")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(lines), flush=True)


def kill(name: str, fit: Any, folder: Path, kills: int, tallies: dict[str, Tally], seed: int = 0) -> None:
    rng = random.Random(f"{name} {seed}")
    whole, seconds = unbroken(fit, folder)
    assert differing(whole, unbroken(fit, folder / "again")[0]) == []
    tally = tallies.setdefault(name, Tally())
    while tally.kills < kills:
        assert differing(whole, killed_until_done(fit, folder, seconds, rng, tally)) == []


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_runs_have_the_bits_of_unbroken_ones(name: str, tmp_path: Path, tallies: dict[str, Tally]) -> None:
    kill(name, SCENARIOS[name], tmp_path, KILLS, tallies)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_compiled_runs_have_the_bits_of_unbroken_ones(
    tmp_path: Path, tallies: dict[str, Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lumbre.graphs import obstacle

    if obstacle(torch.device("cpu")) is not None:
        pytest.skip(str(obstacle(torch.device("cpu"))))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    kill("compiled", COMPILED, tmp_path, max(1, KILLS // 4), tallies)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("wait", [True, False])
def test_killed_at_every_boundary_between_steps(wait: bool, tmp_path: Path, tallies: dict[str, Tally]) -> None:
    fit = SCENARIOS["everything at once"]
    whole, _ = unbroken(fit, tmp_path)
    tally = tallies.setdefault(f"every boundary{', written at once' if wait else ''}", Tally())
    for boundary in range(1, 100):
        ended = killed_at_boundary(fit, tmp_path / str(boundary), boundary, tally, wait=wait)
        assert differing(whole, (tmp_path / str(boundary) / "final").read_bytes()) == [], boundary
        if ended:
            break
    assert boundary == 16  # three epochs of five batches, and no more to be killed at


@pytest.mark.parametrize("name", ["perceptron, dropout, batch norm, ragged batch", "keep best, EMA"])
def test_a_few_kills(name: str, tmp_path: Path, tallies: dict[str, Tally]) -> None:
    kill(name, SCENARIOS[name], tmp_path, 3, tallies)


@pytest.mark.faults
@pytest.mark.parametrize("part", ["model", "optimizers", "meter", "callbacks", "progress"])
def test_without_a_part_of_the_state_the_comparison_fails(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "keep best, EMA"
    whole, seconds = unbroken(SCENARIOS[name], tmp_path)
    take, _ = _run_state.PARTS[part]
    monkeypatch.setitem(_run_state.PARTS, part, (take, lambda run, state: None))
    for seed in range(10):
        tally = Tally()
        try:
            killed = killed_until_done(SCENARIOS[name], tmp_path, seconds, random.Random(seed), tally)
        except AssertionError:  # without its place in the epochs a run may not even come to an end
            if part != "progress":
                raise
            return
        if tally.kills and differing(whole, killed):
            return
    raise AssertionError(f"runs without the part {part!r} are equal to whole ones")
