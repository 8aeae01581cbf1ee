"""What an ensemble has learned: means over its members, with intervals from how far they differ."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import Tensor, nn, optim

import lumbre as lb

TRUTH = [2.0, -1.0, 0.0]


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def line(rows: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    return x, x @ torch.tensor(TRUTH) + torch.randn(rows, generator=generator)


def members(data: Any, n: int = 10) -> Any:
    recipe = lb.setup(Line, loss=nn.MSELoss(), optimizer=optim.LBFGS, metrics=lb.metrics.R2())
    recipe = recipe.set_opt_hparams(max_iter=20)
    return recipe.ensemble(data, n=n, bootstrap=True, epochs=2, batch_size=200, verbose=False, preflight=False)


@pytest.fixture(scope="module")
def ensemble() -> Any:
    return members(line())


def half_of(values: np.ndarray) -> np.ndarray:
    return stats.t.ppf(0.975, len(values) - 1) * values.std(axis=0, ddof=1)


def test_intervals_of_slopes_come_from_the_members_and_cover(ensemble: Any, tmp_path) -> None:
    x, _ = line()
    found = ensemble.effects(x)
    frame = found.frame()
    each = np.stack([one.effects(x).frame()["slope"] for one in ensemble.models])
    assert frame["slope"].to_numpy() == pytest.approx(each.mean(0))
    assert (frame["high"] - frame["slope"]).to_numpy() == pytest.approx(half_of(each))
    assert ((frame["low"] < TRUTH) & (frame["high"] > TRUTH)).all()
    assert (frame["high"] - frame["low"]).max() < 0.7
    assert "95 % interval over 10 models" in repr(found)
    chart = found.plot()
    assert "95 % intervals over 10 models" in chart.labels.subtitle
    chart.save(tmp_path / "slopes.png", verbose=False)


def test_curves_and_surfaces_are_means(ensemble: Any) -> None:
    x, _ = line()
    for names, part in (((0,), "curves"), ((0,), "individual"), ((0, 1), "surface")):
        found = getattr(ensemble.effects(x, *names, points=4, curves=3), part)
        each = [getattr(one.effects(x, *names, points=4, curves=3), part) for one in ensemble.models]
        assert list(found.columns) == list(each[0].columns)
        assert found["response"].to_numpy() == pytest.approx(np.mean([one["response"] for one in each], axis=0))


@pytest.mark.parametrize("metric", [None, "r2"])
def test_importance_is_the_mean_with_intervals_from_the_members(ensemble: Any, metric: str | None, tmp_path) -> None:
    data = line(seed=1)
    found = ensemble.importance(data, metric, repeats=2)
    frame = found.frame().set_index("feature")
    assert list(frame.index) == [0, 1, 2]
    each = np.stack(
        [
            one.importance(data, metric, repeats=2).frame().set_index("feature").loc[[0, 1, 2], "importance"]
            for one in ensemble.models
        ]
    )
    assert frame["importance"].to_numpy() == pytest.approx(each.mean(0))
    assert (frame["importance"] - frame["low"]).to_numpy() == pytest.approx(half_of(each))
    assert "over 10 models" in repr(found)
    found.plot().save(tmp_path / "importance.png", verbose=False)


def test_members_of_frames_that_each_encode_in_their_own_way() -> None:
    x, y = line()
    frame = pd.DataFrame(x.numpy(), columns=list("abc")).assign(y=y.numpy())
    found = members(lb.data.from_frame(frame, target="y"), n=3)
    effects = found.effects(frame, "a", points=5)
    assert effects.frame()["slope"].item() == pytest.approx(2, abs=0.3)
    assert len(effects.curves) == 10
    assert found.importance(frame, repeats=1).frame()["feature"].tolist()[:2] == ["a", "b"]


def test_what_members_refuse_is_refused(ensemble: Any) -> None:
    with pytest.raises(lb.OptionError, match="9"):
        ensemble.effects(line()[0], 9)
    with pytest.raises(lb.OptionError, match="repeats=0"):
        ensemble.importance(line(), repeats=0)
