"""A path that was given is that of the working directory in which the run starts, whatever a callback changes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import lumbre as lb
from lumbre.callbacks import CSVLog, MLflow, ModelCheckpoint, On, SampleGenerations, TensorBoard, WandB
from lumbre.callbacks._paths import uri_of_start

Data = tuple[Tensor, Tensor]


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> On:
    """A callback that changes to another directory in the middle of a run which starts in `tmp_path`."""
    (tmp_path / "away").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return On(train_end=lambda ctx: os.chdir(tmp_path / "away"))


CALLBACKS: dict[str, Callable[[Any], Any]] = {
    "out/log.csv": CSVLog,
    "out/{epoch}.lumbre": lambda path: ModelCheckpoint(path, best_only=False, keep=1),
    "out/{epoch}.txt": lambda path: SampleGenerations(lambda model, ctx: f"epoch {ctx.epoch}", path=path),
    "out/board": TensorBoard,
}


@pytest.mark.parametrize("path", list(CALLBACKS))
@pytest.mark.parametrize("kind", [str, Path])
def test_callbacks_write_where_the_run_started(
    recipe: lb.Recipe, data: Data, away: On, tmp_path: Path, path: str, kind: type
) -> None:
    recipe.fit(data, epochs=3, valid_data=0.25, callbacks=[away, CALLBACKS[path](kind(path))], verbose=False)
    assert Path.cwd() == tmp_path / "away"
    assert list((tmp_path / "away").iterdir()) == []
    written = sorted(file.name for file in (tmp_path / "home" / "out").iterdir())
    if path.endswith("csv"):
        assert pd.read_csv(tmp_path / "home" / path)["epoch"].tolist() == [1, 1, 2, 2, 3, 3]
    elif path.endswith("lumbre"):
        assert written == ["3.lumbre"], "the older ones were found and removed"
    elif path.endswith("txt"):
        assert written == ["1.txt", "2.txt", "3.txt"]
    else:
        assert written == ["board"]


def test_a_second_run_starts_where_it_starts(recipe: lb.Recipe, data: Data, away: On, tmp_path: Path) -> None:
    log = CSVLog("log.csv")
    for _ in range(2):
        recipe.fit(data, epochs=2, callbacks=[away, log], verbose=False)
    for folder in ("home", "away"):
        assert pd.read_csv(tmp_path / folder / "log.csv")["epoch"].tolist() == [1, 2]


@pytest.mark.parametrize("kind", [str, Path, lb.Checkpoints])
def test_checkpoints_go_where_the_run_started(
    recipe: lb.Recipe, data: Data, away: On, tmp_path: Path, kind: Any
) -> None:
    options: dict[str, Any] = {"callbacks": away, "resume": kind("run"), "verbose": False}
    recipe.fit(data, epochs=3, **options)
    assert (tmp_path / "home" / "run" / "step-00000012-epoch-3").is_dir()
    assert list((tmp_path / "away").iterdir()) == []
    os.chdir(tmp_path / "home")
    longer = recipe.fit(data, epochs=4, **options)
    whole = recipe.fit(data, epochs=4, verbose=False)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, longer.model.state_dict()[name])


def test_files_that_are_read_during_a_run_are_found(away: On) -> None:
    pil = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    for kind in ("cat", "dog"):
        Path("images", kind).mkdir(parents=True)
        for index in range(3):
            pil.new("RGB", (4, 4), (index, 9, 9)).save(Path("images", kind, f"{index}.png"))
    images = lb.datasets.image_folder("images", cache=False)
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    table = pytest.importorskip("pyarrow").table({"a": [0.5, 1.0, 2.0, 3.0], "b": [1.0, 2.0, 4.0, 6.0]})
    parquet.write_table(table, "table.parquet", row_group_size=2)
    rows = lb.data.from_parquet("table.parquet", target="b")
    recipe = lb.setup(
        lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2)),
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD,
    )
    line = lb.setup(
        lambda: torch.nn.Linear(1, 1),
        loss=lambda pred, y: (pred - y[:, None]).square().mean(),
        optimizer=torch.optim.SGD,
    )
    home = Path.cwd()
    recipe.fit(images, epochs=2, callbacks=away, preflight=False, verbose=False)
    os.chdir(home)
    line.fit(rows, epochs=2, callbacks=away, preflight=False, verbose=False)


def test_trackers_are_given_whole_paths(
    recipe: lb.Recipe, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb is not installed everywhere: what its `init` is asked for is looked at."""
    import sys
    from types import ModuleType, SimpleNamespace

    monkeypatch.chdir(tmp_path)
    fake: Any = ModuleType("wandb")
    fake.run, asked = None, []

    def init(**options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(id="abc", log=lambda values, step: None, finish=lambda: None)

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    recipe.fit(data, epochs=1, callbacks=WandB("flowers", dir="logs"), verbose=False)
    assert asked[0]["dir"] == str(tmp_path / "logs")
    assert MLflow("flowers", tracking_uri="sqlite:///own.db").tracking_uri == "sqlite:///own.db"
    assert uri_of_start("sqlite:///own.db") == f"sqlite:///{tmp_path}/own.db"
    assert uri_of_start("runs/mlflow") == f"{tmp_path}/runs/mlflow"
    for same in ("https://tracking.example", "http://localhost:5000", "databricks", "sqlite:////own.db", "sqlite://"):
        assert uri_of_start(same) == same
