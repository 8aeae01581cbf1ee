"""Devices and precision on a machine that has a CPU."""

import pytest
import torch

import lumbre as lb
from lumbre.devices import Precision, resolve_device, seeder


def test_auto_takes_the_best_there_is() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve_device("auto").type == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_refused_at_once() -> None:
    with pytest.raises(lb.OptionError, match="torch sees 0 CUDA devices"):
        resolve_device("cuda")


def test_a_stream_depends_on_name_epoch_and_batch_alone() -> None:
    seed_step = seeder(1, torch.device("cpu"))

    def draw(*position: object) -> float:
        seed_step(*position)
        return torch.rand(()).item()

    positions = [("step", 1, 0), ("step", 1, 1), ("step", 2, 0), ("valid", 1, 0)]
    with torch.random.fork_rng(devices=[]):
        values = [draw(*position) for position in positions]
        assert len(set(values)) == 4
        assert [draw(*position) for position in reversed(positions)] == values[::-1]


def test_precision() -> None:
    cpu = torch.device("cpu")
    assert Precision("float32", cpu).scaler() is None
    assert Precision("bfloat16", cpu).scaler() is None
    assert Precision("float16", cpu).scaler() is not None
    with Precision("bfloat16", cpu).autocast():
        assert torch.is_autocast_enabled("cpu")
    with Precision("float32", cpu).autocast():
        assert not torch.is_autocast_enabled("cpu")
