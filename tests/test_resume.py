"""Runs that are stopped and resumed: to the same bits, or refused with a list of changes."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lumbre as lb
from lumbre.callbacks import EMA, SWA, Accumulate, EarlyStopping, KeepBestModel, LearningRate, LRScheduler, Mixup, On
from lumbre.resume import _state as _run_state
from lumbre.storage import CheckpointStore

# The functions given to `On` count batches or epochs, which a test does anew on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:checkpoints do not keep end.defaults")


class Stop(Exception):
    pass


def print_nothing(ctx: lb.Context) -> None:
    """A callback that is missing in the resumed run must be named as a change."""


class Net(nn.Module):
    """With dropout, batch statistics, and a count of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return self.layers(x) * (1 + 1e-3 * self.calls)


def blobs(rows: int = 74) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    target = torch.arange(rows) % 3
    return torch.randn(rows, 4, generator=generator) + nn.functional.one_hot(target, 4), target


def classifier(optimizer: Callable[..., Any] = optim.AdamW, **options: Any) -> lb.Recipe:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, metrics=lb.metrics.Accuracy())
    return recipe.set_opt_hparams(**{"lr": 0.01, **options})


def same(left: lb.Fitted, right: lb.Fitted) -> None:
    for (name, one), (_, other) in zip(left.model.state_dict().items(), right.model.state_dict().items(), strict=True):
        assert torch.equal(one, other), name
    assert left._history.records == right._history.records


def killed_and_resumed(fit: Callable[..., lb.Fitted], folder: Path, every: int = 3, **options: Any) -> lb.Fitted:
    """Stop after every few batches and resume, until the end."""
    checkpoints = lb.Checkpoints(folder, steps=1, wait=True, allow_changes="callbacks", **options)
    for _ in range(100):
        seen = [0]

        def end(ctx: lb.Context, seen: list[int] = seen) -> None:
            seen[0] += 1
            if seen[0] > every:
                raise Stop

        try:
            return fit(On(train_batch_end=end), resume=checkpoints)
        except lb.CallbackError as error:
            if not isinstance(error.__cause__, Stop):
                raise
    raise AssertionError("it never ends")


class Noisy(Dataset):
    """Rows with noise from three generators, drawn in `__getitem__`."""

    def __init__(self) -> None:
        self.x, self.y = blobs()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(4) + random.random() + float(np.random.rand())
        return self.x[row] + 0.3 * noise, self.y[row]


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = blobs()
        for row in range(len(y)):
            yield x[row] + torch.randn(4), y[row]


def shuffling(**options: Any) -> DataLoader:
    return DataLoader(TensorDataset(*blobs()), 16, shuffle=True, **options)


def noise(x: Tensor, seeds: Tensor) -> Tensor:
    return x + 0.1 * torch.randn(x.shape) + (seeds % 7).float()[:, None] / 70


