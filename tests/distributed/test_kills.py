"""One of two processes is killed again and again; all start anew, as torchrun does it, and end with the same bits.

`make faults` kills fifty times and prints how; the fast suite has a taste of it.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import FAILED, KILLED, start
from test_going_on import fit, warm
from tests.faults.faults_harness import Final, die_in, differing

import lumbre as lb
from lumbre.callbacks import EMA, KeepBestModel, LearningRate

KILLS = int(os.environ.get("LUMBRE_RANK_KILLS", "50"))
SIZE = 2
_MOST_DEATHS = 60
_CALLS = ("write", "fsync", "rename")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
assert warm  # a fixture


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """What was done, reported at the end."""
    found: Counter[str] = Counter()
    yield found
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{dict(found)}, each run equal to the unbroken one bit for bit in both processes", flush=True)


def train(folder: Path | None, finals: Path, rank: int, **when: object) -> None:
    own: list[lb.Callback] = [EMA(0.9), KeepBestModel(), LearningRate(lb.schedules.cosine())]
    fit(folder, *own, Final(finals / f"{rank}", own), **when)


def states(folder: Path) -> list[bytes]:
    return [(folder / f"{rank}").read_bytes() for rank in range(SIZE)]


def killed_until_done(folder: Path, rng: random.Random, tally: Counter[str], **options: object) -> list[bytes]:
    """The final state of both processes of a run of which one is killed again and again."""
    run, finals = folder / "run", folder / "finals"
    finals.mkdir(parents=True)
    for _ in range(_MOST_DEATHS):
        when = {"steps": rng.choice([1, 1, 2, 4]), "wait": rng.random() < 0.5, "keep": rng.choice([1, 2, 3])}
        victim, way, nth = rng.randrange(SIZE), rng.choice(["clock", "clock", *_CALLS]), rng.randint(1, 12)
        delay, patience = rng.uniform(0, 1.2), rng.choice([0.0, 0.05, 3.0])

        def work(rank: int, victim: int = victim, way: str = way, nth: int = nth, when: dict = when) -> None:
            if way in _CALLS and rank == victim:
                die_in(way, nth)
            train(run, finals, rank, **when, **options)

        ranks = start(SIZE, work, folder / "logs")
        if way == "clock":
            ranks.kill_after(victim, delay)
        ranks.stop_after(patience)
        statuses = ranks.ended()
        if statuses == [0] * SIZE:
            tally["runs"] += 1
            return states(finals)
        if statuses[victim] == KILLED:
            tally["kills"] += 1
            tally[f"by {way}"] += 1
            tally[f"of rank {victim}"] += 1
        other = 1 - victim
        if statuses[other] == FAILED:
            reported = ranks.reported(other)
            assert "PeerError" in reported, reported
            assert reported.count("Traceback") == 1, reported
            tally["one message"] += 1
    raise AssertionError("the run does not come to its end")


def kill(folder: Path, kills: int, tally: Counter[str], **options: object) -> None:
    (folder / "whole").mkdir()
    ranks = start(SIZE, lambda rank: train(None, folder / "whole", rank, **options), folder / "logs")
    assert ranks.ended() == [0] * SIZE, ranks.reported(0) + ranks.reported(1)
    whole = states(folder / "whole")
    rng = random.Random(0)
    while tally["kills"] < kills:
        ended = killed_until_done(folder / str(tally["runs"]), rng, tally, **options)
        for one, other in zip(whole, ended, strict=True):
            assert differing(one, other) == []


def test_a_few_kills_of_ranks(tmp_path: Path, tally: Counter[str]) -> None:
    kill(tmp_path, 2, tally)


@pytest.mark.slow
def test_a_few_kills_of_ranks_that_hold_parts(tmp_path: Path, tally: Counter[str]) -> None:
    kill(tmp_path, 3, tally, strategy="fsdp")


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_ranks_that_are_killed_end_with_the_bits_of_an_unbroken_run(tmp_path: Path, tally: Counter[str]) -> None:
    kill(tmp_path, KILLS, tally)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_ranks_with_parts_that_are_killed_end_with_the_bits_of_an_unbroken_run(
    tmp_path: Path, tally: Counter[str]
) -> None:
    kill(tmp_path, KILLS, tally, strategy="fsdp")
