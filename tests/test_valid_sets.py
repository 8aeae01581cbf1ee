"""Several sets to validate on, each by its name."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import CSVLog, EarlyStopping, KeepBestModel, On

NEAR, FAR = blobs(16), tuple(torch.cat([one, one]) for one in blobs(10))


def fit(valid_data: Any, **options: Any) -> lb.Fitted:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    given: dict[str, Any] = {"epochs": 3, "verbose": False, "preflight": False} | options
    return recipe.fit(blobs(40), valid_data=valid_data, **given)


def values(fitted: lb.Fitted, name: str) -> list[Any]:
    return fitted.history_wide[name].tolist()


def test_each_set_has_values_of_its_own_and_the_first_is_that_of_valid_loss() -> None:
    both = fit({"near": NEAR, "far": FAR})
    for metric in ("loss", "acc"):
        near, far = (values(fit(one), f"valid_{metric}") for one in (NEAR, FAR))
        assert values(both, f"valid_near_{metric}") == values(both, f"valid_{metric}") == near
        assert values(both, f"valid_far_{metric}") == far
    assert values(both, "train_loss") == values(fit(NEAR), "train_loss")
    assert values(fit({"only": FAR}), "valid_only_loss") == values(fit(FAR), "valid_loss")


def test_sets_are_of_any_kind_and_a_dict_of_tensors_is_one() -> None:
    loader = DataLoader(TensorDataset(*FAR), batch_size=32)
    kinds = fit({"loader": loader, "rows": TensorDataset(*FAR), "weighted": lb.data.weighted(FAR, [1.0] * 20)})
    for name in ("loader", "rows", "weighted"):
        assert values(kinds, f"valid_{name}_loss") == pytest.approx(values(fit(FAR), "valid_loss"), rel=1e-5)
    assert values(fit({"x": NEAR[0], "y": NEAR[1]}), "valid_loss") == values(fit(NEAR), "valid_loss")
    frame = pd.DataFrame(NEAR[0].numpy(), columns=list("abcd")).assign(kind=NEAR[1].numpy())
    recipe = lb.setup(nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    data = lb.data.from_frame(frame.assign(kind=frame["kind"].map(str)), target="kind")
    rows = frame.assign(kind=frame["kind"].map(str))
    fitted = recipe.fit(data, valid_data={"a": rows, "b": rows[:8]}, epochs=1, verbose=False, preflight=False)
    assert {"valid_a_loss", "valid_b_loss"} <= set(fitted.history_wide)


def test_callbacks_watch_write_and_draw_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep = KeepBestModel("valid_far_acc")
    fitted = fit({"near": NEAR, "far": FAR}, callbacks=[keep, CSVLog(tmp_path / "log.csv")], verbose=True)
    told = capsys.readouterr().out
    assert "Valid near metrics" in told
    assert "Valid far metrics" in told
    assert "Valid metrics" not in told
    assert set(pd.read_csv(tmp_path / "log.csv")["set"]) == {"train", "valid", "valid_near", "valid_far"}
    drawn: Any = fitted.plot().data
    assert set(drawn["set"]) == {"train", "valid_near", "valid_far"}
    fitted.plot().draw()
    assert " valid far: loss " in repr(fitted)
    stopped = fit({"near": NEAR, "far": FAR}, callbacks=EarlyStopping("valid_far_loss", patience=1, min_delta=9.0))
    assert len(stopped.history_wide) == 2
    with pytest.raises(lb.OptionError, match="valid_far_loss"):
        fit({"near": NEAR, "far": FAR}, callbacks=KeepBestModel("valid_fat_loss"))


def test_a_run_with_several_sets_goes_on(tmp_path: Path) -> None:
    sets = {"near": NEAR, "far": FAR}
    fit(sets, epochs=1, resume=tmp_path / "run")
    longer = fit(sets, epochs=3, resume=tmp_path / "run")
    pd.testing.assert_frame_equal(longer.history, fit(sets, epochs=3).history, check_exact=True)
    with pytest.raises(lb.ResumeError, match="valid_data"):
        fit({"near": NEAR, "far": NEAR}, epochs=3, resume=tmp_path / "run")


def test_cross_validation_knows_the_metric_of_a_set() -> None:
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(in_features=4, out_features=3).set_opt_hparams(lr=0.1)
    options: dict[str, Any] = {"epochs": 4, "verbose": False, "preflight": False}
    keep = KeepBestModel("valid_far_acc")
    found = recipe.cross_validate(blobs(40), folds=2, valid_data={"near": NEAR, "far": FAR}, callbacks=keep, **options)
    for fitted, best in zip(found.models, found.best_epochs, strict=True):
        course = values(fitted, "valid_far_acc")
        assert course[best - 1] == max(course)


def test_a_dict_that_is_data_stays_one_set() -> None:
    """Two inputs with a target, and pairs under the names of input and target."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, a: Any, b: Any) -> Any:
            return self.layer(torch.cat([a, b], 1))

    x, y = NEAR
    recipe = lb.setup(Two, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    options: dict[str, Any] = {"epochs": 1, "verbose": False, "preflight": False}
    plain = values(recipe.fit(((x, x), y), valid_data=((x, x), y), **options), "valid_loss")
    for keys in (("x", "y"), ("input", "target")):
        one = recipe.fit(((x, x), y), valid_data=dict(zip(keys, ((x, x), y), strict=True)), **options)
        assert values(one, "valid_loss") == plain
    frame = pd.DataFrame(x.numpy(), columns=list("abcd"))
    both = ({"a": frame, "b": frame}, y)
    assert values(recipe.fit(both, valid_data=both, **options), "valid_loss") == plain
    with pytest.raises(TypeError, match="NoneType"):  # two inputs without a target, and not two sets
        recipe.fit(both, valid_data={"a": frame, "b": frame}, **options)


def test_values_that_a_callback_logs_are_shown_beside_those_of_sets(capsys: pytest.CaptureFixture[str]) -> None:
    logs = On(valid_end=lambda ctx: ctx.log("own", 0.5))
    fit({"near": NEAR, "far": FAR}, callbacks=logs, epochs=1, verbose=True)
    assert "Valid metrics: Own: 0.5\n" in capsys.readouterr().out


def test_several_sets_are_looked_at_every_so_often_and_change_what_a_run_is(tmp_path: Path) -> None:
    sets = {"near": NEAR, "far": FAR}
    fitted = fit(sets, epochs=3, valid_every=2, resume=tmp_path / "run")
    assert fitted.history_wide["valid_far_loss"].isna().tolist() == [True, False, False]
    with pytest.raises(lb.ResumeError, match="valid_data"):
        fit(sets, epochs=3, valid_every=3, resume=tmp_path / "run")
    with pytest.raises(lb.ResumeError, match="valid_data"):
        fit({"close": NEAR, "far": FAR}, epochs=3, valid_every=2, resume=tmp_path / "run")


def test_checks_before_training_go_through_with_several_sets(tmp_path: Path) -> None:
    fitted = fit({"near": NEAR, "far": FAR}, preflight=True, epochs=1, ignore=("LB041",))
    fitted.report(tmp_path / "report.html", FAR)
    assert "valid_far" in (tmp_path / "report.html").read_text()


def found(valid_data: Any, **options: Any) -> dict[str, str]:
    """What the checks find, by code."""
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    recipe = recipe.set_hparams(in_features=4, out_features=3)
    texts: dict[str, str] = {}
    for one in recipe.check(blobs(40), valid_data=valid_data, **options):
        texts[one.code] = f"{texts.get(one.code, '')} {one.received}"
    return texts


def test_each_set_is_looked_at_before_training() -> None:
    x, y = (one[40:60] for one in blobs(60))
    sound = {"near": (x[:10], y[:10]), "far": (x[10:], y[10:])}
    assert found(sound).keys() == found(sound["near"]).keys()
    for name in sound:
        wrong = {
            "LB063": (x[:, :3], y),
            "LB064": (x.masked_fill(x > 2, torch.nan), y),
            "LB041": blobs(40),
        }
        for code, data in wrong.items():
            assert f"validation ({name})" in found(sound | {name: data})[code]
        assert "class labels from 1 to 3" in found(sound | {name: (x, y + 1)})["LB063"]
    loader = DataLoader(TensorDataset(x, y + 1), batch_size=8)
    assert "validation (far)" in found(sound | {"far": loader})["LB063"]
    with pytest.raises(lb.PreflightError, match=r"validation \(far\)"):
        fit(sound | {"far": (x[:, :3], y)}, preflight=True)


def test_training_rows_may_be_a_set_and_the_test_set_may_be_none_of_them() -> None:
    rows = tuple(one[40:60] for one in blobs(60))
    assert "LB041" not in found({"new": rows, "train": blobs(40)})
    assert "validation (far) set" in found({"near": NEAR, "far": rows}, test_data=rows)["LB046"]


def test_names_that_cannot_be_are_refused() -> None:
    with pytest.raises(lb.OptionError, match=r"valid_data=\{\}"):
        fit({})
    metrics = [lb.metrics.Accuracy(), lb.metrics.Accuracy(name="near_acc")]
    recipe = lb.setup(nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=metrics)
    with pytest.raises(lb.OptionError, match="'valid_near_acc'"):
        recipe.fit(blobs(40), valid_data={"near": NEAR}, epochs=1, verbose=False, preflight=False)
    with pytest.raises(lb.OptionError, match=r"a set 'not near'"):
        fit({"not near": NEAR, "far": FAR})
