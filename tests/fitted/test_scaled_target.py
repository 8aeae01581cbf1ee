"""What is said of a target that training saw scaled is said in the target's own units, everywhere."""

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn, optim

import lumbre as lb


class Line(nn.Module):
    def __init__(self, outputs: int | None = None) -> None:
        super().__init__()
        self.outputs = outputs
        self.layer = nn.Linear(2, outputs or 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.layer(x)
        return found if self.outputs else found[:, 0]


def table(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"area": random.normal(80, 20, rows), "age": random.normal(30, 9, rows)})
    price = 1e5 + 3e3 * frame.area - 500 * frame.age + random.normal(0, 2e4, rows)
    return frame.assign(price=price, rent=0.01 * price)


def recipe(target: object) -> lb.Recipe:
    metrics = [lb.metrics.MAE(), lb.metrics.RMSE()]
    made = lb.setup(Line, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=metrics).set_opt_hparams(lr=0.05)
    return made.set_hparams(outputs=len(target) if isinstance(target, list) else None)


def parts(target: object) -> tuple[lb.data.FrameData, ...]:
    data = lb.data.from_frame(table(), target=target, features=["area", "age"], scale_target=True)
    return lb.split(data, 0.5, 0.25, 0.25, seed=0)


@pytest.mark.parametrize("target", ["price", ["price", "rent"]])
def test_intervals_beside_the_truth_are_those_that_are_predicted(target: object) -> None:
    train, calibration, test = parts(target)
    fitted = recipe(target).fit(train, epochs=15, verbose=False)
    margins = torch.tensor(fitted.conformal(calibration, 0.9).margins, dtype=torch.float64)
    seen = fitted.compare(test)
    middle = torch.as_tensor(fitted.predict(test)).double().reshape(len(test), -1)
    assert seen["lower"].to_numpy() == pytest.approx((middle - margins).reshape(-1).numpy(), rel=1e-6)
    assert seen["upper"].to_numpy() == pytest.approx((middle + margins).reshape(-1).numpy(), rel=1e-6)


def test_intervals_lie_around_what_the_module_itself_predicts() -> None:
    class Doubled(Line):
        def predict(self, x: torch.Tensor) -> torch.Tensor:
            return 100 + self(x)

    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    fitted = lb.setup(Doubled, loss=nn.MSELoss(), optimizer=optim.Adam).fit(
        (x, x[:, 0]), epochs=2, verbose=False, preflight=False
    )
    fitted.conformal((x, x[:, 0]))
    seen, given = fitted.compare((x, x[:, 0])), fitted.predict(x, interval=True)
    assert seen["lower"].tolist() == given["lower"].tolist()


@pytest.mark.parametrize("target", ["price", ["price", "rent"]])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_ensemble_is_judged_in_the_units_of_the_target(target: object, bootstrap: bool) -> None:
    train, _, test = parts(target)
    # Each member holds out rows of its own, and so has a centre and scale of its own.
    models = recipe(target).ensemble(train, n=3, epochs=5, bootstrap=bootstrap, valid_data=0.2, verbose=False)
    centers = {one._session.encoding.target_center for one in models.models}  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]
    assert len(centers) == 3
    truth = table().loc[test.frame.index, target].to_numpy()
    error = np.asarray(models.predict(test)) - truth
    found = models.evaluate(test).metrics
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)


def test_outputs_have_the_names_of_the_target_columns() -> None:
    train, _, test = parts(["price", "rent"])
    fitted = recipe(["price", "rent"]).fit(train, epochs=30, verbose=False)
    effects = fitted.effects(test)
    assert effects.response == "prediction"
    frame = effects.frame()
    slopes = dict(zip(zip(frame["feature"], frame["output"], strict=True), frame["slope"], strict=True))
    assert slopes["area", "price"] == pytest.approx(100 * slopes["area", "rent"], rel=0.02)
    pytest.importorskip("captum")
    by_name, by_number = (fitted.attribute(test, one) for one in ("rent", 1))
    assert by_name.values.tolist() == by_number.values.tolist()
    assert by_name.response == "prediction (rent)"


def test_targets_of_different_units_have_an_axis_each() -> None:
    pytest.importorskip("plotnine")
    train, _, test = parts(["price", "rent"])
    fitted = recipe(["price", "rent"]).fit(train, epochs=5, verbose=False)
    curves, slopes = (cast(Any, fitted.effects(test, *names).plot()) for names in (("area",), ()))
    assert curves.facet.free == {"x": False, "y": True}
    assert slopes.facet.free == {"x": True, "y": False}
    surface: Any = fitted.effects(test, "area", "age", points=3)
    drawn: Any = surface.plot().data
    for name in ("price", "rent"):
        response = drawn[drawn["output"] == name]["response"]
        assert (response.min(), response.max()) == pytest.approx((0, 1))
    assert surface.surface["response"].max() > 1e5  # the frame keeps the units
