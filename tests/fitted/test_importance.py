"""Permutation importance: as scikit-learn computes it, with intervals that hold, for data of every kind."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.fitted import _importance


class Small(nn.Module):
    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_in, 12), nn.Tanh(), nn.Linear(12, d_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def classifier(x: Tensor, y: Tensor, **metrics) -> lb.Fitted:
    recipe = lb.setup(Small, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, **metrics)
    recipe = recipe.set_hparams(d_in=x.shape[1], d_out=int(y.max()) + 1).set_opt_hparams(lr=0.02)
    return recipe.fit((x, y), epochs=8, verbose=False, preflight=False)


def regressor(x: Tensor, y: Tensor, epochs: int = 20) -> lb.Fitted:
    recipe = lb.setup(Small, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=lb.metrics.R2())
    recipe = recipe.set_hparams(d_in=x.shape[1], d_out=1).set_opt_hparams(lr=0.02)
    return recipe.fit((x, y), epochs=epochs, verbose=False, preflight=False)


def real_sets() -> dict[str, tuple[Tensor, Tensor]]:
    from sklearn import datasets

    found = {}
    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        x = torch.from_numpy((x - x.mean(0)) / x.std(0)).float()[:, :8]
        y = torch.from_numpy(y)
        found[name] = x, y if name != "diabetes" else ((y - y.mean()) / y.std()).float()[:, None]
    x, y = datasets.make_friedman1(400, n_features=8, random_state=0)
    found["friedman"] = torch.from_numpy(x).float(), torch.from_numpy((y - y.mean()) / y.std()).float()[:, None]
    return found


class Judged:
    """A fitted model as scikit-learn's permutation_importance wants it."""

    def __init__(self, fitted: lb.Fitted) -> None:
        self.fitted = fitted

    def fit(self, x, y) -> "Judged":
        return self

    def predict(self, x: np.ndarray) -> Tensor:
        with torch.no_grad():
            return self.fitted.model(torch.from_numpy(x))


SETS = ("iris", "wine", "breast_cancer", "diabetes", "friedman")


