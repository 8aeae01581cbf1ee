"""A function in several processes: what it gives back, and how it fails."""

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from lumbre.base import can_fork

SCRIPT = """
import torch, lumbre as lb
from torch import nn, optim

class Net(nn.Linear):
    pass

def train(rows):
    x = torch.linspace(-1, 1, rows)[:, None]
    recipe = lb.setup(Net, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    recipe = recipe.set_hparams(in_features=1, out_features=1)
    return recipe.fit((x, 3 * x), epochs=20, device="cpu")

x = torch.randn(600, 600, requires_grad=True)
(x @ x).sum().backward()  # torch's threads are there before the fork
fitted = lb.launch(train, 100, devices=2)
assert fitted.predict(torch.ones(2, 1)).shape == (2, 1)
print("loss", round(fitted.evaluate((torch.ones(4, 1), 3 * torch.ones(4, 1))).metrics["loss"], 2))
"""


def test_a_plain_script_trains_in_two_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Epoch 1/") == 1, "one process speaks"
    assert done.stdout.strip().endswith("loss 0.0")
    assert done.stderr == ""


def place(*given: int) -> tuple[int, int, tuple[int, ...]]:
    x = torch.ones(4, 1)
    recipe = lb.setup(lambda: nn.Linear(1, 1), loss=nn.MSELoss(), optimizer=optim.SGD)
    recipe.fit((x, x), epochs=1, verbose=False, device="cpu", preflight=False)
    return torch.distributed.get_rank(), torch.distributed.get_world_size(), given


def test_the_value_is_that_of_the_first_process_and_nothing_else_changes() -> None:
    before = dict(os.environ), signal.getsignal(signal.SIGTERM), logging.getLogger("torch.distributed.elastic").level
    assert lb.launch(place, 7, 8, devices=2) == (0, 2, (7, 8))
    after = dict(os.environ), signal.getsignal(signal.SIGTERM), logging.getLogger("torch.distributed.elastic").level
    assert before == after


@pytest.fixture
def _autograd_has_threads() -> Generator[None]:
    """A thread with a name of those that torch's autograd starts for GPUs, whose forks cannot compute gradients."""
    named, done = threading.Event(), threading.Event()

    def thread() -> None:
        Path("/proc/thread-self/comm").write_text("pt_autograd_0")
        named.set()
        done.wait()

    started = threading.Thread(target=thread)
    started.start()
    assert named.wait(60)
    yield
    done.set()
    started.join()


SEEN_BY_FORKS: list[str] = []


def seen() -> list[str]:
    return SEEN_BY_FORKS


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.usefixtures("_autograd_has_threads")
def test_where_a_fork_could_not_compute_gradients_processes_start_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SEEN_BY_FORKS", ["set after the import"])
    assert not can_fork()
    assert lb.launch(seen, devices=1) == []


def deaf(signals: list[int]) -> list[int]:
    """Send signals to this process and to the one that launched it; gives those that it ignores."""
    for number in signals:
        os.kill(os.getpid(), number)
        os.kill(os.getppid(), number)
    return [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]


@pytest.mark.usefixtures("no_ctrl_c")
def test_what_the_caller_ignores_stays_ignored_in_all_processes() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        assert lb.launch(deaf, [signal.SIGINT, signal.SIGHUP], devices=1) == [signal.SIGINT, signal.SIGHUP]
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("ctrl_c")
def test_what_the_caller_does_not_ignore_is_heard_in_all_processes() -> None:
    assert signal.SIGINT not in lb.launch(deaf, [], devices=1)


def fail(how: str) -> None:
    place()
    if torch.distributed.get_rank() == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise KeyError("no such thing")
    torch.distributed.barrier()  # waits for the other, which never comes


def fail_late(folder: Path) -> None:
    """The first process says that the second is gone before the error of that is known."""
    if os.environ["RANK"] == "0":
        (folder / "seen").touch()
        raise RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1")
    while not (folder / "seen").exists():
        time.sleep(0.01)
    raise KeyError("the cause")


def test_the_error_of_the_process_that_ended_first_is_given(tmp_path: Path) -> None:
    with pytest.raises(lb.LaunchError, match="process 1: KeyError: 'the cause'"):
        lb.launch(fail_late, tmp_path, devices=2)


@pytest.mark.parametrize(
    ("how", "said"), [("raised", "process 1: KeyError: 'no such thing'"), ("killed", "was killed by SIGKILL")]
)
def test_a_process_that_fails_ends_all_with_one_error(how: str, said: str) -> None:
    with pytest.raises(lb.LaunchError, match=said) as error:
        lb.launch(fail, how, devices=2)
    assert ("in fail" in str(error.value)) == (how == "raised"), "the traceback is that of the process"


def test_a_value_that_cannot_be_sent_is_named() -> None:
    def local() -> object:
        return lambda: 3

    with pytest.raises(lb.LaunchError, match="a function that cannot be sent"):
        lb.launch(local, devices=1)


def collect() -> int:
    gc.collect()
    return len(gc.garbage)


def test_what_a_launch_that_failed_has_left_is_not_freed_in_the_next() -> None:
    with pytest.raises(lb.LaunchError):
        lb.launch(fail, "raised", devices=2)
    assert lb.launch(collect, devices=1) == 0


def test_what_cannot_be_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(lb.OptionError, match="devices=0"):
        lb.launch(place, devices=0)
    with pytest.raises(lb.OptionError, match="a function"):
        lb.launch(3, devices=2)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(lb.OptionError, match="1 GPUs"):
            lb.launch(place, devices=2)
    with monkeypatch.context() as patch:  # a notebook in which CUDA was used
        patch.setattr(torch.cuda, "is_initialized", lambda: True)
        patch.setattr(place, "__module__", "__main__")
        patch.delattr("__main__.__file__", raising=False)  # a worker of pytest-xdist has none
        with pytest.raises(lb.OptionError, match="after a GPU or torch's compiler was used"):
            lb.launch(place, devices=2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(lb.OptionError, match="shares a run already"):
        lb.launch(place, devices=2)


def test_processes_that_start_afresh_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert lb.launch(os.path.join, "a", "b", devices=1) == os.path.join("a", "b")
