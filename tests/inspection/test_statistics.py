"""Statistics gathered over batches are those of the whole tensor."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lumbre.base import DataError
from lumbre.inspection import Statistics
from lumbre.inspection._statistics import QUANTILES, Gathered, sketch

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


def gathered(parts: list[Tensor], quantiles: tuple[float, ...] = QUANTILES, **options: Any) -> Statistics:
    found = Gathered("layer", "Kind", quantiles, **options)
    for part in parts:
        found.first(part)
    for part in parts:
        found.second(part)
    return found.result()


def same(found: Statistics, whole: Tensor) -> None:
    values = whole.double().numpy()
    scale = np.abs(values).max() or 1.0
    assert found.count == values.size
    assert found.mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-14 * scale)
    assert found.std == pytest.approx(values.std(), rel=1e-9, abs=1e-12 * scale)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.zeros == (values == 0).mean()
    assert found.l1_norm == pytest.approx(np.abs(values).sum(), rel=1e-12)
    assert found.l2_norm == pytest.approx(np.sqrt((values**2).sum()), rel=1e-12)
    for share, value in found.quantiles.items():
        assert value == pytest.approx(np.quantile(values, share), rel=1e-12, abs=1e-14 * scale), share


@settings(max_examples=60, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=60), cut=st.integers(1, 59))
def test_any_numbers_cut_anywhere(values: list[float], cut: int) -> None:
    whole = torch.tensor(values, dtype=torch.float32)
    same(gathered([whole[:cut], whole[cut:]]), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8])
def test_any_type(dtype: torch.dtype) -> None:
    whole = (3 * torch.randn(40, 7)).relu().to(dtype)
    same(gathered(list(whole.split(9))), whole)


def test_many_numbers_with_ties_and_one_far_away() -> None:
    torch.manual_seed(0)
    whole = torch.cat([torch.randn(50_000).relu(), torch.full((5_000,), 0.25), torch.tensor([1e20, -1e20, -0.0])])
    same(gathered(list(whole.split(7_000)), quantiles=(0.0, 0.001, 0.5, 0.6, 0.999, 1.0)), whole)


def test_chunks_of_a_large_tensor_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumbre.inspection._statistics._CHUNK", 1000)
    whole = 1e4 + torch.randn(12_345)
    same(gathered([whole]), whole)


def test_what_is_not_finite_is_told_and_not_hidden() -> None:
    broken = gathered([torch.tensor([1.0, 2.0, math.nan, math.inf])])
    assert broken.nonfinite == 0.5
    assert all(math.isnan(value) for value in (broken.mean, broken.minimum, *broken.quantiles.values()))
    assert broken.histogram is not None
    assert sum(broken.histogram.counts) == 2
    infinite = gathered([torch.tensor([1.0, 2.0, 3.0, -math.inf])], quantiles=(0.0, 1.0))
    assert infinite.quantiles == {0.0: -math.inf, 1.0: 3.0}
    assert gathered([torch.tensor([math.nan])]).histogram is None


def test_the_histogram_leaves_out_half_a_percent_at_each_end() -> None:
    torch.manual_seed(0)
    whole = torch.cat([torch.randn(20_000), torch.tensor([1e6, -1e6])])
    found = gathered(list(whole.split(3_000))).histogram
    assert found is not None
    assert -3 < found.low < -2.4
    assert 2.4 < found.high < 3
    inside = ((whole >= found.low) & (whole <= found.high)).sum()
    assert sum(found.counts) == inside
    assert inside >= 0.99 * len(whole)
    expected = torch.histc(whole, len(found.counts), found.low, found.high)
    assert (torch.tensor(found.counts) - expected).abs().max() <= 2  # at the edges the last bit decides


def test_a_constant_has_a_histogram_too() -> None:
    found = gathered([torch.ones(8)])
    assert found.std == 0
    assert found.histogram is not None
    assert sum(found.histogram.counts) == 8


def test_dead_units_are_those_never_positive_in_any_batch() -> None:
    values = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]])
    found = gathered(list(values.split(1)), unit_dim=1)
    assert (found.units, found.dead) == (4, 2)
    assert gathered([values - 1], unit_dim=1).dead is None, "a layer that gives negative values is alive"
    maps = torch.zeros(2, 3, 5, 5)
    maps[1, 2, 4, 4] = 1
    assert gathered([maps], unit_dim=1).dead == 2


def test_saturation_counts_the_hundredth_at_each_end() -> None:
    values = torch.tensor([-1.0, -0.985, -0.97, 0.0, 0.979, 0.981, 1.0, 0.5])
    assert gathered([values[:3], values[3:]], ends=(-1.0, 1.0)).saturated == 4 / 8
    assert gathered([values]).saturated is None


def test_data_that_changes_between_the_passes_is_refused() -> None:
    found = Gathered("fc", "Linear", (0.5,))
    found.first(torch.ones(5))
    found.second(torch.ones(4))
    with pytest.raises(DataError, match="5 values of fc in a first pass and 4 in a second"):
        found.result()


def test_a_sketch_of_a_small_tensor_is_exact() -> None:
    torch.manual_seed(0)
    values = torch.randn(16, 40)
    found = sketch("layer", "Kind", values).result()
    assert found.mean == pytest.approx(values.double().mean().item())
    for share, value in found.quantiles.items():
        assert value == pytest.approx(np.quantile(values.numpy(), share), rel=1e-5, abs=1e-6)


def test_a_sketch_of_a_large_tensor_takes_values_evenly() -> None:
    values = torch.linspace(0, 1, 1_000_000)
    found = sketch("layer", "Kind", values).result()
    assert found.count == 1_000_000
    assert found.maximum == 1
    for share, value in found.quantiles.items():
        assert value == pytest.approx(share, abs=1e-4)
    assert found.histogram is not None
    assert sum(found.histogram.counts) <= 65_536


def test_a_sketch_of_what_is_not_finite() -> None:
    found = sketch("layer", "Kind", torch.tensor([1.0, math.nan])).result()
    assert found.nonfinite == 0.5
    assert found.histogram is None
    constant = sketch("layer", "Kind", torch.zeros(4, 2), unit_dim=1).result()
    assert (constant.dead, constant.zeros) == (2, 1.0)
    assert constant.histogram is not None
    assert sum(constant.histogram.counts) == 8
