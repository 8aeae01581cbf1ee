"""Memory, disk and folder that fail during a run, and a clock that jumps: a clear message, and nothing is lost."""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults_harness import Final, _ended, _in_child, differing
from faults_scenarios import Perceptron, blobs
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.callbacks import CSVLog, ModelCheckpoint, On

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


class Wide(nn.Module):
    """One whose step takes tensors of more than 32 MiB, which the allocator asks of the system each time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 150_000), nn.ReLU(), nn.Dropout(0.2), nn.Linear(150_000, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def fit(final: Path, resume: Any, *callbacks: lb.Callback, net: type[nn.Module] = Perceptron, **options: Any) -> Any:
    """Train, and leave the final state in a file."""
    torch.set_num_threads(1)
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
    given: dict[str, Any] = {"epochs": 3, "batch_size": 16, "valid_data": 0.2, **options}
    return recipe.set_opt_hparams(lr=0.01).fit(
        blobs(), callbacks=[*callbacks, Final(final, [])], resume=resume, preflight=False, verbose=False, **given
    )


def unbroken(folder: Path, *callbacks: lb.Callback, **options: Any) -> bytes:
    final = folder / "whole"
    log = folder / "whole-log"
    assert _ended(_in_child(lambda: fit(final, None, *callbacks, **options), log), log)
    return final.read_bytes()


def at_step(step: int, do: Callable[[], Any]) -> On:
    return On(train_batch_begin=lambda ctx: do() if ctx.step == step else None)


def checkpoints(folder: Path, **options: Any) -> lb.Checkpoints:
    return lb.Checkpoints(folder, **{"steps": 1, "wait": True, "allow_changes": "callbacks", **options})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB, of which all is there to be filled."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def filled(disk: Path) -> Path:
    """Take all that is left of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


def test_a_step_without_memory_is_told_and_the_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    options: dict[str, Any] = {"net": Wide, "epochs": 2, "batch_size": 82, "valid_data": None}
    whole = unbroken(tmp_path, **options)
    run, log, said = tmp_path / "run", tmp_path / "log", tmp_path / "said"

    def limited() -> None:
        def limit() -> None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            # Some memory for small allocations: a library in Rust ends the process when it gets none.
            resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))

        with pytest.raises(lb.OutOfMemoryError) as caught:
            fit(tmp_path / "none", checkpoints(run), at_step(2, limit), **options)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert isinstance(caught.value, torch.OutOfMemoryError)
        assert "can't allocate memory" in str(caught.value.__cause__)
        said.write_text(f"{caught.value.received}\n{caught.value.expected}\n{caught.value.fix}")

    if not Path("/proc/self/statm").exists():
        pytest.skip("the used memory is not reported here")
    assert _ended(_in_child(limited, log), log)
    received, _, fix = said.read_text().splitlines()
    assert "no memory on cpu in epoch 2 after 2 updates with a batch of 82 rows" in received
    assert "batch_size" in fix
    assert (run / "step-00000002-epoch-1").is_dir()
    final = tmp_path / "final"
    assert _ended(_in_child(lambda: fit(final, checkpoints(run), **options), log), log)
    assert differing(whole, final.read_bytes()) == []


def test_a_copy_without_memory_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = Tensor.clone
    failing = [False]

    def refused(tensor: Tensor, **options: Any) -> Tensor:
        if failing[0]:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory")
        return clone(tensor, **options)

    monkeypatch.setattr(Tensor, "clone", refused)
    stages = On(train_batch_begin=lambda ctx: failing.__setitem__(0, ctx.step == 2))
    with pytest.warns(lb.CheckpointWarning, match="can't allocate memory; the last one there is step-00000002"):
        fit(tmp_path / "final", checkpoints(tmp_path / "run", keep=20), stages)
    names = sorted(path.name for path in (tmp_path / "run").glob("step-*"))
    assert "step-00000003" not in names
    assert "step-00000004" in names


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0 * 400], ids=["back a day", "on a year"])
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, jump: float) -> None:
    whole = unbroken(tmp_path)
    run, log, final = tmp_path / "run", tmp_path / "log", tmp_path / "final"
    now, now_ns = time.time, time.time_ns

    def with_the_clock_set(stop: int | None) -> Callable[[], None]:
        def work() -> None:
            calls = [0]

            def seconds() -> float:
                calls[0] += 1
                return now() + jump * calls[0]

            time.time, time.time_ns = seconds, lambda: now_ns() + int(jump * 1e9)
            more = [] if stop is None else [at_step(stop, lambda: os._exit(0))]
            fit(final, checkpoints(run, steps=None, seconds=1e-9, keep=50), *more)
            names = sorted(path.name for path in run.glob("step-*"))
            assert len(names) > 15, names  # by the time that passes, not by the clock

        return work

    assert _ended(_in_child(with_the_clock_set(8), log), log)
    # Copied and restored folders have other times; the newest is known by its name.
    for age, path in enumerate(sorted(run.glob("step-*"))):
        os.utime(path, (now() - 1000 * age, now() - 1000 * age))
    assert _ended(_in_child(with_the_clock_set(None), log), log)
    assert differing(whole, final.read_bytes()) == []


