"""Runs in several processes are stopped and resumed: with the same number of processes to the same bits, or another."""

import importlib
import json
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from ranks import FAILED, KILLED, TERMINATED, start
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.callbacks import EMA, Accumulate, GradientClip, KeepBestModel, LearningRate, On
from lumbre.processes import join_world

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Net(nn.Module):
    """With dropout, batch statistics, a count of its own, and layers in another order than they are used in."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.last = nn.Linear(width, 3)
        self.first = nn.Linear(6, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return self.last(self.drop(torch.relu(self.norm(self.first(x))))) * (1 + 1e-3 * self.calls)


def blobs(rows: int = 110) -> tuple[Tensor, Tensor]:
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0))
    return x, x[:, :3].argmax(1)


def fit(folder: Path | None, *callbacks: lb.Callback, width: int = 16, out: Path | None = None, **options: Any) -> None:
    """Train, and leave this process's final state in a file."""
    given: dict[str, Any] = {"epochs": 3, "batch_size": 16, "valid_data": 0.2, "seed": 3, **options}
    when = {name: given.pop(name) for name in ("steps", "wait", "keep") if name in given}
    resume = (
        None
        if folder is None
        else lb.Checkpoints(folder, **{"steps": 1, "wait": True, **when}, allow_changes="callbacks")
    )
    metrics = given.pop("metrics", [lb.metrics.Accuracy(), lb.metrics.AUROC()])
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=metrics)
    recipe = recipe.set_hparams(width=width).set_opt_hparams(lr=0.01)
    fitted = recipe.fit(
        blobs(), callbacks=callbacks, resume=resume, device="cpu", preflight=False, verbose=False, **given
    )
    if out is not None:
        reported = json.dumps({"history": fitted._history.records, "calls": fitted.model.calls})
        tensors = {name: value.contiguous() for name, value in fitted.model.state_dict().items()}
        safetensors.torch.save_file(tensors, out, {"reported": reported})


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What torch imports at its first step and its first group of processes, every child would import anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch uses what it has given up itself
        importlib.import_module("torch.distributed.nn.functional")
        importlib.import_module("torch.distributed.optim")
    fit(tmp_path_factory.mktemp("warm"), epochs=1)


def die_at(step: int, rank: int, how: int = signal.SIGKILL) -> lb.Callback:
    def die(ctx: lb.Context) -> None:
        # Updates that float16 skips count here, too; where it is tried, three batches make one.
        if ctx.step + ctx.skipped_batches() // 3 == step and torch.distributed.get_rank() == rank:
            os.kill(os.getpid(), how)

    return On(train_batch_begin=die)


def run(size: int, work: Callable[[int], object], folder: Path, expected: list[int], **environment: str) -> list[str]:
    """Do `work` in processes that must end in this way; return the output of each."""
    ranks = start(size, work, folder, **environment)
    statuses = ranks.ended()
    reported = [ranks.reported(rank) for rank in range(size)]
    assert statuses == expected, "\n".join(reported)
    return reported


def outs(size: int, folder: Path) -> list[bytes]:
    return [(folder / f"{rank}.out").read_bytes() for rank in range(size)]


def whole(size: int, folder: Path, callbacks: Callable[[], list[lb.Callback]], **options: Any) -> list[bytes]:
    """What each process has at the end of a run that nobody stops."""
    folder.mkdir()
    run(size, lambda rank: fit(None, *callbacks(), out=folder / f"{rank}.out", **options), folder, [0] * size)
    return outs(size, folder)


def kept() -> list[lb.Callback]:
    return [EMA(0.9), KeepBestModel(), LearningRate(lb.schedules.cosine())]


