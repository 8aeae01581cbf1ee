"""Denormal numbers are 0 while a run wants it, in all threads that compute, and as before in the end."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.devices import can_flush, flushed_denormals

pytestmark = pytest.mark.skipif(not can_flush(), reason="this processor computes with denormal numbers alone")

TINY = 1e-39  # denormal in float32


def zeros(count: int = 1 << 17) -> int:
    """How many of so many products of a denormal number with 1 are 0: large enough for all threads to take part."""
    return int((torch.full((count,), TINY) * 1.0).view(torch.int32).eq(0).sum())


def test_products_are_0_within_and_as_before_afterwards_also_after_an_error() -> None:
    assert zeros() == 0
    with flushed_denormals(True):
        assert zeros() == 1 << 17
        with flushed_denormals(False):
            assert zeros() == 0
        assert zeros() == 1 << 17
    with pytest.raises(ZeroDivisionError), flushed_denormals(True):
        raise ZeroDivisionError
    assert zeros() == 0


def test_other_threads_of_the_process_are_left_alone() -> None:
    begun, asked = threading.Event(), threading.Event()
    found: list[int] = []

    def other() -> None:
        begun.set()
        asked.wait()
        found.append(zeros(10))

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    with flushed_denormals(True):
        asked.set()
        thread.join()
    assert found == [0]


@pytest.mark.skipif(sys.platform != "linux", reason="threads of OpenMP are reached on Linux alone")
@pytest.mark.parametrize("early", [True, False], ids=["threads are there", "threads are made within"])
def test_all_threads_that_compute_are_set_and_put_back(early: bool) -> None:
    script = (
        "import torch; torch.set_num_threads(4)\n"
        "from lumbre.devices import flushed_denormals\n"
        f"from {Path(__file__).stem} import zeros\n"
        f"found = [zeros()] if {early} else []\n"
        "with flushed_denormals(True): found.append(zeros())\n"
        "print(*found, zeros())"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert [int(word) for word in done.stdout.split()] == [0] * early + [1 << 17, 0]


FOUND: list[int] = []


def note(ctx: lb.Context) -> None:
    FOUND.append(zeros(10))


def recipe(loss: Any = None) -> lb.Recipe:
    made = lb.setup(lambda: nn.Linear(2, 1), loss=loss or nn.MSELoss(), optimizer=optim.SGD)
    return made.set_opt_hparams(lr=0.01)


X = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
DATA = X, X.sum(1, keepdim=True)
QUIET = {"verbose": False, "preflight": False, "batch_size": 4}


def fit(loss: Any = None, **options: Any) -> tuple[lb.Fitted, list[int]]:
    FOUND.clear()
    fitted = recipe(loss).fit(DATA, callbacks=lb.callbacks.On(epoch_end=note), **{**QUIET, "epochs": 1, **options})
    return fitted, FOUND[:]


def test_long_runs_take_them_for_0_and_say_so_and_short_ones_do_not() -> None:
    long, found = fit(epochs=(1, 500), max_steps=1_000, max_seconds=1e-9)
    assert found == [10]
    assert "denormal numbers as 0" in long.engine
    short, found = fit(epochs=499)
    assert set(found) == {0}
    assert "denormal" not in short.engine
    assert zeros(10) == 0


def test_the_option_decides_where_it_is_given() -> None:
    assert fit(flush_denormal=True)[1] == [10]
    assert fit(flush_denormal=False, epochs=(1, 500), max_seconds=1e-9)[1] == [0]
    with pytest.raises(lb.OptionError, match="flush_denormal"):
        fit(flush_denormal="yes")


def test_a_callers_own_setting_stays() -> None:
    torch.set_flush_denormal(True)
    try:
        assert fit()[1] == [10]
        assert fit(flush_denormal=False)[1] == [0]
        assert zeros(10) == 10
    finally:
        torch.set_flush_denormal(False)


def masked(pred: Tensor, target: Tensor) -> Tensor:
    """A row is left out by log(0 + 1e-45) = -103.3, which a denormal number makes."""
    mask = torch.tensor([1.0, 1.0, 1.0, 0.0])
    return ((mask + 1e-45).log() / 100 + (pred - target).square()[:, 0]).mean()


def test_a_loss_that_needs_them_keeps_them() -> None:
    assert fit(masked, epochs=(1, 500), max_seconds=1e-9)[1] == [0]
    with pytest.raises(lb.NonFiniteLossError, match="flush_denormal=False"):
        fit(masked, flush_denormal=True)


class Masked(nn.Module):
    """Scores of which some are left out by log(0 + 1e-45) = -103.3: no loss of the others shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x) + (torch.tensor([1.0, 1.0, 0.0]) + 1e-45).log()


def test_a_net_that_needs_them_keeps_them() -> None:
    made = lb.setup(Masked, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    fitted = made.fit((X, torch.zeros(8, dtype=torch.int64)), **{**QUIET, "epochs": (1, 500), "max_seconds": 1e-9})
    assert "denormal" not in fitted.engine
    assert fitted.predict(X).isfinite().all()


def kept(resume: Any, epochs: int | tuple[int, int], **options: Any) -> bool:
    """Whether a run that is kept takes denormal numbers for 0, as it says."""
    fitted = recipe().fit(DATA, resume=resume, **{**QUIET, "epochs": epochs, **options})
    return "denormal numbers as 0" in fitted.engine


def test_a_run_that_goes_on_keeps_what_it_began_with(tmp_path: Path) -> None:
    assert kept(tmp_path, 2, flush_denormal=True)
    assert kept(tmp_path, 3)
    with pytest.raises(lb.ResumeError, match="flush_denormal: was True, is False"):
        kept(tmp_path, 4, flush_denormal=False)
    changed = lb.Checkpoints(tmp_path, allow_changes="flush_denormal")
    assert not kept(changed, 4, flush_denormal=False)


def test_a_short_run_that_becomes_long_keeps_them(tmp_path: Path) -> None:
    assert not kept(tmp_path, 1)
    assert not kept(tmp_path, (2, 500), max_seconds=1e-9)


def test_files_and_replays_have_the_setting(tmp_path: Path) -> None:
    fitted, _ = fit(flush_denormal=True)
    fitted.save(tmp_path / "line.lumbre")
    loaded = lb.load(tmp_path / "line.lumbre", recipe().module)
    small = torch.full((4, 2), TINY)
    with torch.no_grad():
        loaded.model.bias.zero_()
        fitted.model.bias.zero_()
    assert loaded.predict(small).count_nonzero() == fitted.predict(small).count_nonzero() == 0
    FOUND.clear()
    again = lb.replay(tmp_path / "line.lumbre", recipe(), DATA, callbacks=[lb.callbacks.On(epoch_end=note)])
    assert again.same
    assert FOUND == [10]
