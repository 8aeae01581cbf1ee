"""The cost model of docs/scaling.md: its laws, its simulation, and the table that the page shows."""

import math
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import scaling_model as model

seconds = st.floats(1.0, 1e4)


@pytest.mark.parametrize(
    ("interval", "checkpoint", "restart", "mtbf"),
    [(600, 30, 600, 11_000), (3_000, 60, 60, 3_000), (100, 100, 2_000, 1_500), (50, 1, 0, 1e5)],
)
def test_the_simulation_agrees_with_the_closed_form(interval, checkpoint, restart, mtbf) -> None:
    share, error = model.simulated_share(interval, checkpoint, restart, mtbf)
    assert abs(share - model.kept_share(interval, checkpoint, restart, mtbf)) < 4 * error + 1e-12
    assert error < 0.02 * share


@settings(deadline=None)
@given(checkpoint=st.floats(0.1, 300), mtbf=st.floats(2_000, 1e7), restart=st.floats(0, 2_000))
def test_dalys_interval_is_as_good_as_the_best(checkpoint: float, mtbf: float, restart: float) -> None:
    chosen = model.kept_share(model.daly(checkpoint, mtbf), checkpoint, restart, mtbf)
    around = [model.young(checkpoint, mtbf) * 2 ** (step / 20) for step in range(-60, 61)]
    best = max(model.kept_share(interval, checkpoint, restart, mtbf) for interval in around)
    assert chosen > 0.999 * best


def test_daly_is_young_where_checkpoints_are_short() -> None:
    assert model.daly(1.0, 1e8) == pytest.approx(model.young(1.0, 1e8), rel=1e-3)
    assert model.young(2.0, 100.0) == 20.0


@settings(deadline=None)
@given(size=st.floats(1, 1e12), devices=st.integers(1, 10_000))
def test_a_ring_sends_twice_the_bytes_at_most(size: float, devices: int) -> None:
    sent = model.ring_bytes(size, devices)
    assert 0 <= sent < 2 * size
    # every byte of the result is reduced over all devices: n - 1 additions each, and as many copies back
    assert sent * devices == pytest.approx(2 * (devices - 1) * size)


def test_more_devices_wait_longer_fail_more_often_and_keep_less() -> None:
    outcomes = [model.expect(devices, model.Work(), model.Cluster()) for devices in model.DEVICES]
    assert [one.devices for one in outcomes][:: len(outcomes) - 1] == [8, 8192]
    for fewer, more in pairwise(outcomes):
        assert more.step > fewer.step
        assert more.mtbf == fewer.mtbf / 2
        assert more.kept < fewer.kept
        assert more.goodput < fewer.goodput
    assert all(0 < one.goodput < one.kept < 1 for one in outcomes)


def test_the_published_run_of_llama_3() -> None:
    """419 unexpected interruptions in 54 days on 16,384 devices, and more than 90 % effective time."""
    cluster = model.Cluster(storage_bytes_per_second=2e12)
    mtbf = cluster.device_mtbf_hours * model.HOUR / 16_384
    assert 54 * 24 * model.HOUR / mtbf == pytest.approx(419)
    outcome = model.expect(16_384, model.Work(parameters=405e9), cluster)
    assert 0.90 < outcome.kept < 0.95
    slow = model.expect(16_384, model.Work(parameters=405e9), model.Cluster(restart_seconds=1_800))
    assert slow.kept < 0.9, "half an hour for each restart would have cost more than is published"


def test_the_page_shows_the_table_of_the_model() -> None:
    outcomes = [model.expect(devices, model.Work(), model.Cluster()) for devices in model.DEVICES]
    assert model.table(outcomes) in (ROOT / "docs" / "scaling.md").read_text()
    assert math.isclose(model.LLAMA_3_DEVICE_HOURS, 50_677, rel_tol=1e-4)
