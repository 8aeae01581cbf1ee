"""TensorBoard, MLflow, Weights & Biases: what they are given is read back with their own readers."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lumbre as lb
from lumbre.callbacks import MLflow, On, TensorBoard, WandB

Data = tuple[Tensor, Tensor]


def expected(fitted: lb.Fitted) -> dict[tuple[str, int], float]:
    rows = fitted.history.itertuples()
    return {(f"{row.set}/{row.metric}", row.epoch): float(row.value) for row in rows}


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [(TensorBoard, "tensorboardX", "tensorboard"), (MLflow, "mlflow", "mlflow"), (WandB, "wandb", "wandb")],
)
def test_a_missing_package_is_said_before_the_first_epoch(
    recipe: lb.Recipe, data: Data, monkeypatch: pytest.MonkeyPatch, make: Any, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    epochs: list[int] = []
    seen = On(epoch_begin=lambda ctx: epochs.append(ctx.epoch))
    with pytest.raises(lb.LumbreError, match=rf'pip install "lumbre\[{extra}\]"'):
        recipe.fit(data, epochs=1, callbacks=[seen, make()], verbose=False)
    assert epochs == []


# ---- TensorBoard


def events(folder: Path) -> list[Any]:
    """The events of the newest file: each is its length, a checksum, the event and a checksum."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed")
    data = max(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns).read_bytes()
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        found.append(proto.Event.FromString(data[at + 12 : at + 12 + length]))
        at += 12 + length + 4
    return found