OTHER = On(epoch_end=print_nothing)
PLAIN: dict[str, Any] = {"epochs": 3, "batch_size": 16, "valid_data": 0.2}
CASES: dict[str, tuple[Callable[[], lb.Recipe], Callable[[], Any], Callable[[], dict[str, Any]]]] = {
    "plain": (classifier, blobs, dict),
    "averages": (classifier, blobs, lambda: {"callbacks": [EMA(0.9), KeepBestModel()]}),
    "swa": (classifier, blobs, lambda: {"callbacks": [SWA(0.4, lr=0.02)]}),
    "schedule": (classifier, blobs, lambda: {"callbacks": [LearningRate(lb.schedules.one_cycle())]}),
    "torch schedule": (
        lambda: classifier(optim.SGD, lr=0.1, momentum=0.9),
        blobs,
        lambda: {"callbacks": [LRScheduler(optim.lr_scheduler.MultiStepLR, milestones=[1, 2], gamma=0.3)]},
    ),
    "one cycle": (
        classifier,
        blobs,
        lambda: {"callbacks": [LRScheduler(optim.lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1)]},
    ),
    "plateau": (classifier, blobs, lambda: {"callbacks": [lb.schedules.plateau(patience=0, min_delta=0.5)]}),
    "early stopping": (
        classifier,
        blobs,
        lambda: {"epochs": 9, "callbacks": [EarlyStopping(patience=1, min_delta=0.2, restore_best=True)]},
    ),
    "mixup and accumulation": (classifier, blobs, lambda: {"callbacks": [Mixup(), Accumulate(3)]}),
    "augmentation": (classifier, blobs, lambda: {"augment": noise}),
    "random rows": (classifier, Noisy, lambda: {"valid_data": Noisy()}),
    "balanced": (classifier, blobs, lambda: {"sampler": "balanced"}),
    "float16": (classifier, blobs, lambda: {"precision": "float16"}),
    "bfloat16": (classifier, blobs, lambda: {"precision": "bfloat16"}),
    "lbfgs": (lambda: classifier(optim.LBFGS, lr=0.1, max_iter=3), blobs, dict),
    "momentum": (lambda: classifier(optim.SGD, momentum=0.9, weight_decay=0.01), blobs, dict),
    "ready loader": (classifier, shuffling, lambda: {"batch_size": None, "valid_data": shuffling()}),
    "loader with a generator": (
        classifier,
        lambda: shuffling(generator=torch.Generator().manual_seed(5)),
        lambda: {"batch_size": None, "valid_data": blobs()},
    ),
    "random loader": (
        classifier,
        lambda: DataLoader(Noisy(), 16, shuffle=True),
        lambda: {"batch_size": None, "valid_data": blobs()},
    ),
    "stream": (classifier, Stream, lambda: {"valid_data": blobs()}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_stopped_has_the_bits_of_one_that_was_not(case: str, tmp_path: Path) -> None:
    recipe, data, options = CASES[case]

    def fit(*more: lb.Callback, **resume: Any) -> lb.Fitted:
        given = {**PLAIN, **options()}
        callbacks = [*given.pop("callbacks", []), *more]
        given = {name: value for name, value in given.items() if value is not None}
        return recipe().fit(data(), callbacks=callbacks, verbose=False, preflight=False, **given, **resume)

    same(fit(), killed_and_resumed(fit, tmp_path / "run"))


@pytest.mark.parametrize("part", ["optimizers", "callbacks", "model", "meter", "engine", "progress"])
def test_without_one_part_of_the_state_the_bits_differ(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*more: lb.Callback, **resume: Any) -> lb.Fitted:
        # With the larger factor the first gradients overflow float16, until the scale has come down.
        factor = 30 if part == "engine" else 1
        given: dict[str, Any] = {**PLAIN, "precision": "float16"}
        recipe = replace(classifier(), loss=lambda pred, target: factor * nn.functional.cross_entropy(pred, target))
        return recipe.fit(blobs(), callbacks=[EMA(0.9), *more], verbose=False, preflight=False, **given, **resume)

    whole = fit()
    taken, _ = _run_state.PARTS[part]
    monkeypatch.setitem(_run_state.PARTS, part, (taken, lambda run, state: None))
    with pytest.raises(AssertionError):
        same(whole, killed_and_resumed(fit, tmp_path / "run"))


def test_without_the_seed_of_a_step_the_bits_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*more: lb.Callback, **resume: Any) -> lb.Fitted:
        return classifier().fit(blobs(), callbacks=more, verbose=False, preflight=False, **PLAIN, **resume)

    def unseeded(seed: int, device: torch.device, rank: int = 0) -> Callable[[str, int, int], None]:
        torch.manual_seed(seed)
        return lambda name, epoch, batch: None

    monkeypatch.setattr("lumbre.run._setting.seeder", unseeded)
    with pytest.raises(AssertionError):
        same(fit(), killed_and_resumed(fit, tmp_path / "run"))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than the machine has cores
def test_the_number_of_workers_may_change(tmp_path: Path) -> None:
    def fit(*more: lb.Callback, workers: int = 0, **resume: Any) -> lb.Fitted:
        return classifier().fit(
            Noisy(), callbacks=more, verbose=False, preflight=False, num_workers=workers,
            **{**PLAIN, "valid_data": None}, **resume,
        )  # fmt: skip

    counts = iter([0, 2, 4, 2, 0, 0, 0, 0])
    same(
        fit(),
        killed_and_resumed(lambda *more, **given: fit(*more, workers=next(counts), **given), tmp_path / "run", every=4),
    )


def test_a_finished_run_is_given_back_and_may_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    steps: list[int] = []
    count = On(train_batch_begin=lambda ctx: steps.append(ctx.step))
    first = classifier().fit(blobs(), **PLAIN, callbacks=[KeepBestModel(), count], resume=folder, verbose=False)
    steps.clear()
    again = classifier().fit(blobs(), **PLAIN, callbacks=[KeepBestModel(), count], resume=folder)
    assert not steps
    assert "is complete: nothing is left to train" in capsys.readouterr().out
    same(first, again)
    longer = {**PLAIN, "epochs": 5}
    after = classifier().fit(blobs(), **longer, callbacks=[KeepBestModel(), count], resume=str(folder), verbose=False)
    same(
        after,
        classifier().fit(blobs(), **longer, callbacks=[KeepBestModel(), OTHER], verbose=False),
    )
    assert len(steps) == 2 * 4


@pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")
def test_what_has_changed_is_listed(tmp_path: Path) -> None:
    classifier().fit(blobs(), **PLAIN, resume=tmp_path, verbose=False)
    x, y = blobs()
    with pytest.raises(lb.ResumeError) as caught:
        classifier(lr=0.5).fit((x + 1, y), **{**PLAIN, "batch_size": 8}, seed=4, resume=tmp_path, verbose=False)
    for name in ("opt_hparams: was {'lr': 0.01}, is {'lr': 0.5}", "batch_size: was", "seed: was", "train_data: was"):
        assert name in str(caught.value)
    allowed = lb.Checkpoints(tmp_path, allow_changes=("opt_hparams",))
    classifier(lr=0.5).fit(blobs(), **{**PLAIN, "epochs": 4}, resume=allowed, verbose=False)
    with pytest.raises(lb.ResumeError, match=r"callbacks: was"):
        classifier().fit(blobs(), **PLAIN, callbacks=EMA(), resume=tmp_path, verbose=False)


def test_more_epochs_are_refused_where_a_schedule_counts_on_them(tmp_path: Path) -> None:
    schedule = LearningRate(lb.schedules.cosine())
    classifier().fit(blobs(), **PLAIN, callbacks=schedule, resume=tmp_path, verbose=False)
    with pytest.raises(lb.ResumeError, match="LearningRate counts on the number of epochs"):
        classifier().fit(blobs(), **{**PLAIN, "epochs": 5}, callbacks=schedule, resume=tmp_path, verbose=False)
    allowed = lb.Checkpoints(tmp_path, allow_changes="epochs")
    classifier().fit(blobs(), **{**PLAIN, "epochs": 4}, callbacks=schedule, resume=allowed, verbose=False)


def test_a_seed_of_chance_is_that_of_the_run_found(tmp_path: Path) -> None:
    def fit(*more: lb.Callback, **resume: Any) -> lb.Fitted:
        return classifier().fit(blobs(), seed=None, callbacks=more, verbose=False, **PLAIN, **resume)

    resumed = killed_and_resumed(fit, tmp_path / "run")
    same(resumed, classifier().fit(blobs(), seed=resumed._session.seed, verbose=False, **PLAIN))


def test_a_state_that_cannot_be_told_is_found_before_the_first_step(tmp_path: Path) -> None:
    class Mine(lb.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"function": print}

    with pytest.raises(lb.ResumeError, match="callbacks/Mine#0/function"):
        classifier().fit(blobs(), callbacks=Mine(), resume=tmp_path, verbose=False)


def test_sigterm_writes_a_checkpoint_and_ends_the_process(tmp_path: Path) -> None:
    def fit(*more: lb.Callback, **resume: Any) -> lb.Fitted:
        return classifier().fit(blobs(), callbacks=more, verbose=False, **PLAIN, **resume)

    before = signal.getsignal(signal.SIGTERM)
    kill = On(train_batch_begin=lambda ctx: ctx.step == 5 and os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        fit(kill, resume=tmp_path)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "step-00000006").is_dir()
    same(
        fit(OTHER, resume=lb.Checkpoints(tmp_path, allow_changes="callbacks")),
        fit(OTHER),
    )


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_the_model_and_writes_a_checkpoint(tmp_path: Path) -> None:
    def fit(*more: lb.Callback, **resume: Any) -> lb.Fitted:
        return classifier().fit(blobs(), callbacks=more, verbose=False, **PLAIN, **resume)

    stop = On(train_batch_begin=lambda ctx: ctx.step == 5 and os.kill(os.getpid(), signal.SIGINT))
    stopped = fit(stop, resume=tmp_path)
    assert len(stopped._history.train_seconds) == 1
    assert (tmp_path / "step-00000006").is_dir()
    same(
        fit(OTHER, resume=lb.Checkpoints(tmp_path, allow_changes="callbacks")),
        fit(OTHER),
    )


@pytest.mark.usefixtures("no_ctrl_c")
def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    kill = On(train_batch_begin=lambda ctx: os.kill(os.getpid(), signal.SIGINT))
    fitted = classifier().fit(blobs(), callbacks=kill, verbose=False, resume=tmp_path, **PLAIN)
    assert len(fitted._history.train_seconds) == 3
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_of_the_callers_stays_in_place(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        kill = On(train_end=lambda ctx: os.kill(os.getpid(), signal.SIGINT))
        fitted = classifier().fit(blobs(), callbacks=kill, verbose=False, resume=tmp_path, **PLAIN)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(fitted._history.train_seconds) == len(heard) == 3


def test_a_thread_other_than_the_main_one_trains_without_signals(tmp_path: Path) -> None:
    found: list[lb.Fitted] = []
    fit = lambda: found.append(classifier().fit(blobs(), resume=tmp_path, verbose=False, **PLAIN))  # noqa: E731
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert len(found) == 1


def test_a_disk_that_fails_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lumbre.storage._checkpoints._write_synced", full)
    with pytest.warns(lb.CheckpointWarning, match="No space left") as caught:
        classifier().fit(blobs(), resume=lb.Checkpoints(tmp_path, steps=1, wait=True), verbose=False, **PLAIN)
    assert len([one for one in caught if one.category is lb.CheckpointWarning]) == 1


def test_an_engine_that_was_chosen_is_kept(tmp_path: Path) -> None:
    classifier().fit(blobs(), resume=tmp_path, verbose=False, **PLAIN)
    with pytest.raises(lb.ResumeError, match="engine: was eager, is compiled"):
        classifier().fit(blobs(), resume=tmp_path, engine="compiled", verbose=False, **PLAIN)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"seconds": 0}, {"keep": 0}, {"allow_changes": "data"}, {"allow_changes": ("lr",)}]
)
def test_impossible_checkpoints_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(lb.OptionError):
        lb.Checkpoints("runs/a", **options)