def beside_scikit_learn(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The importances of a set's features; scikit-learn's, and their spread over repeats."""
    from sklearn.inspection import permutation_importance

    x, y = real_sets()[name]
    fitted = regressor(x, y) if y.is_floating_point() else classifier(x, y)
    loss = fitted.loss
    theirs = permutation_importance(
        Judged(fitted),
        x.numpy(),
        y.numpy(),
        scoring=lambda model, a, b: -loss(model.predict(a), torch.from_numpy(b)).item(),
        n_repeats=30,
        random_state=0,
    )
    ours = fitted.importance((x, y), repeats=10).frame().set_index("feature")["importance"].loc[range(x.shape[1])]
    return ours.to_numpy(), theirs.importances_mean, theirs.importances_std


@pytest.mark.parametrize("name", SETS)
def test_it_is_scikit_learns(name: str) -> None:
    ours, mean, spread = beside_scikit_learn(name)
    assert np.all(np.abs(ours - mean) <= spread + 1e-4)
    clear = mean[:, None] - mean[None] > 2 * (spread[:, None] + spread[None])
    assert np.all((ours[:, None] > ours[None])[clear])
    assert clear.sum() > 2


def line_with_noise(seed: int, rows: int) -> lb.Fitted:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    y = x[:, :1] + 0.5 * x[:, 1:2] + torch.randn(rows, 1, generator=generator)
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.LBFGS, metrics=lb.metrics.MAE())
    recipe = recipe.set_hparams(in_features=3, out_features=1)
    return recipe.fit((x, y), epochs=2, batch_size=rows, verbose=False, preflight=False)


def times_noise_is_covered(metric: str) -> int:
    """In how many of 100 seeds the interval of a column of noise covers 0."""
    covered = 0
    for seed in range(100):
        fitted = line_with_noise(seed, 60)
        generator = torch.Generator().manual_seed(10_000 + seed)
        x = torch.randn(120, 3, generator=generator)
        y = x[:, :1] + 0.5 * x[:, 1:2] + torch.randn(120, 1, generator=generator)
        frame = fitted.importance((x, y), metric, repeats=2, seed=seed).frame().set_index("feature")
        covered += frame.loc[2, "low"] <= 0 <= frame.loc[2, "high"]
        assert frame.loc[0, "low"] > 0
    return covered


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "mae"])
def test_the_interval_of_noise_covers_nothing(metric: str) -> None:
    assert times_noise_is_covered(metric) >= 93


def test_the_interval_covers_what_is_known() -> None:
    fitted = line_with_noise(0, 60)
    weight = fitted.model.weight[0, 1].item()
    # E(0.5 x - weight * another x)^2 - E(0.5 x - weight * x)^2 of a standard normal x
    truth, covered = (0.25 + weight**2) - (0.5 - weight) ** 2, 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(20_000 + seed)
        x = torch.randn(120, 3, generator=generator)
        y = x[:, :1] + 0.5 * x[:, 1:2] + torch.randn(120, 1, generator=generator)
        frame = fitted.importance((x, y), repeats=2, seed=seed).frame().set_index("feature")
        covered += frame.loc[1, "low"] <= truth <= frame.loc[1, "high"]
    assert covered >= 89


def test_students_quantiles() -> None:
    from scipy.stats import t

    assert np.allclose(_importance.T975, t.ppf(0.975, np.arange(1, 31)), atol=6e-4)


@pytest.fixture(scope="module")
def penguins() -> tuple[lb.Fitted, pd.DataFrame]:
    frame = lb.datasets.penguins(drop_missing=True)
    features = ["island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"]
    data = lb.data.from_frame(frame, target="species", features=features)
    metrics = [lb.metrics.Accuracy(), lb.metrics.F1(), lb.metrics.AUROC()]
    recipe = lb.setup(Small, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=metrics)
    recipe = recipe.set_hparams(d_in=data.width, d_out=3).set_opt_hparams(lr=0.02)
    return recipe.fit(data, epochs=6, verbose=False), frame


def test_a_category_is_one_feature(penguins) -> None:
    fitted, frame = penguins
    found = fitted.importance(frame)
    names = ["island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"]
    assert sorted(found.frame()["feature"]) == sorted(names)
    assert list(found.frame().columns) == ["feature", "importance", "low", "high"]
    assert found.frame()["importance"].is_monotonic_decreasing
    assert found.baseline == pytest.approx(fitted.evaluate(frame).metrics["loss"], rel=1e-5)
    assert "bill_length_mm" in repr(found)


@pytest.mark.parametrize("metric", ["acc", "F1", "auroc", lb.metrics.Accuracy()])
def test_any_metric_measures(penguins, metric) -> None:
    fitted, frame = penguins
    found = fitted.importance(frame, metric, repeats=2)
    name = metric if isinstance(metric, str) else "acc"
    assert found.baseline == pytest.approx(fitted.evaluate(frame).metrics[name.lower()], rel=1e-5)
    top = found.frame().iloc[0]
    assert top["feature"] == "bill_length_mm"
    assert 0 < top["low"] < top["importance"] < top["high"]


def test_metrics_of_others_measure(penguins) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    fitted, frame = penguins[0], penguins[1].iloc[::6]
    theirs = torchmetrics.Accuracy(task="multiclass", num_classes=3, average="micro")
    found = fitted.importance(frame, theirs, repeats=2).frame()
    assert found.round(5).equals(fitted.importance(frame, "acc", repeats=2).frame().round(5))


def test_groups_are_shuffled_together(penguins) -> None:
    fitted, frame = penguins
    found = fitted.importance(frame, groups={"bill": ["bill_length_mm", "bill_depth_mm"]}).frame()
    assert "bill" in set(found["feature"])
    assert not {"bill_length_mm", "bill_depth_mm"} & set(found["feature"])
    together = fitted.importance(frame, groups="correlated").frame()
    assert any("flipper_length_mm" in str(name) and "body_mass_g" in str(name) for name in together["feature"])


def test_correlated_features_stand_in_for_one_another() -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(400, 1, generator=generator)
    x = torch.cat([one, one + 0.05 * torch.randn(400, 1, generator=generator), torch.randn(400, 1)], 1)
    fitted = regressor(x, one)
    alone = fitted.importance((x, one)).frame().set_index("feature")["importance"]
    together = fitted.importance((x, one), groups="correlated").frame().set_index("feature")["importance"]
    assert set(together.index) == {"0 + 1", 2}
    assert together["0 + 1"] > alone[0] + alone[1]


def test_the_same_seed_gives_the_same_bits(penguins) -> None:
    fitted, frame = penguins
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = fitted.importance(frame, repeats=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == fitted.importance(frame, repeats=2)
    assert first != fitted.importance(frame, repeats=2, seed=1)
    # A group elsewhere changes nothing for a feature.
    grouped = fitted.importance(frame, repeats=2, groups={"bill": ["bill_length_mm", "bill_depth_mm"]}).frame()
    assert grouped.set_index("feature").loc["sex"].equals(first.frame().set_index("feature").loc["sex"])


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_the_batch_size_does_not_matter(penguins, batch_size: int) -> None:
    fitted, frame = penguins
    found = fitted.importance(frame, repeats=2, batch_size=batch_size).frame()
    assert np.allclose(found.iloc[:, 1:], fitted.importance(frame, repeats=2).frame().iloc[:, 1:], atol=1e-5)


def test_patches_of_images(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 1, 8, 8, generator=generator)
    y = x[:, 0, :4, 4:].mean((1, 2))[:, None]
    recipe = lb.setup(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), loss=nn.MSELoss(), optimizer=optim.Adam
    ).set_opt_hparams(lr=0.01)
    fitted = recipe.fit((x, y), epochs=20, verbose=False)
    frame = fitted.importance((x, y), patches=2).frame()
    assert frame["feature"].iloc[0] == "row 1, column 2"
    assert len(frame) == 4
    assert len(fitted.importance((x, y)).frame()) == 16
    assert len(fitted.importance((x, y), patches=3).frame()) == 9
    fitted.importance((x, y)).plot().save(tmp_path / "map.png", verbose=False)


def test_steps_of_sequences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, 3, generator=generator)
    y = x[:, 2].sum(1, keepdim=True)
    recipe = lb.setup(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(15, 1)), loss=nn.MSELoss(), optimizer=optim.Adam
    ).set_opt_hparams(lr=0.03)
    fitted = recipe.fit((x, y), epochs=20, verbose=False)
    frame = fitted.importance((x, y)).frame()
    assert frame["feature"].iloc[0] == 2
    assert sorted(frame["feature"]) == [0, 1, 2, 3, 4]


class Codes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sex, self.island = nn.Embedding(2, 2), nn.Embedding(3, 2)
        self.last = nn.Linear(6, 3)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        return self.last(torch.cat([numbers, self.island(codes[:, 0]), self.sex(codes[:, 1])], 1))


def test_codes_of_categories() -> None:
    frame = lb.datasets.penguins(drop_missing=True)
    features = ["island", "bill_length_mm", "sex", "bill_depth_mm"]
    data = lb.data.from_frame(frame, target="species", features=features, categories="codes")
    recipe = lb.setup(Codes, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.03)
    fitted = recipe.fit(data, epochs=5, verbose=False)
    found = fitted.importance(frame, repeats=2).frame()
    assert sorted(found["feature"]) == sorted(features)
    assert found["feature"].iloc[0] == "bill_length_mm"


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.layer(torch.cat([a, b[:, None]], 1))


def test_several_inputs() -> None:
    a, b = torch.randn(100, 2), torch.randn(100)
    y = b[:, None].clone()
    recipe = lb.setup(Two, loss=nn.MSELoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.fit(((a, b), y), epochs=20, verbose=False)
    found = fitted.importance(((a, b), y)).frame()
    assert found["feature"].tolist()[0] == "1"
    assert sorted(found["feature"]) == ["0[0]", "0[1]", "1"]


def test_the_cost_is_one_pass_for_each_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(1000, 20), torch.randn(1000, 1)
    fitted = regressor(x, y, epochs=1)
    seen, before = [0, 0], x.clone()

    class Counting(Small):
        def forward(self, x: Tensor) -> Tensor:
            seen[0] += len(x)
            seen[1] += 1
            return super().forward(x)

    fitted.model.__class__ = Counting
    fitted.importance((x, y), repeats=5)
    assert seen[0] == 101 * 1000
    assert seen[1] == 101 * 20  # a batch for each block
    assert torch.equal(before, x)


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"metric": "accc"}, "accc"),
        ({"metric": lb.metrics.ConfusionMatrix()}, "of which no way is up|a value for each class"),
        ({"repeats": 0}, "repeats=0"),
        ({"groups": "near"}, "near"),
        ({"groups": {"bill": ["bill_length"]}}, "bill_length"),
        ({"groups": {"a": ["sex"], "b": ["sex"]}}, "more than one group"),
        ({"groups": {"a": []}}, "without features"),
        ({"groups": {"sex": ["island"]}}, "as a feature outside it"),
        ({"patches": 2}, "patches=2"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_what_is_impossible_is_said(penguins, options: dict, received: str) -> None:
    fitted, frame = penguins
    with pytest.raises(lb.OptionError, match=received):
        fitted.importance(frame, **options)


def test_loaders_and_few_rows_are_refused(penguins) -> None:
    fitted, frame = penguins
    with pytest.raises(lb.DataError, match="3 rows"):
        fitted.importance(frame.head(3))
    x, y = torch.randn(20, 2), torch.randn(20, 1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y))
    with pytest.raises(lb.DataError, match="asks for rows by their numbers"):
        regressor(x, y, 1).importance(loader)


def test_a_model_without_a_loss_is_not_told_of_another_call(in_tmp) -> None:
    x, y = torch.randn(20, 2), torch.randn(20, 1)
    regressor(x, y, 1).save("small.lumbre")
    alone = lb.load("small.lumbre", Small)
    with pytest.raises(lb.RecipeError, match="no loss") as caught:
        alone.importance((x, y))
    assert "evaluate" not in str(caught.value)


def test_a_loss_that_sets_rows_beside_one_another_is_taken_of_all_of_them() -> None:
    torch.manual_seed(0)
    x = torch.randn(120, 2)
    target = torch.stack([torch.empty(120).exponential_() * (-2 * x[:, 0]).exp(), torch.ones(120)], 1)
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[2.0, 0.0]]))
    recipe = lb.setup(module, loss=lb.losses.Cox(), optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    fitted = recipe.fit((x, target), epochs=1, batch_size=120, verbose=False, preflight=False)
    found = fitted.importance((x, target), repeats=10)
    # As a hand would do it, with the partial likelihood of all rows; parts of a few rows would show less.
    loss = lb.losses.Cox()
    whole = loss(2 * x[:, 0], target).item()
    worse = [loss(2 * x[torch.randperm(120), 0], target).item() - whole for _ in range(200)]
    assert found.baseline == pytest.approx(whole, rel=1e-5)
    value, low, high = next(line[1:] for line in found.values if line[0] == 0)
    assert value == pytest.approx(sum(worse) / 200, rel=0.15)
    assert low < value < high
    assert next(line[1] for line in found.values if line[0] == 1) == pytest.approx(0, abs=1e-5)


def test_a_loss_that_takes_what_the_module_noted_is_taken_as_it_was() -> None:
    class Noting(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.size = x.square().mean()
            return super().forward(x)

    module = Noting(2, 1)
    recipe = lb.setup(module, loss=lambda p, t: ((p - t) ** 2).mean() + module.size, optimizer=optim.SGD)
    x = torch.randn(60, 2)
    fitted = recipe.set_opt_hparams(lr=0.0).fit((x, x[:, :1]), epochs=1, verbose=False, preflight=False)
    found = fitted.importance((x, x[:, :1]))
    with torch.no_grad():
        error = (nn.functional.linear(x, module.weight, module.bias) - x[:, :1]).square().mean()
    assert found.baseline == pytest.approx(float(error + x.square().mean()), rel=1e-4)