def test_tensorboard_has_every_value(recipe: lb.Recipe, data: Data, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    board = TensorBoard(tmp_path / "runs" / "first", histograms=True)
    fitted = recipe.fit(data, epochs=10, valid_data=0.2, callbacks=board, verbose=False)
    values = [(event.step, value) for event in events(tmp_path / "runs" / "first") for value in event.summary.value]
    scalars = {(value.tag, step): value.simple_value for step, value in values if not value.HasField("histo")}
    assert scalars == pytest.approx(expected(fitted), rel=1e-6)
    assert len(scalars) == 40
    histograms = {(value.tag, step): value.histo for step, value in values if value.HasField("histo")}
    names = [name for name, _ in fitted.model.named_parameters()]
    assert sorted(histograms) == sorted((f"weights/{name}", epoch) for name in names for epoch in range(1, 11))
    last = dict(fitted.model.named_parameters())[names[0]]
    assert histograms[f"weights/{names[0]}", 10].num == last.numel()
    assert histograms[f"weights/{names[0]}", 10].sum == pytest.approx(last.sum().item(), rel=1e-4)


def test_tensorboard_without_histograms(recipe: lb.Recipe, data: Data, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    recipe.fit(data, epochs=2, callbacks=TensorBoard(tmp_path), verbose=False)
    tags = [value.tag for event in events(tmp_path) for value in event.summary.value]
    assert tags == ["train/loss", "train/acc"] * 2


def test_tensorboard_shows_weights_that_are_not_all_finite(recipe: lb.Recipe, data: Data, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")

    def spoil(ctx: lb.Context) -> None:
        ctx.model.layers[0].weight[0] = torch.nan
        ctx.model.layers[3].bias.fill_(torch.inf)

    board = TensorBoard(tmp_path, histograms=True)
    recipe.fit(data, epochs=1, callbacks=[On(epoch_end=spoil), board], verbose=False)
    counts = {value.tag: value.histo.num for event in events(tmp_path) for value in event.summary.value}
    assert counts["weights/layers.0.weight"] == 60
    assert "weights/layers.3.bias" not in counts


def test_tensorboard_hides_what_a_run_that_goes_on_writes_again(recipe: lb.Recipe, data: Data, tmp_path: Path) -> None:
    proto = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is not installed")
    late = On(epoch_begin=lambda ctx: setattr(ctx, "epoch", 5))
    recipe.fit(data, epochs=1, callbacks=[late, TensorBoard(tmp_path)], verbose=False)
    starts = [event.step for event in events(tmp_path) if event.session_log.status == proto.SessionLog.START]
    assert starts == [5]


# ---- MLflow (its database layer warns of its own deprecated parts)


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow with a database of its own; skips where there is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("sqlalchemy", reason="mlflow is not installed (mlflow-skinny has no database)")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/own.db")
    yield mlflow
    mlflow.set_tracking_uri(before)


def logged(client: Any, run_id: str) -> dict[tuple[str, int], float]:
    names = client.get_run(run_id).data.metrics
    return {(name, value.step): value.value for name in names for value in client.get_metric_history(run_id, name)}


@pytest.mark.filterwarnings("ignore::Warning")
def test_mlflow_has_every_value(recipe: lb.Recipe, data: Data, mlflow: Any) -> None:
    client = mlflow.MlflowClient()
    params = {f"p{index}": index for index in range(150)}
    log = MLflow("flowers", run_name="first", params=params)
    fitted = recipe.fit(data, epochs=3, valid_data=0.2, callbacks=log, verbose=False)
    assert logged(client, log.run_id) == expected(fitted)
    run = client.get_run(log.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params == {name: str(value) for name, value in params.items()}
    assert client.get_experiment(run.info.experiment_id).name == "flowers"
    assert mlflow.active_run() is None

    # a run that the program has opened is used and left open
    with mlflow.start_run() as mine:
        recipe.fit(data, epochs=1, callbacks=MLflow(), verbose=False)
        assert mlflow.active_run().info.run_id == mine.info.run_id
    assert set(logged(client, mine.info.run_id)) == {("train/loss", 1), ("train/acc", 1)}

    # Ctrl-C
    def interrupt(ctx: lb.Context) -> None:
        if ctx.epoch == 2:
            raise KeyboardInterrupt

    recipe.fit(data, epochs=3, callbacks=[log, On(train_batch_end=interrupt)], verbose=False)
    assert client.get_run(log.run_id).info.status == "KILLED"
    assert set(logged(client, log.run_id)) == {("train/loss", 1), ("train/acc", 1)}

    # a resumed fit logs to its own run again
    state, again = log.state_dict(), MLflow("flowers")
    resumed = On(epoch_begin=lambda ctx: again.load_state_dict(state) if ctx.epoch == 1 else None)
    recipe.fit(data, epochs=2, callbacks=[resumed, again], verbose=False)
    assert again.run_id == log.run_id
    assert client.get_run(log.run_id).info.status == "FINISHED"
    assert {step for _, step in logged(client, log.run_id)} == {1, 2}


# ---- Weights & Biases


@pytest.fixture
def wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """W&B that writes to a folder and asks nobody."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    return pytest.importorskip("wandb", reason="wandb is not installed")


def chunks(data: bytes) -> Iterator[bytes]:
    """The records of an offline file: after 7 bytes, LevelDB's log format in blocks of 32 KiB.

    A piece of a record is checksum (4 bytes), length (2), kind (1: whole, 2: first, 3: middle, 4: last), content.
    """
    at, record = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # too little space in the block for another piece
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def stored(tmp_path: Path, run_id: str, seconds: float = 30.0) -> list[dict[str, Any]]:
    """What lies in the offline file of a run, row by row. W&B's own process writes it, on a busy machine late."""
    until = time.monotonic() + seconds
    while not (rows := rows_now(tmp_path, run_id)) and time.monotonic() < until:
        time.sleep(0.2)
    return rows


def rows_now(tmp_path: Path, run_id: str) -> list[dict[str, Any]]:
    from wandb.proto import wandb_internal_pb2

    [file] = (tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")
    rows: list[dict[str, Any]] = []
    for chunk in chunks(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(chunk)
        if record.HasField("history"):
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows


@pytest.mark.filterwarnings("ignore::Warning")
def test_wandb_has_every_value_offline(recipe: lb.Recipe, data: Data, wandb: Any, tmp_path: Path) -> None:
    log = WandB("flowers", name="first", mode="offline", config={"lr": 0.01})
    fitted = recipe.fit(data, epochs=3, valid_data=0.2, callbacks=log, verbose=False)
    rows = stored(tmp_path, str(log.run_id))
    found = {(key, row["epoch"]): value for row in rows for key, value in row.items() if "/" in key}
    assert found == pytest.approx(expected(fitted))
    assert [row["_step"] for row in rows] == [1, 2, 3]
    assert wandb.run is None, "it was finished"

    # a run that the program has begun is used and left open
    with wandb.init(project="flowers") as mine:
        mine.log({"before": 1})
        recipe.fit(data, epochs=1, callbacks=WandB(), verbose=False)
        assert wandb.run is mine
    assert [set(row) & {"before", "train/loss"} for row in stored(tmp_path, mine.id)] == [{"before"}, {"train/loss"}]


def test_wandb_keeps_its_run_in_its_state(recipe: lb.Recipe, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline runs cannot be resumed, so what `wandb.init` is asked for is looked at."""
    from types import ModuleType, SimpleNamespace

    asked: list[dict[str, Any]] = []
    fake = ModuleType("wandb")
    fake.run = None  # type: ignore[attr-defined]

    def init(**options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(id="abc", log=lambda values, step: None, finish=lambda: None)

    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log = WandB("flowers", group="a")
    recipe.fit(data, epochs=1, callbacks=log, verbose=False)
    assert log.state_dict() == {"run_id": "abc"}
    again = WandB("flowers", group="a")
    resumed = On(epoch_begin=lambda ctx: again.load_state_dict({"run_id": "abc"}))
    recipe.fit(data, epochs=1, callbacks=[resumed, again], verbose=False)
    assert [(one["project"], one["group"], one.get("id"), one.get("resume")) for one in asked] == [
        ("flowers", "a", None, None),
        ("flowers", "a", "abc", "allow"),
    ]