CASES: dict[str, tuple[int, Callable[[], list[lb.Callback]], dict[str, Any]]] = {
    "two": (2, kept, {}),
    "two, in parts": (
        2,
        lambda: [EMA(0.9), KeepBestModel(), LearningRate(lb.schedules.cosine())],
        {"strategy": "fsdp"},
    ),
    "groups, float16": (2, lambda: [Accumulate(3), GradientClip(1.0)], {"precision": "float16", "steps": 2}),
    # With four, the order in which gradients are added up shows in wide layers.
    "four": (4, list, {"width": 600, "batch_size": 40}),
}
LONG = ("two, in parts", "four")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case in LONG else []) for case in CASES]
)
def test_a_killed_run_goes_on_to_the_same_bits_in_every_process(case: str, tmp_path: Path) -> None:
    size, callbacks, options = CASES[case]
    plain = {name: value for name, value in options.items() if name != "steps"}
    last = whole(size, tmp_path / "whole", callbacks, **plain)
    folder = tmp_path / "run"
    step = 3 if "batch_size" in options else 5
    killed = [FAILED] * (size - 1) + [KILLED]
    run(size, lambda rank: fit(folder, *callbacks(), die_at(step, size - 1), **options), tmp_path / "logs", killed)
    assert list(folder.glob("step-*"))
    run(
        size,
        lambda rank: fit(folder, *callbacks(), out=tmp_path / f"{rank}.out", **options),
        tmp_path / "logs",
        [0] * size,
    )
    assert outs(size, tmp_path) == last


def test_one_message_names_the_process_that_is_gone(tmp_path: Path) -> None:
    reported = run(2, lambda rank: fit(tmp_path / "run", die_at(4, 0)), tmp_path / "logs", [KILLED, FAILED])
    assert reported[1].count("Traceback") == 1
    assert "lumbre.base._errors.PeerError: received: rank 1 of 2 cannot go on: rank 0 (process " in reported[1]
    assert "on this host) has ended" in reported[1]
    assert "torchrun --max-restarts" in reported[1]


def test_a_process_that_is_gone_at_once_is_not_blamed_on_the_checkpoint(tmp_path: Path) -> None:
    run(2, lambda rank: fit(tmp_path / "run", die_at(4, 0)), tmp_path / "logs", [KILLED, FAILED])
    again = On(train_batch_begin=lambda _: os.kill(os.getpid(), signal.SIGKILL))
    reported = run(
        2,
        lambda rank: fit(tmp_path / "run", *([again] if rank == 0 else [])),
        tmp_path / "again",
        [KILLED, FAILED],
    )
    assert "PeerError: received: rank 1 of 2 cannot go on: rank 0 (process " in reported[1]


def test_one_that_hangs_is_given_up_after_the_time_asked_for(tmp_path: Path) -> None:
    ranks = start(
        2,
        lambda rank: fit(None, die_at(4, 1, signal.SIGSTOP)),
        tmp_path / "logs",
        LUMBRE_TIMEOUT_SECONDS="3",
    )
    try:
        os.waitid(os.P_PID, ranks.pids[0], os.WEXITED | os.WNOWAIT)
    finally:
        os.kill(ranks.pids[1], signal.SIGKILL)
    assert ranks.ended() == [FAILED, KILLED]
    assert "PeerError: received: rank 0 of 2 cannot go on: the process of rank 1 does not answer" in ranks.reported(0)


def test_sigterm_to_one_stops_all_at_the_same_update(tmp_path: Path) -> None:
    last = whole(2, tmp_path / "whole", list)
    folder = tmp_path / "run"

    def work(rank: int) -> None:
        fit(folder, die_at(3, 1, signal.SIGTERM), steps=1000)

    run(2, work, tmp_path / "logs", [TERMINATED, TERMINATED])
    assert [path.name for path in sorted(folder.glob("step-*"))][-1] == "step-00000005"
    run(2, lambda rank: fit(folder, out=tmp_path / f"{rank}.out"), tmp_path / "logs", [0, 0])
    assert outs(2, tmp_path) == last


