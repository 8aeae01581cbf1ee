"""What a row's parts add to its prediction: right where it is known, complete where it must be, in the user's units."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


def fit(module, data, loss=None, **options) -> lb.Fitted:
    recipe = lb.setup(module, loss=loss or nn.MSELoss(), optimizer=optim.Adam, **options).set_opt_hparams(lr=0.02)
    return recipe.fit(data, epochs=3, verbose=False, preflight=False)


def numbers(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def small(d_in: int, d_out: int):
    return lambda: nn.Sequential(nn.Linear(d_in, 16), nn.ReLU(), nn.Linear(16, d_out))


def complete(found, share: float = 0.01) -> bool:
    """Whether the values of each row add up to the difference of the predictions."""
    difference = found.predictions - found.baselines
    return bool((found.gaps.abs() <= share * difference.abs() + 1e-4).all())


def table(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.normal(50, 9, rows), "colour": random.choice(["red", "blue", "green"], rows)})
    frame["new"] = random.choice([True, False], rows)
    frame["price"] = 1000 + 30 * frame["size"] + 200 * (frame["colour"] == "red") + random.normal(0, 5, rows)
    frame["kind"] = np.where(frame["price"] > frame["price"].median(), "dear", "cheap")
    return frame


@pytest.mark.parametrize("method", ["integrated gradients", "occlusion"])
@pytest.mark.parametrize("baseline", [0.0, 0.5, "data"])
def test_of_a_linear_net_it_is_weight_times_difference(method: str, baseline) -> None:
    x = numbers(40, 4)
    fitted = fit(lambda: nn.Linear(4, 1), (x, x[:, :1] - 2 * x[:, 1:2]))
    point = x.mean(0) if baseline == "data" else torch.full((4,), baseline)
    found = fitted.attribute(x[:7], method=method, baseline=x if baseline == "data" else baseline)
    by_hand = fitted.model.weight.detach() * (x[:7] - point)
    torch.testing.assert_close(found.values, by_hand, atol=1e-5, rtol=1e-5)
    assert found.gaps.abs().max() < 1e-5
    torch.testing.assert_close(found.predictions, fitted.predict(x[:7])[:, 0])
    frame = found.frame()
    assert list(frame.columns) == ["row", "feature", "attribution"]
    assert frame["row"].tolist() == [row for row in range(7) for _ in range(4)]
    assert frame["feature"].tolist() == [0, 1, 2, 3] * 7


def test_the_mean_of_the_baseline_counts_rows_by_their_weights() -> None:
    x = numbers(30, 2)
    fitted = fit(lambda: nn.Linear(2, 1), (x, x[:, :1]))
    weights = torch.arange(30.0)
    found = fitted.attribute(x[:1], baseline=lb.data.weighted((x, x[:, :1]), weights))
    mean = (weights[:, None] * x).sum(0) / weights.sum()
    torch.testing.assert_close(found.values, fitted.model.weight.detach() * (x[:1] - mean), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("one_hot_target", ["kind", "price"])
def test_columns_of_a_frame_are_added_up(one_hot_target: str) -> None:
    frame = table()
    data = lb.data.from_frame(
        frame, target=one_hot_target, features=["size", "colour", "new"], scale_target=one_hot_target == "price"
    )
    classes = one_hot_target == "kind"
    loss = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    module = small(data.width, 2) if classes else lambda: nn.Sequential(small(data.width, 1)(), nn.Flatten(0))
    fitted = fit(module, data, loss)
    found = fitted.attribute(frame.iloc[:9], baseline=data)
    assert found.names == ("size", "colour", "new")
    assert found.values.shape == (9, 3)
    assert complete(found)
    if classes:
        shares = fitted.predict_probabilities(frame.iloc[:9])
        assert list(found.outputs) == fitted.predict_classes(frame.iloc[:9]).tolist()
        torch.testing.assert_close(found.predictions, shares.max(1).values)
        of_one = fitted.attribute(frame.iloc[:9], "dear", baseline=data)
        torch.testing.assert_close(of_one.predictions, shares[:, fitted.classes.index("dear")])
        assert of_one.response == "probability of dear"
    else:
        torch.testing.assert_close(found.predictions, fitted.predict(frame.iloc[:9]))  # in the units of the target
        assert found.response == "predicted price"
        hidden = fitted.attribute(frame.iloc[:9], method="occlusion", baseline=data)
        assert hidden.values.abs().max() > 1


def test_one_score_is_the_probability_of_the_predicted_class() -> None:
    x = numbers(60, 3)
    fitted = fit(
        lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), (x, (x[:, 0] > 0).float()), nn.BCEWithLogitsLoss()
    )
    found = fitted.attribute(x[:12])
    assert set(found.outputs) == {0, 1}
    assert bool((found.predictions >= 0.5).all())
    assert complete(found)
    second = fitted.attribute(x[:12], 1)
    torch.testing.assert_close(second.predictions, fitted.predict(x[:12]).sigmoid())
    first = fitted.attribute(x[:12], "0")
    torch.testing.assert_close(first.values, -second.values, atol=1e-5, rtol=1e-3)


def test_a_steep_net_gets_more_steps() -> None:
    x = numbers(30, 2)

    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * (300 * (x[:, 0] + 0.5 * x[:, 1] - 0.1)).sigmoid()

    fitted = fit(Steep, (x, x[:, 0]))
    found = fitted.attribute(x, steps=10)
    assert complete(found)
    assert (found.predictions - found.baselines).abs().max() > 0.9


def test_images_by_pixel_and_by_patch() -> None:
    x = torch.rand(12, 3, 8, 6, generator=torch.Generator().manual_seed(0))

    def net() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3))

    fitted = fit(net, (x, torch.arange(12) % 3), nn.CrossEntropyLoss())
    found = fitted.attribute(x[:4])
    assert found.values.shape == (4, 8, 6)
    assert complete(found)
    assert found.frame()["feature"].tolist()[6] == "row 2, column 1"
    hidden = fitted.attribute(x[:4], 1, method="occlusion", patches=2)
    assert hidden.values.shape == (4, 2, 2)
    dark = x[:4].clone()
    dark[:, :, 4:, :3] = 0
    by_hand = fitted.predict_probabilities(x[:4]) - fitted.predict_probabilities(dark)
    torch.testing.assert_close(hidden.values[:, 1, 0], by_hand[:, 1], atol=1e-6, rtol=1e-4)
    assert fitted.attribute(x[:1], method="occlusion").values.shape == (1, 8, 6)
    uneven = fitted.attribute(x[:2], 0, method="occlusion", patches=5)
    assert uneven.values.shape == (2, 5, 5)


def test_bytes_are_images_too() -> None:
    x = torch.randint(0, 256, (8, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(25, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.line(x.float().flatten(1) / 255)

    fitted = fit(Net, (x, torch.rand(8, 1)))
    for method in ("integrated gradients", "occlusion"):
        found = fitted.attribute(x[:3], method=method, baseline=x)
        by_hand = fitted.model.line.weight.detach().reshape(1, 5, 5) * (x[:3, 0] / 255 - x.float().mean(0)[0] / 255)
        torch.testing.assert_close(found.values, by_hand, atol=1e-5, rtol=1e-4)


def test_sequences_by_step_and_feature() -> None:
    x = numbers(10 * 7, 2).reshape(10, 7, 2)

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.last = nn.LSTM(2, 5, batch_first=True), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.cells(x)[0][:, -1])

    fitted = fit(Recurrent, (x, x[:, -1, :1]))
    found = fitted.attribute(x[:3])
    assert found.values.shape == (3, 7, 2)
    assert complete(found)
    frame = found.frame()
    assert frame.iloc[[0, 3, 14]][["row", "step", "feature"]].to_numpy().tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0]]
    hidden = fitted.attribute(x[:3], method="occlusion")
    without = x[:3].clone()
    without[:, 4, 1] = 0
    by_hand = (fitted.predict(x[:3]) - fitted.predict(without))[:, 0]
    torch.testing.assert_close(hidden.values[:, 4, 1], by_hand, atol=1e-6, rtol=1e-4)


class Two(nn.Module):
    """Uses the table and the picture, and leaves the third input out."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2 + 16, 1)

    def forward(self, table: Tensor, picture: Tensor, unused: Tensor) -> Tensor:
        return self.line(torch.cat([table, picture.flatten(1)], 1))


