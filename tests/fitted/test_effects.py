"""Effects: slopes as least squares gives them, curves that are right for correlated features, units of the data."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


class Line(nn.Module):
    """One number for each row."""

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.layer = nn.Linear(d_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def weighed() -> pd.DataFrame:
    frame = lb.datasets.penguins(drop_missing=True)
    return frame.assign(body_mass_kg=frame["body_mass_g"] / 1000, heavy=frame["body_mass_g"] > 4200)


@pytest.fixture(scope="module")
def penguins() -> pd.DataFrame:
    return weighed()


FEATURES = ["bill_length_mm", "flipper_length_mm", "heavy", "sex", "island"]


def linear_net(penguins: pd.DataFrame) -> lb.Fitted:
    data = lb.data.from_frame(penguins, target="body_mass_kg", features=FEATURES)
    recipe = lb.setup(Line, loss=nn.MSELoss(), optimizer=optim.LBFGS).set_opt_hparams(max_iter=100)
    return recipe.set_hparams(d_in=data.width).fit(data, epochs=5, batch_size=400, verbose=False, preflight=False)


@pytest.fixture(scope="module")
def line(penguins: pd.DataFrame) -> lb.Fitted:
    return linear_net(penguins)


def least_squares(frame: pd.DataFrame) -> pd.Series:
    columns = pd.get_dummies(frame[FEATURES], columns=["sex", "island"], drop_first=True).astype(float)
    columns["constant"] = 1.0
    found, *_ = np.linalg.lstsq(columns.to_numpy(), frame["body_mass_kg"].to_numpy(), rcond=None)
    return pd.Series(found, columns.columns)


NAMES = {
    "bill_length_mm": "bill_length_mm",
    "flipper_length_mm": "flipper_length_mm",
    "heavy: True - False": "heavy",
    "sex: male - female": "sex_male",
    "island: Dream - Biscoe": "island_Dream",
    "island: Torgersen - Biscoe": "island_Torgersen",
}


def test_slopes_of_a_linear_net_are_least_squares(line: lb.Fitted, penguins: pd.DataFrame) -> None:
    found = line.effects(penguins).frame().set_index("feature")
    wanted = least_squares(penguins)
    assert list(found.index) == list(NAMES)
    for name, other in NAMES.items():
        assert found.loc[name, "slope"] == pytest.approx(wanted[other], abs=1e-3)
        assert found.loc[name, "low"] == pytest.approx(found.loc[name, "high"], abs=1e-5)


def test_curves_are_in_the_units_of_the_data(line: lb.Fitted, penguins: pd.DataFrame) -> None:
    slope = line.effects(penguins).frame()["slope"].iloc[1]
    found = line.effects(penguins, "flipper_length_mm")
    mean = line.predict(penguins).double().mean().item()
    for kind, part in found.curves.groupby("kind"):
        value, response = part["value"].to_numpy(), part["response"].to_numpy()
        assert value.min() >= penguins["flipper_length_mm"].min(), kind
        assert value.max() <= penguins["flipper_length_mm"].max(), kind
        assert np.allclose(np.polyfit(value, response, 1)[0], slope, atol=1e-4), kind
        assert np.interp(penguins["flipper_length_mm"].mean(), value, response) == pytest.approx(mean, abs=0.01)
    assert found.individual["row"].nunique() == 50
    assert list(found.frame()["feature"]) == ["flipper_length_mm"]
    first = found.individual[found.individual["row"] == found.individual["row"].iloc[0]]
    row = penguins.iloc[[first["row"].iloc[0]]].assign(flipper_length_mm=first["value"].iloc[3])
    assert line.predict(row).item() == pytest.approx(first["response"].iloc[3], abs=1e-5)


def test_of_a_category_the_levels(line: lb.Fitted, penguins: pd.DataFrame, tmp_path) -> None:
    found = line.effects(penguins, "island")
    assert list(found.curves["value"]) == ["Biscoe", "Dream", "Torgersen"]
    difference = found.curves["response"].diff().iloc[1]
    assert difference == pytest.approx(found.frame()["slope"].iloc[0], abs=1e-5)
    found.plot().save(tmp_path / "levels.png", verbose=False)


@pytest.mark.parametrize("names", [(), ("flipper_length_mm",), ("heavy",), ("bill_length_mm", "sex")])
def test_plots_are_drawn(line: lb.Fitted, penguins: pd.DataFrame, names: tuple[str, ...], tmp_path) -> None:
    chart = line.effects(penguins, *names, points=5).plot()
    chart.save(tmp_path / "effects.png", verbose=False)
    said = f"{chart.labels.y} {chart.labels.x} {chart.labels.fill}"
    assert "predicted body_mass_kg" in said


@pytest.mark.parametrize("places", [[1, 2, 4, 8], [0.0, 0.1], ["low", "high"]], ids=str)
def test_the_tiles_of_a_surface_touch(places: list) -> None:
    surface = pd.DataFrame([(x, y, y) for x in places for y in (0.0, 1.0, 5.0)], columns=["x", "y", "response"])
    chart = lb.plots.plot_effect_surface(surface)
    chart._build()
    drawn = chart.layers[0].data
    for low, high, other in (("xmin", "xmax", "ymin"), ("ymin", "ymax", "xmin")):
        for _, row in drawn.groupby(other):
            ordered = row.sort_values(low)
            assert np.allclose(ordered[high].to_numpy(float)[:-1], ordered[low].to_numpy(float)[1:])


def test_two_features_are_a_surface(line: lb.Fitted, penguins: pd.DataFrame) -> None:
    found = line.effects(penguins, "bill_length_mm", "island", points=4)
    assert list(found.surface.columns) == ["bill_length_mm", "island", "response"]
    assert len(found.surface) == 12
    slopes = found.frame().set_index("feature")["slope"]
    table = found.surface.pivot(index="bill_length_mm", columns="island", values="response")
    assert np.allclose(table["Dream"] - table["Biscoe"], slopes["island: Dream - Biscoe"], atol=1e-5)


class Wild(nn.Module):
    """x0 where there are rows, and something else where there are none: away from x0 = x1."""

    def __init__(self) -> None:
        super().__init__()
        self.none = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        away = ((x[:, 0] - x[:, 1]).abs() - 1.5).clamp(min=0)
        return x[:, 0] + 10 * away**2 + 0 * self.none


def test_accumulated_effects_are_right_for_correlated_features() -> None:
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(4000, 2, generator=generator)
    x = torch.stack([both[:, 0], 0.9 * both[:, 0] + (1 - 0.81) ** 0.5 * both[:, 1]], 1)
    fitted = lb.setup(Wild, loss=nn.MSELoss(), optimizer=optim.SGD).fit(
        (x, x[:, 0]), epochs=1, verbose=False, preflight=False
    )
    curves = fitted.effects(x, 0).curves
    for kind, part in curves.groupby("kind"):
        inside = part[part["value"].abs() < 2]
        distance = (inside["response"] - inside["response"].mean() - inside["value"] + inside["value"].mean()).abs()
        assert (distance.max() < 0.1) == (kind == "accumulated local effects"), kind


def test_effects_are_on_the_scale_of_the_target() -> None:
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    rates = torch.exp(0.3 + 0.5 * x[:, 0])
    recipe = lb.setup(Line, loss=nn.PoissonNLLLoss(), optimizer=optim.LBFGS).set_hparams(d_in=2)
    fitted = recipe.fit((x, torch.poisson(rates)), epochs=3, batch_size=500, verbose=False)
    slope = fitted.effects(x).frame()["slope"].iloc[0]
    weight = fitted.model.layer.weight[0, 0].item()
    assert slope == pytest.approx(weight * fitted.predict_response(x).mean().item(), rel=1e-5)


def test_of_classes_each_probability(penguins: pd.DataFrame) -> None:
    data = lb.data.from_frame(penguins, target="species", features=["bill_length_mm", "island"])
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.set_hparams(in_features=data.width, out_features=3).fit(data, epochs=3, verbose=False)
    frame = fitted.effects(penguins).frame()
    assert list(frame.columns) == ["feature", "output", "slope", "low", "high"]
    assert list(frame["output"][:3]) == ["Adelie", "Chinstrap", "Gentoo"]
    assert np.allclose(frame.groupby("feature")["slope"].sum(), 0, atol=1e-6)  # probabilities add up to 1
    near = penguins.assign(bill_length_mm=penguins["bill_length_mm"] + 0.01)
    steps = (fitted.predict_probabilities(near) - fitted.predict_probabilities(penguins)).double().mean(0) / 0.01
    assert np.allclose(frame["slope"][:3], steps, atol=1e-3)
    assert "probability" in repr(fitted.effects(penguins, "island"))


def test_codes_are_categories(penguins: pd.DataFrame) -> None:
    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layer = nn.Embedding(3, 1), nn.Linear(1, 1)

        def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
            return (self.table(codes[:, 0]) + self.layer(numbers))[:, 0]

    data = lb.data.from_frame(
        penguins, target="body_mass_kg", features=["island", "bill_length_mm"], categories="codes"
    )
    fitted = lb.setup(Coded, loss=nn.MSELoss(), optimizer=optim.Adam).fit(data, epochs=1, verbose=False)
    frame = fitted.effects(penguins).frame().set_index("feature")["slope"]
    weight = fitted.model.table.weight.detach()[:, 0]
    assert frame["island: Dream - Biscoe"] == pytest.approx((weight[1] - weight[0]).item(), abs=1e-5)


@pytest.mark.parametrize(
    ("names", "options", "received"),
    [
        (("flipper",), {}, "flipper"),
        (("sex", "sex"), {}, "sex"),
        (("sex", "island", "heavy"), {}, "heavy"),
        (("sex",), {"points": 1}, "points=1"),
        (("sex",), {"curves": -1}, "curves=-1"),
    ],
)
def test_what_is_impossible_is_said(line: lb.Fitted, penguins: pd.DataFrame, names, options, received: str) -> None:
    with pytest.raises(lb.OptionError, match=received):
        line.effects(penguins, *names, **options)


def test_no_gradient_is_said() -> None:
    class Steps(Line):
        def predict(self, x: Tensor) -> Tensor:
            return self(x).detach().round()

    fitted = lb.setup(Steps, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(d_in=2)
    x = torch.randn(50, 2)
    fitted = fitted.fit((x, x[:, 0]), epochs=1, verbose=False, preflight=False)
    with pytest.raises(lb.DataError, match="no gradient"):
        fitted.effects(x)
    with pytest.raises(lb.OptionError, match="steps, patches and whole numbers"):
        fitted.effects((torch.ones(4, 2, dtype=torch.int64), None))


def test_nothing_is_left_behind(line: lb.Fitted, penguins: pd.DataFrame) -> None:
    before, state = penguins.copy(), torch.get_rng_state()
    grads = [one.grad.clone() for one in line.model.parameters()]
    line.effects(penguins, "bill_length_mm", curves=0)
    assert before.equals(penguins)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(one.grad, kept) for one, kept in zip(line.model.parameters(), grads, strict=True))


def test_of_robustly_scaled_numbers_as_by_hand() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.standard_t(2, 300) * 20 + 100, "b": generator.normal(size=300)})
    frame = frame.assign(c=frame["b"] > 0, y=frame["a"] / 20 + frame["b"])
    data = lb.data.from_frame(frame, target="y", standardize="robust")
    recipe = lb.setup(Line, loss=nn.MSELoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.1)
    net = recipe.set_hparams(d_in=data.width).fit(data, epochs=5, verbose=False, preflight=False)

    def predicted(rows: pd.DataFrame) -> np.ndarray:
        return net.predict(rows).double().numpy().reshape(-1)

    slopes = net.effects(frame).frame().set_index("feature")
    for name, step in (("a", 0.5), ("b", 0.02)):
        up, down = (predicted(frame.assign(**{name: frame[name] + side * step})) for side in (1, -1))
        by_hand = (up - down) / (2 * step)
        assert slopes.loc[name, "slope"] == pytest.approx(by_hand.mean(), rel=2e-3)
        assert slopes.loc[name, ["low", "high"]].tolist() == pytest.approx(np.quantile(by_hand, (0.05, 0.95)), rel=2e-3)
    curves = net.effects(frame, "a").curves.groupby("kind")
    part = curves.get_group("partial dependence")
    by_hand = [predicted(frame.assign(a=value)).mean() for value in part["value"]]
    assert part["response"].to_numpy() == pytest.approx(np.array(by_hand), rel=1e-5)
    low, high = np.quantile(frame["a"], (0.01, 0.99))
    assert part["value"].iloc[[0, -1]].tolist() == pytest.approx([low, high], rel=1e-4)
    part = curves.get_group("accumulated local effects")
    by_hand = [predicted(frame.assign(a=value)).mean() for value in part["value"]]
    assert np.diff(part["response"]) == pytest.approx(np.diff(by_hand), abs=1e-4)
