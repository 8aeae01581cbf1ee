"""Several real processes on one study: who runs what, and what becomes of the trial of one that is killed."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import ROOT, Net, blobs
from lumbre.processes import _workers as farewell
from lumbre.tune import _study

FORK = multiprocessing.get_context("fork")
# So wide that no two trials of a test have one width, by which they are known here.
SPACE = {"hparams": {"d_hidden": (4, 400)}, "opt_hparams": {"lr": lb.LogRange(1e-3, 1e-1)}}
FILES = ["tune.db", "tune.journal"]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(), reason="tests with processes that are forked"
)


class Note(lb.Callback):
    """Writes a line for every run that begins: process, width. Then waits, for a time or for another process."""

    def __init__(self, file: Path, seconds: float = 0.0, *, processes: int = 1) -> None:
        self.file = file
        self.seconds = seconds
        self.processes = processes

    def on_fit_begin(self, ctx: lb.Context) -> None:
        width = next(ctx.model.parameters()).shape[0]
        with self.file.open("a") as lines:
            lines.write(f"{os.getpid()} {width}\n")
        time.sleep(self.seconds)
        deadline = time.monotonic() + 60
        while len({pid for pid, _ in runs(self.file)}) < self.processes and time.monotonic() < deadline:
            time.sleep(0.02)


class Stops(Note):
    """Stops its process when a run begins, until another lets it go on."""

    def on_fit_begin(self, ctx: lb.Context) -> None:
        super().on_fit_begin(ctx)
        os.kill(os.getpid(), signal.SIGSTOP)


class Deadly(Note):
    """Kills the process that runs the third trial: the first time, or always."""

    def __init__(self, file: Path, *, always: bool = False) -> None:
        super().__init__(file)
        self.always = always

    def on_fit_begin(self, ctx: lb.Context) -> None:
        super().on_fit_begin(ctx)
        widths = [width for _, width in runs(self.file)]
        own = [width for pid, width in runs(self.file) if pid == os.getpid()]  # the other worker writes there, too
        if len(widths) >= 3 and own[-1] == widths[2] and (self.always or widths.count(widths[2]) == 1):
            os.kill(os.getpid(), signal.SIGKILL)


def runs(file: Path) -> list[tuple[int, int]]:
    return [(int(pid), int(width)) for pid, width in map(str.split, file.read_text().splitlines())]


def search(study: Path | None, note: Note, *, trials: int = 6, workers: int = 1) -> lb.Tuned:
    recipe = lb.setup(lambda d_hidden: Net(4, d_hidden=d_hidden), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    options = {"epochs": 1, "valid_data": 0.25, "verbose": False, "callbacks": [note], "prune": False}
    return lb.tune(recipe, SPACE, blobs(), trials=trials, study=study, workers=workers, **options)


@pytest.mark.parametrize("file", [pytest.param("tune.db", marks=pytest.mark.slow), "tune.journal", None])
def test_two_workers_never_run_the_same_trial(tmp_path: Path, file: str | None) -> None:
    tuned = search(tmp_path / file if file else None, Note(tmp_path / "runs", processes=2), trials=8, workers=2)
    frame, seen = tuned.frame(), runs(tmp_path / "runs")
    assert list(frame["state"]) == ["complete"] * 8
    assert len(seen) == 8, "as many runs as trials were asked for"
    assert sorted(width for _, width in seen) == sorted(frame["d_hidden"])
    pids = {pid for pid, _ in seen}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert len({trial.user_attrs["worker"] for trial in tuned.study.trials}) == 2
    again = tuned.best.fit(blobs(), **{**tuned.best_options, "callbacks": ()}, verbose=False)
    # Not to the last digit: a worker has fewer threads, and their number may change the order of sums.
    assert again.history["value"].iloc[-1] == pytest.approx(tuned.best_value, rel=1e-5)


@pytest.mark.parametrize("file", ["tune.db", pytest.param("tune.journal", marks=pytest.mark.slow)])
def test_a_killed_workers_trial_is_tried_again_with_the_same_parameters(tmp_path: Path, file: str) -> None:
    tuned = search(tmp_path / file, Deadly(tmp_path / "runs"), workers=2)
    frame = tuned.frame()
    failed = frame[frame["state"] == "failed"]
    assert list(failed["error"]) == ["its worker died; tried again"]
    assert (frame["state"] == "complete").sum() == 6, "the killed one does not count"
    twice = frame[frame["d_hidden"] == failed["d_hidden"].item()]
    assert list(twice["state"]) == ["failed", "complete"]
    assert twice["lr"].nunique() == 1
    assert len(runs(tmp_path / "runs")) == 7


def test_a_trial_that_always_kills_is_given_up(tmp_path: Path) -> None:
    tuned = search(tmp_path / "tune.journal", Deadly(tmp_path / "runs", always=True), trials=4, workers=2)
    frame = tuned.frame()
    assert (frame["state"] == "complete").sum() == 3
    assert (frame["state"] == "failed").sum() == 1 + _study.MAX_RETRIES
    assert frame["d_hidden"][frame["state"] == "failed"].nunique() == 1
    assert frame["error"].dropna().str.startswith("its worker died, and those of trials").sum() == 1


@pytest.mark.parametrize("file", ["tune.journal", pytest.param("tune.db", marks=pytest.mark.slow)])
def test_the_trial_of_a_script_that_was_killed_is_taken_over(tmp_path: Path, file: str, monkeypatch) -> None:
    monkeypatch.setattr(_study, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(_study, "DEAD_SECONDS", 4.0)
    stuck = FORK.Process(target=search, args=(tmp_path / file, Note(tmp_path / "stuck", 1000.0)))
    stuck.start()
    while not (tmp_path / "stuck").exists():
        time.sleep(0.05)
    other = FORK.Process(target=search, args=(tmp_path / file, Note(tmp_path / "runs")), kwargs={"trials": 3})
    other.start()
    other.join(2.5)
    assert other.is_alive(), "it waits for the other's trial, as long as its heart beats"
    os.kill(stuck.pid, signal.SIGKILL)
    stuck.join()
    other.join(60)
    assert other.exitcode == 0
    frame = search(tmp_path / file, Note(tmp_path / "none"), trials=3).frame()
    assert list(frame["state"]) == ["failed", "complete", "complete", "complete"]
    assert frame["error"][0] == "its worker fell silent; tried again"
    assert tuple(frame.loc[0, ["d_hidden", "lr"]]) == tuple(frame.loc[3, ["d_hidden", "lr"]])
    assert not (tmp_path / "none").exists(), "all was done"


def test_a_worker_that_was_thought_dead_adds_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(_study, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(_study, "DEAD_SECONDS", 1.5)
    path = tmp_path / "tune.journal"
    slow = FORK.Process(target=search, args=(path, Stops(tmp_path / "slow")), kwargs={"trials": 2})
    slow.start()
    os.waitid(os.P_PID, slow.pid, os.WSTOPPED | os.WNOWAIT)
    time.sleep(2)  # longer than DEAD_SECONDS: how much longer does not matter
    tuned = search(path, Note(tmp_path / "runs"), trials=2)
    assert list(tuned.frame()["state"]) == ["failed", "complete", "complete"]
    os.kill(slow.pid, signal.SIGCONT)
    slow.join(60)
    assert slow.exitcode == 0
    assert search(path, Note(tmp_path / "none"), trials=2).frame().equals(tuned.frame())


def test_what_a_worker_raises_reaches_the_caller(tmp_path: Path) -> None:
    x, target = blobs()
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(d_in=5)
    space = {"hparams": {"d_hidden": (4, 64)}}
    with pytest.raises(lb.LumbreError) as raised:
        lb.tune(recipe, space, (x[:9], target), epochs=1, valid_data=0.25, workers=2, verbose=False)
    assert type(raised.value) is lb.DataError
    assert multiprocessing.active_children() == []


class Halts(Note):
    """The third run that begins and those after it wait without end: two trials are done, and each worker is at one."""

    def on_fit_begin(self, ctx: lb.Context) -> None:
        super().on_fit_begin(ctx)
        pids = [pid for pid, _ in runs(self.file)]
        while len(pids) - 1 - pids[::-1].index(os.getpid()) >= 2:
            time.sleep(1)


def test_ctrl_c_ends_all_workers(tmp_path: Path) -> None:
    path = tmp_path / "tune.db"

    def interrupted() -> None:
        os.setpgrp()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which the suite may have been started without
        frame = search(path, Halts(tmp_path / "runs"), trials=50, workers=2).frame()
        frame.to_csv(tmp_path / "frame.csv")

    script = FORK.Process(target=interrupted)
    script.start()
    while not (tmp_path / "runs").exists() or len(runs(tmp_path / "runs")) < 4:
        assert script.is_alive()
        time.sleep(0.05)
    os.killpg(script.pid, signal.SIGINT)
    script.join(120)
    assert script.exitcode == 0
    text = (tmp_path / "frame.csv").read_text()
    assert text.count("complete") == 2
    assert "running" not in text
    assert text.count("waiting") == 2


@pytest.mark.usefixtures("no_ctrl_c")
def test_workers_end_with_an_error_also_where_ctrl_c_is_ignored(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(farewell, "_FAREWELL_SECONDS", 3600.0)  # longer than a test may take

    class OneFails(Note):
        def on_fit_begin(self, ctx: lb.Context) -> None:
            super().on_fit_begin(ctx)
            if runs(self.file)[0][0] != os.getpid():
                raise lb.DataError("the second", "the first", "wait")
            time.sleep(3600)

    with pytest.raises(lb.LumbreError):
        search(tmp_path / "tune.journal", OneFails(tmp_path / "runs"), trials=4, workers=2)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_scripts_started_by_hand_share_a_study(tmp_path: Path, file: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sys, time, signal
sys.path.insert(0, {str(ROOT / "tests")!r})
import torch
from torch import nn, optim
import lumbre as lb
from conftest import Net, blobs
from lumbre.tune import _study
_study.BEAT_SECONDS, _study.DEAD_SECONDS = 0.5, 5.0

class Note(lb.Callback):
    def on_fit_begin(self, ctx):
        print(os.getpid(), next(ctx.model.parameters()).shape[0], flush=True)
        time.sleep(0.2)

recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(d_in=4)
space = {{"hparams": {{"d_hidden": (4, 64)}}, "opt_hparams": {{"lr": lb.LogRange(1e-3, 1e-1)}}}}
tuned = lb.tune(recipe, space, blobs(), trials=30, study={str(tmp_path / file)!r}, epochs=1, valid_data=0.25,
                callbacks=Note(), verbose=False)
print("end", len(tuned.frame()), flush=True)
""")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)
    ]
    first = started[0].stdout.readline()
    time.sleep(0.1)
    started[0].kill()
    assert first
    lines = [process.communicate(timeout=200)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [-signal.SIGKILL, 0, 0]
    assert lines[1][-1] == lines[2][-1] == "end 31"
    widths = [int(line.split()[1]) for part in [[first, *lines[0]], *lines[1:]] for line in part if "end" not in line]
    study = _study.storage_of(tmp_path / file)
    trials = study.get_all_trials(study.get_study_id_from_name("lumbre"))
    lost = [trial for trial in trials if trial.state.name == "FAIL"]
    assert len(lost) == 1
    assert sorted(widths) == sorted(trial.params["d_hidden"] for trial in trials)
    assert [trial.params for trial in trials].count(lost[0].params) == 2


@pytest.mark.slow
def test_processes_that_are_spawned(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
import threading
sys.path.insert(0, {str(ROOT / "tests")!r})
from torch import nn, optim
import torch
import lumbre as lb
from conftest import Net, blobs

torch.accelerator.is_available = lambda: True  # as on a machine with a GPU: processes are spawned
if __name__ == "__main__":
    net = Net
    if sys.argv[1:] == ["lambda"]:
        net = lambda d_in, d_hidden: Net(d_in, d_hidden=d_hidden)
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    tuned = lb.tune(recipe.set_hparams(d_in=4), {{"hparams": {{"d_hidden": [4, 8, 16, 32]}}}}, blobs(), trials=4,
                    workers=2, epochs=1, valid_data=0.25)
    print(len({{trial.user_attrs["worker"] for trial in tuned.study.trials}}), len(tuned.frame()))
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1].endswith(" 4"), done.stderr
    refused = subprocess.run([sys.executable, script, "lambda"], capture_output=True, text=True, timeout=200)
    assert refused.returncode == 1
    assert "OptionError" in refused.stderr
    assert "define the module in a file" in refused.stderr


class Roulette(lb.Callback):
    """Kills one process in three, at any moment of the next quarter of a second, while it writes or takes a trial."""

    def on_fit_begin(self, ctx: lb.Context) -> None:
        rng = random.SystemRandom()
        if rng.random() < 1 / 3:
            threading.Timer(rng.random() / 4, os.kill, (os.getpid(), signal.SIGKILL)).start()


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_workers_that_are_killed_at_any_moment(tmp_path: Path, file: str) -> None:
    recipe = lb.setup(lambda d_hidden: Net(4, d_hidden=d_hidden), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    options = {"epochs": 3, "valid_data": 0.25, "verbose": False, "callbacks": [Roulette()]}
    tuned = lb.tune(recipe, SPACE, blobs(), trials=40, workers=2, study=tmp_path / file, **options)
    trials = tuned.study.get_trials()
    done = [trial.params for trial in trials if _study.counts(trial)]
    lost = [trial.params for trial in trials if not _study.counts(trial)]
    assert lost
    assert len(done) == 40
    assert all(done.count(params) == 1 for params in done), "no trial was run to its end twice"
    assert all(params in done for params in lost if len(params) == 2), "those that had their parameters kept them"