def test_seconds_between_checkpoints_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1e9 * time.perf_counter())
    fit(tmp_path / "final", checkpoints(tmp_path / "run", steps=None, seconds=3600.0, keep=50))
    assert all("epoch" in path.name for path in (tmp_path / "run").glob("step-*"))


def test_a_full_disk_leaves_the_last_checkpoint_and_the_training_goes_on(tmp_path: Path, small_disk: Path) -> None:
    whole = unbroken(tmp_path)
    run, final = small_disk / "run", tmp_path / "final"
    fillers: list[Path] = []
    fills = On(
        train_batch_begin=lambda ctx: fillers.append(filled(small_disk)) if ctx.step == 4 else None,
        epoch_begin=lambda ctx: fillers.pop().unlink() if ctx.epoch == 3 else None,
    )
    with pytest.warns(lb.CheckpointWarning, match="No space left on device; the last one there is step-00000004"):
        fit(final, checkpoints(run), fills)
    assert differing(whole, final.read_bytes()) == []  # the disk was full for a while, the training did not notice
    assert max(path.name for path in run.glob("step-*")).endswith("epoch-3")  # those that came when there was space


def test_a_run_killed_on_a_full_disk_goes_on_from_the_last_checkpoint(tmp_path: Path, small_disk: Path) -> None:
    whole = unbroken(tmp_path)
    run, log, final = small_disk / "run", tmp_path / "log", tmp_path / "final"
    stop = On(
        train_batch_begin=lambda ctx: {4: lambda: filled(small_disk), 9: lambda: os._exit(0)}.get(ctx.step, int)()
    )
    assert _ended(_in_child(lambda: fit(final, checkpoints(run), stop), log), log)
    assert max(path.name for path in run.glob("step-*")) == "step-00000004"
    with pytest.warns(lb.CheckpointWarning, match="No space left"):  # still full: it trains, from there
        fit(final, checkpoints(run))
    assert differing(whole, final.read_bytes()) == []


def test_a_full_disk_while_a_model_is_saved_leaves_the_file_before(tmp_path: Path, small_disk: Path) -> None:
    fitted = fit(tmp_path / "final", None)
    path = small_disk / "model.lumbre"
    fitted.save(path)
    before = path.read_bytes()
    filler = filled(small_disk)
    with pytest.raises(lb.ArchiveError, match="No space left on device"):
        fitted.save(path)
    assert path.read_bytes() == before
    assert sorted(one.name for one in small_disk.iterdir()) == ["filler", "model.lumbre"]
    filler.unlink()
    fitted.save(path)
    assert lb.load(path, Perceptron).history.equals(fitted.history)