def test_several_inputs() -> None:
    table, picture = numbers(12, 2), numbers(12, 16).reshape(12, 1, 4, 4)
    input = table, picture, numbers(12, 1, seed=3)
    fitted = fit(Two, (input, table[:, :1]))
    for method in ("integrated gradients", "occlusion"):
        found = fitted.attribute((input, None), method=method)
        assert found.names == ("0[0]", "0[1]", "2", "1")
        weight = fitted.model.line.weight.detach()[0]
        torch.testing.assert_close(found.values[:, 0], weight[0] * table[:, 0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.values[:, 3], picture.flatten(1) @ weight[2:], atol=1e-5, rtol=1e-4)
        assert found.values[:, 2].abs().max() == 0
        assert complete(found)


def test_codes_and_words_by_occlusion() -> None:
    frame = table()
    data = lb.data.from_frame(frame, target="price", features=["size", "colour"], categories="codes")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.line = nn.Embedding(8, 2), nn.Linear(3, 1)

        def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
            return self.line(torch.cat([numbers, self.table(codes[:, 0])], 1))[:, 0]

    fitted = fit(Net, data)
    with pytest.raises(lb.DataError, match=r'occlusion"; or from_frame\(..., categories="one-hot"\)'):
        fitted.attribute(frame.iloc[:4])
    found = fitted.attribute(frame.iloc[:4], method="occlusion")
    assert found.names == ("size", "colour")
    first = sorted(frame["colour"].unique())[0]
    by_hand = fitted.predict(frame.iloc[:4]) - fitted.predict(frame.iloc[:4].assign(colour=first))
    torch.testing.assert_close(found.values[:, 1], by_hand, atol=1e-4, rtol=1e-4)


def test_the_size_of_batches_changes_nothing_and_nothing_is_left_behind() -> None:
    x = numbers(12, 3)
    fitted = fit(small(3, 2), (x, (x[:, 0] > 0).long()), nn.CrossEntropyLoss())
    state = torch.get_rng_state()
    whole = fitted.attribute(x)
    assert torch.equal(torch.get_rng_state(), state)
    for parameter in fitted.model.parameters():
        parameter.grad = None
    assert not fitted.model.training
    for size in (5, 1000):
        again = fitted.attribute(x, batch_size=size)
        torch.testing.assert_close(again.values, whole.values, atol=1e-5, rtol=1e-3)
    assert all(parameter.grad is None for parameter in fitted.model.parameters())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long()), batch_size=9)
    torch.testing.assert_close(fitted.attribute(loader).values, whole.values, atol=1e-5, rtol=1e-3)