@pytest.mark.parametrize("resume", [3, "", True])
def test_resume_must_be_a_folder(resume: Any) -> None:
    with pytest.raises(lb.OptionError, match="resume="):
        classifier().fit(blobs(), resume=resume, verbose=False)


def test_verify_resume_says_that_a_run_goes_on_exactly() -> None:
    callbacks = [EMA(0.9), Accumulate(2), LearningRate(lb.schedules.cosine())]
    proof = classifier().verify_resume(Noisy(), steps=6, epochs=4, batch_size=16, callbacks=callbacks, num_workers=0)
    assert proof
    assert str(proof).startswith("Exact: a run stopped after update 3")
    assert proof.compared > 50
    assert classifier().verify_resume(shuffling(generator=torch.Generator().manual_seed(1)), preflight=False)
    assert classifier().verify_resume(blobs(), precision="float16", epochs=4, valid_data=0.2)


def test_verify_resume_names_what_differs() -> None:
    class Host(nn.Module):
        """Draws from a generator of its own in its forward pass, which nobody seeds; those in lists are not kept."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.own = nn.Linear(4, 3), [np.random.default_rng(0)]

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * float(self.own[0].random())

    proof = lb.setup(Host, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).verify_resume(blobs(), preflight=False)
    assert not proof
    assert "model/tensors/layer.weight" in proof.differences
    assert "does not come from torch's generators" in str(proof)

    class Hidden(Net):
        """Keeps a running tensor that is no buffer."""

        def forward(self, x: Tensor) -> Tensor:
            held = self.__dict__.setdefault("held", [torch.zeros(3)])
            held[0] = held[0] + 1e-2
            return super().forward(x) + held[0] * torch.arange(3)

    assert not replace(classifier(), module=Hidden).verify_resume(blobs(), epochs=4)


def test_verify_resume_needs_enough_updates() -> None:
    with pytest.raises(lb.DataError, match="updates"):
        classifier().verify_resume(blobs(), epochs=1, steps=50)
    with pytest.raises(lb.OptionError, match="steps=1"):
        classifier().verify_resume(blobs(), steps=1)


def test_a_checkpoint_left_out_at_an_epoch_s_end_is_not_taken_within_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is being written others are left out; the next one must wait for an update, not for a batch."""
    steps: list[tuple[int, int]] = []
    write = CheckpointStore.write

    def watched(self: CheckpointStore, name: str, document: Any, tensors: Any, *, wait: bool) -> None:
        steps.append(tuple(document["position"]))
        write(self, name, document, tensors, wait=True)

    monkeypatch.setattr(CheckpointStore, "write", watched)
    busy = iter([False, True] * 100)  # asked at each update but the last of an epoch, and at the epoch's end
    monkeypatch.setattr(CheckpointStore, "busy", property(lambda self: next(busy)))
    keep = lb.Checkpoints(tmp_path, steps=1)
    options = {**PLAIN, "batch_size": 16, "valid_data": None, "epochs": 3}
    classifier().fit(blobs(80), **options, callbacks=Accumulate(3), resume=keep, verbose=False)
    assert steps == [(1, 3), (2, 3), (3, 3), (4, 0)], "five batches: an update after the third, and one after the fifth"