def test_callbacks_that_write_outlive_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    whole = unbroken(tmp_path)
    log = CSVLog(small_disk / "log.csv")
    best = ModelCheckpoint(small_disk / "{epoch}.lumbre", best_only=False)
    fillers: list[Path] = []
    fills = On(
        epoch_begin=lambda ctx: fillers.append(filled(small_disk)) if ctx.epoch == 1 else None,
        train_begin=lambda ctx: fillers.pop().unlink() if ctx.epoch == 3 else None,
    )
    with pytest.warns() as caught:
        fit(tmp_path / "final", None, log, best, fills)
    reported = [str(one.message) for one in caught]
    assert any("log.csv cannot be written" in one and "No space left" in one for one in reported), reported
    for epoch in (1, 2):
        assert any(f"the model of epoch {epoch} could not be saved" in one for one in reported), reported
    assert differing(whole, (tmp_path / "final").read_bytes()) == []
    rows = (small_disk / "log.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [[str(e), s] for e in (1, 2, 3) for s in ("train", "valid")]
    assert sorted(path.name for path in small_disk.glob("*.lumbre")) == ["3.lumbre"]
    assert not list(small_disk.glob(".*"))


def test_half_a_row_does_not_stay_in_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    seen: list[str] = []

    def limit(ctx: lb.Context) -> None:
        if ctx.epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, limits[1]))
        elif ctx.epoch == 3:
            seen.append(path.read_text())
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    try:
        with pytest.warns(UserWarning, match=r"log.csv cannot be written: .*File too large"):
            fit(tmp_path / "final", None, CSVLog(path), On(epoch_begin=limit))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [row[:7] for row in seen[0].splitlines()] == ["epoch,s", "1,train", "1,valid"]
    assert [row[:7] for row in path.read_text().splitlines()[3:]] == ["2,train", "2,valid", "3,train", "3,valid"]


def test_a_folder_that_becomes_read_only(tmp_path: Path) -> None:
    whole = unbroken(tmp_path)
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    run, log, final = folder / "run", tmp_path / "log", tmp_path / "final"
    user = os.geteuid()

    def closed() -> None:
        run.chmod(0o555)
        if user == 0:  # who may write anywhere
            os.seteuid(65534)

    def reopened(ctx: lb.Context) -> None:
        os.seteuid(user)
        run.chmod(0o755)

    def work() -> None:
        with pytest.warns(lb.CheckpointWarning, match=r"Permission denied.*; the last one there is step-00000004"):
            fit(final, checkpoints(run), at_step(4, closed), On(fit_end=reopened))

    try:
        assert _ended(_in_child(work, log), log)
        assert differing(whole, final.read_bytes()) == []
        fit(final, checkpoints(run))
        assert differing(whole, final.read_bytes()) == []
    finally:
        shutil.rmtree(folder)


def test_a_disk_that_is_read_only_is_told_at_the_start(tmp_path: Path, small_disk: Path) -> None:
    whole = unbroken(tmp_path)
    run, final = small_disk / "run", tmp_path / "final"
    fitted = fit(final, checkpoints(run), epochs=2)

    def mounted(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    mounted("ro")
    with pytest.raises(lb.ResumeError, match="cannot be written to"):
        fit(final, checkpoints(run))
    with pytest.raises(lb.ArchiveError, match="Read-only file system"):
        fitted.save(small_disk / "model.lumbre")
    mounted("rw")
    fit(final, checkpoints(run))
    assert differing(whole, final.read_bytes()) == []


def test_a_folder_that_is_removed_under_the_run(tmp_path: Path) -> None:
    whole = unbroken(tmp_path)
    run, final = tmp_path / "run", tmp_path / "final"
    with pytest.warns(lb.CheckpointWarning, match=r"could not be written to .*; there is none yet"):
        fit(final, checkpoints(run), at_step(4, lambda: shutil.rmtree(run)))
    assert differing(whole, final.read_bytes()) == []
    fit(final, checkpoints(run))  # there is nothing to resume from
    assert differing(whole, final.read_bytes()) == []


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "manifest.json"])
def test_the_one_before_is_used_where_the_newest_is_cut(tmp_path: Path, file: str) -> None:
    whole = unbroken(tmp_path)
    final, log = tmp_path / "final", tmp_path / "log"
    begun = tmp_path / "begun"
    stop = at_step(9, lambda: os._exit(0))
    assert _ended(_in_child(lambda: fit(final, checkpoints(begun), stop), log), log)
    size = (begun / "step-00000009" / file).stat().st_size
    for length in range(0, size, 1024):
        run = tmp_path / f"run-{length}"
        shutil.copytree(begun, run)
        os.truncate(run / "step-00000009" / file, length)
        with pytest.warns(lb.CheckpointWarning, match="step-00000009 is damaged"):
            fit(final, checkpoints(run))
        assert differing(whole, final.read_bytes()) == [], length