def test_no_pass_is_larger_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers(10, 3)
    fitted = fit(small(3, 2), (x, (x[:, 0] > 0).long()), nn.CrossEntropyLoss())
    sizes: list[int] = []
    fitted.model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    for method in ("integrated gradients", "occlusion"):
        fitted.attribute(x, method=method, batch_size=4)
        assert max(sizes) <= 4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"of": "tiger"}, lb.OptionError, "of='tiger'"),
        ({"method": "gradients"}, lb.OptionError, "integrated gradients"),
        ({"patches": 2}, lb.OptionError, "patches=2"),
        ({"steps": 1}, lb.OptionError, "steps=1"),
    ],
)
def test_what_is_impossible_is_said(options, error, words: str) -> None:
    x = numbers(20, 3)
    fitted = fit(small(3, 2), (x, (x[:, 0] > 0).long()), nn.CrossEntropyLoss())
    with pytest.raises(error, match=words):
        fitted.attribute(x[:2], **options)


def test_of_several_numbers_one_is_to_be_chosen() -> None:
    x = numbers(20, 3)
    fitted = fit(lambda: nn.Linear(3, 2), (x, x[:, :2]))
    with pytest.raises(lb.OptionError, match="of=0"):
        fitted.attribute(x[:2])
    found = fitted.attribute(x[:2], 1)
    torch.testing.assert_close(found.values, fitted.model.weight.detach()[1] * x[:2], atol=1e-5, rtol=1e-5)


def test_a_module_without_a_gradient() -> None:
    x = numbers(20, 3)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.line(x)

        def predict(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return self.line(x)

    fitted = fit(Cut, (x, x[:, :1]))
    with pytest.raises(lb.DataError, match="occlusion"):
        fitted.attribute(x[:2])
    assert fitted.attribute(x[:2], method="occlusion").values.shape == (2, 3)


def test_without_captum_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers(20, 3)
    fitted = fit(lambda: nn.Linear(3, 1), (x, x[:, :1]))
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(lb.MissingExtraError, match=r"lumbre\[explain\]"):
        fitted.attribute(x)


def test_pictures() -> None:
    frame = table()
    data = lb.data.from_frame(frame, target="price", features=["size", "colour", "new"])
    fitted = fit(lambda: nn.Sequential(small(data.width, 1)(), nn.Flatten(0)), data)
    found = fitted.attribute(frame.iloc[:3], baseline=data)
    chart = found.plot(1)
    assert chart.labels.y == "change of the predicted price"
    assert f"colour = {frame['colour'][1]}" in set(chart.data["feature"])
    assert f"size = {frame['size'][1]:.4g}" in set(chart.data["feature"])
    assert chart.data["value"].sum() == pytest.approx(float(found.values[1].sum()), rel=1e-4)
    with pytest.raises(lb.OptionError, match="row=3"):
        found.plot(3)
    chart.draw()
    wide = fit(lambda: nn.Linear(40, 1), (numbers(20, 40), numbers(20, 1))).attribute(numbers(1, 40)).plot()
    assert len(wide.data) == 16
    assert "25 others" in set(wide.data["feature"])
    x = torch.rand(9, 1, 6, 6)
    images = fit(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), (x, torch.arange(9) % 2), nn.CrossEntropyLoss())
    grid = images.attribute(x).plot()
    assert len(grid.frame) == 6
    assert grid.tensor.shape[0] == 3
    assert "probability of" in grid.frame["text"][0]
    assert len(images.attribute(x).plot(7).frame) == 1


def test_what_it_prints() -> None:
    x = numbers(20, 3)
    fitted = fit(lambda: nn.Linear(3, 1), (x, x[:, :1]))
    text = repr(fitted.attribute(x))
    assert text.startswith("Attribution by integrated gradients to the prediction: 20 rows")
    assert len(text.splitlines()) == 4