class Rows(lb.Callback):
    """Notes which rows this process trains on, batch by batch, over all its lives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        assert ctx.batch is not None
        rows = [] if not ctx.batch.size or ctx.batch.rows is None else list(map(int, ctx.batch.rows))
        with self.path.open("a") as file:
            file.write(json.dumps([ctx.epoch, ctx.batch_index, rows]) + "\n")


def seen(folder: Path) -> dict[tuple[int, int], list[int]]:
    """Rows of each batch, from all processes."""
    found: dict[tuple[int, int], list[int]] = {}
    for path in folder.glob("*.rows"):
        for line in path.read_text().splitlines():
            epoch, batch, rows = json.loads(line)
            found.setdefault((epoch, batch), []).extend(rows)
    return {place: sorted(rows) for place, rows in found.items()}


@pytest.mark.parametrize(
    ("before", "after", "strategy"),
    [
        (2, 1, None),
        pytest.param(1, 2, None, marks=pytest.mark.slow),
        pytest.param(4, 2, None, marks=pytest.mark.slow),
        pytest.param(2, 4, None, marks=pytest.mark.slow),
        pytest.param(2, 1, "fsdp", marks=pytest.mark.slow),
        (1, 2, "fsdp"),
    ],
)
def test_another_number_of_processes_goes_on_with_the_same_rows(
    before: int, after: int, strategy: str | None, tmp_path: Path
) -> None:
    def work(folder: Path, *callbacks: lb.Callback) -> Callable[[int], None]:
        folder.mkdir(exist_ok=True)

        def train(rank: int) -> None:
            rows = Rows(folder / f"{len(list(folder.glob('*.rows')))}-{os.getpid()}.rows")
            fit(tmp_path / folder.name / "run", rows, *callbacks, out=folder / f"{rank}.out", strategy=strategy)

        return train

    def stop(ctx: lb.Context) -> None:
        if ctx.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    run(1, work(tmp_path / "whole"), tmp_path / "logs", [0])
    begun, ended = [TERMINATED] * before, [0] * after
    run(before, work(tmp_path / "changed", On(train_batch_begin=stop)), tmp_path / "logs", begun)
    run(after, work(tmp_path / "changed"), tmp_path / "logs", ended)
    assert seen(tmp_path / "changed") == seen(tmp_path / "whole")
    records = [
        json.loads(safetensors.safe_open(path, "pt").metadata()["reported"])["history"]
        for path in (tmp_path / "changed").glob("*.out")
    ]
    assert all(one == records[0] for one in records)
    # Every row of the epoch that was cut in two is counted once, in whichever process.
    scores = [value for _, metric, epoch, value in records[0] if metric == "acc" and epoch == 2]
    rows = sum(len(rows) for (epoch, _), rows in seen(tmp_path / "whole").items() if epoch == 2)
    assert scores[0] * rows == pytest.approx(round(scores[0] * rows), abs=1e-6)


def test_a_changed_recipe_is_refused_by_all(tmp_path: Path) -> None:
    run(2, lambda rank: fit(tmp_path / "run"), tmp_path / "logs", [0, 0])
    reported = run(2, lambda rank: fit(tmp_path / "run", width=17), tmp_path / "logs", [FAILED, FAILED])
    assert all("ResumeError" in one and "hparams: was {'width': 16}, is {'width': 17}" in one for one in reported)


def test_a_finished_run_is_given_back(tmp_path: Path) -> None:
    first = whole(2, tmp_path / "first", list)
    for folder in (tmp_path / "second", tmp_path / "third"):
        folder.mkdir()
        work = lambda rank, folder=folder: fit(tmp_path / "run", out=folder / f"{rank}.out")  # noqa: E731
        run(2, work, tmp_path / "logs", [0, 0])
        assert outs(2, folder) == first


def test_verify_resume_is_for_one_process(tmp_path: Path) -> None:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)

    def asked(rank: int) -> object:
        join_world().gather(rank)  # both are there before one of them ends, which would be reported otherwise
        return recipe.verify_resume(blobs())

    reported = run(2, asked, tmp_path / "logs", [FAILED, FAILED])
    assert all("verify_resume() in a run that 2 processes share" in one for one in reported)