def forge(folder: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], object]) -> None:
    """Change the newest checkpoint, and write it as a whole one."""
    store = CheckpointStore(folder, keep=1)
    found = store.newest()
    assert found is not None
    change(found.document, found.tensors)
    store.write(found.name, found.document, found.tensors, wait=True)
    store.close()


def _shrink(document: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors["/optimizers/optimizer/state/0/exp_avg"] = torch.zeros(1)


FORGED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Tensor]], object], str]] = {
    "a state that a fused kernel would write beside": (_shrink, "exp_avg is"),
    "a tensor that is gone": (lambda _, tensors: tensors.pop("/model/tensors/layers.0.bias"), "cannot be read"),
    "a weight of another shape": (
        lambda _, tensors: tensors.__setitem__("/model/tensors/layers.0.bias", torch.zeros(1)),
        "layers.0.bias was",
    ),
    "a number that takes the place of a method": (
        lambda document, _: document["state"]["model"]["numbers"][""].update(forward=3),
        "forward is no number",
    ),
    "a text in place of a count": (
        lambda document, _: document["state"]["engine"].update(updates="x"),
        "updates is a str",
    ),
    "a loss of several numbers": (
        lambda _, tensors: tensors.__setitem__("/meter/loss", torch.zeros(4)),
        "no single number",
    ),
    "a history of another form": (
        lambda document, _: document["state"]["progress"].update(records=[["train", "loss", "1", 0.5]]),
        "history is damaged",
    ),
    "a position without end": (lambda document, _: document.update(position=[1, 1e300]), "position makes no sense"),
    "betas of which one is gone": (
        lambda document, _: document["state"]["optimizers"]["optimizer"]["param_groups"][0].update(betas=[0.9]),
        "the first step failed",
    ),
    "a fact that is gone": (lambda document, _: document["facts"].pop("hparams"), "hparams: was not told"),
}


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("case", FORGED)
def test_a_checkpoint_that_was_changed_and_sealed_is_refused_in_words(case: str, tmp_path: Path) -> None:
    change, said = FORGED[case]

    def fit(*more: lb.Callback) -> lb.Fitted:
        keep = lb.Checkpoints(tmp_path, steps=1, wait=True, allow_changes="callbacks")
        return classifier().fit(blobs(), callbacks=more, verbose=False, preflight=False, resume=keep, **PLAIN)

    stop = On(train_batch_begin=lambda ctx: ctx.step == 2 and os.kill(os.getpid(), signal.SIGINT))
    fit(stop)
    forge(tmp_path, change)
    with pytest.raises(lb.ResumeError, match=said) as caught:
        fit()
    assert caught.value.fix


def test_no_file_that_a_checkpoint_names_is_removed(tmp_path: Path) -> None:
    keep = lb.callbacks.ModelCheckpoint(tmp_path / "models" / "{epoch}.lumbre", best_only=False, keep=1)
    keep.load_state_dict({"best": None, "written": [{"epoch": 1}]})
    for written in ([{"epoch": "../precious"}], [{"other": 1}], [{}]):
        with pytest.raises(ValueError, match="names no file"):
            keep.load_state_dict({"best": None, "written": written})


def test_a_step_without_memory_is_told_with_what_to_do() -> None:
    recipe = replace(classifier(), loss=lambda pred, target: torch.empty(1 << 60))
    with pytest.raises(lb.OutOfMemoryError) as caught:
        recipe.fit(blobs(), verbose=False, preflight=False, **PLAIN)
    assert "batch of" in caught.value.received
    assert isinstance(caught.value, torch.OutOfMemoryError)
