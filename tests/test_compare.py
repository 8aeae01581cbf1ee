"""`Fitted.compare`, `examples` and `predict_probabilities`: the right truth beside the right prediction."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from conftest import Net, blobs


@pytest.fixture(scope="module")
def fitted() -> lb.Fitted:
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return recipe.set_hparams(d_in=4).set_opt_hparams(lr=1e-2).fit(blobs(), epochs=3, verbose=False)


def trained(module, loss, data, **hparams) -> lb.Fitted:
    recipe = lb.setup(module, loss=loss, optimizer=optim.Adam).set_hparams(**hparams)
    return recipe.fit(data, epochs=1, verbose=False, preflight=False)


def _own_loss(pred: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy(pred, target)


def two_clouds(rows: int = 90) -> tuple[Tensor, Tensor]:
    x, y = blobs(rows)
    return x, (y == 1).float()[:, None]


def test_the_frame_agrees_with_predict_and_evaluate(fitted: lb.Fitted) -> None:
    x, y = blobs(100, seed=1)
    frame = fitted.compare((x, y))
    columns = ["row", "truth", "predicted", "correct", "probability", "loss"]
    assert list(frame.columns) == [*columns, "probability_0", "probability_1", "probability_2"]
    assert frame["row"].tolist() == list(range(100))
    assert frame["truth"].tolist() == y.tolist()
    assert frame["predicted"].tolist() == fitted.predict_classes(x).tolist()
    shares = fitted.predict(x).softmax(1).numpy()
    np.testing.assert_allclose(frame[["probability_0", "probability_1", "probability_2"]], shares, rtol=1e-6)
    np.testing.assert_allclose(frame["probability"], shares.max(1), rtol=1e-6)
    score = fitted.evaluate((x, y)).metrics
    assert frame["loss"].mean() == pytest.approx(score["loss"], rel=1e-5)
    assert frame["correct"].mean() == pytest.approx(score["acc"])


def test_names_of_classes_are_kept_with_those_that_do_not_occur() -> None:
    penguins = lb.datasets.penguins(drop_missing=True)
    data = lb.data.from_frame(penguins, target="species", features=["bill_length_mm", "bill_depth_mm"])
    fitted = trained(Net, nn.CrossEntropyLoss(), data, d_in=2)
    frame = fitted.compare(penguins.query("species == 'Gentoo'"))
    assert list(frame["truth"].cat.categories) == ["Adelie", "Chinstrap", "Gentoo"]
    assert set(frame["truth"]) == {"Gentoo"}
    assert "probability_Chinstrap" in frame.columns


def test_a_loader_that_shuffles_keeps_truth_and_prediction_together(fitted: lb.Fitted) -> None:
    x, y = blobs(64)
    frame = fitted.compare(DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True))
    whole = fitted.compare((x, y))
    assert sorted(frame["loss"]) == pytest.approx(sorted(whole["loss"]))


@pytest.mark.parametrize(
    ("module", "loss"),
    [
        (nn.Linear, nn.BCEWithLogitsLoss()),
        (nn.Linear, F.binary_cross_entropy_with_logits),
        (lambda **hparams: nn.Sequential(nn.Linear(**hparams), nn.Sigmoid()), nn.BCELoss()),
        (
            lambda **hparams: nn.Sequential(nn.Linear(**hparams), nn.Sigmoid()),
            _own_loss,
        ),
    ],
)
def test_one_output_and_targets_of_0_and_1_are_two_classes(module, loss) -> None:
    x, y = two_clouds()
    fitted = trained(module, loss, (x, y), in_features=4, out_features=1)
    linear = fitted.model if isinstance(fitted.model, nn.Linear) else fitted.model[0]
    expected = linear(x)[:, 0].sigmoid().detach()
    frame = fitted.compare((x, y))
    np.testing.assert_allclose(frame["probability_1"], expected, rtol=1e-5)
    np.testing.assert_allclose(fitted.predict_probabilities(x)[:, 1], expected, rtol=1e-5)
    assert frame["truth"].tolist() == y[:, 0].long().tolist()
    assert ("loss" in frame) == (loss is not _own_loss)


def test_targets_of_0_and_1_are_numbers_for_a_loss_for_numbers() -> None:
    x, y = two_clouds()
    fitted = trained(nn.Linear, nn.MSELoss(), (x, y), in_features=4, out_features=1)
    frame = fitted.compare((x, y))
    np.testing.assert_allclose(frame["residual"], (y - fitted.predict(x))[:, 0], rtol=1e-5)
    np.testing.assert_allclose(frame["loss"], frame["residual"] ** 2, rtol=1e-4)
    with pytest.raises(lb.DataError, match="loss for numbers"):
        fitted.predict_probabilities(x)


def test_log_probabilities_and_probabilities_of_a_modules_own_predict_are_not_squashed_twice() -> None:
    class Logs(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).log_softmax(1)

    class Shares(Net):
        def predict(self, x: Tensor) -> Tensor:
            return self(x).softmax(1)

    x, y = blobs()
    logs = trained(Logs, nn.NLLLoss(), (x, y), d_in=4)
    np.testing.assert_allclose(logs.predict_probabilities(x), logs.predict(x).exp(), rtol=1e-5)
    shares = trained(Shares, nn.CrossEntropyLoss(), (x, y), d_in=4)
    np.testing.assert_allclose(shares.predict_probabilities(x), shares.predict(x), rtol=1e-5)
    loss = shares.compare((x, y))["loss"].mean()
    assert loss == pytest.approx(shares.evaluate((x, y)).metrics["loss"], rel=1e-5)


def test_one_hot_targets_are_classes_and_several_numbers_have_a_line_each() -> None:
    x, y = blobs()
    one_hot = F.one_hot(y, 3).float()
    frame = trained(Net, nn.CrossEntropyLoss(), (x, one_hot), d_in=4).compare((x, one_hot))
    assert frame["truth"].tolist() == y.tolist()
    targets = torch.randn(120, 3)
    frame = trained(Net, nn.MSELoss(), (x, targets), d_in=4).compare((x, targets))
    assert frame["row"].tolist()[:4] == [0, 0, 0, 1]
    assert frame["output"].tolist()[:4] == [0, 1, 2, 0]
    np.testing.assert_allclose(frame["truth"], targets.flatten(), rtol=1e-6)


def test_the_worst_are_those_with_the_largest_loss(fitted: lb.Fitted) -> None:
    x, y = blobs(100, seed=1)
    whole = fitted.compare((x, y)).nlargest(7, "loss")
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=9)):
        worst = fitted.examples(data, 7, choose="worst")
        assert worst.frame["row"].tolist() == whole["row"].tolist()
        assert torch.equal(worst.input, x[whole["row"].tolist()])


def test_a_loss_that_is_not_had_by_row_is_replaced_by_the_probability_of_the_truth() -> None:
    x, y = blobs()
    fitted = trained(Net, lambda pred, target: F.cross_entropy(pred, target), (x, y), d_in=4)
    frame = fitted.compare((x, y))
    assert "loss" not in frame
    truth = fitted.predict(x).softmax(1).gather(1, y[:, None])[:, 0]
    worst = fitted.examples((x, y), 5, choose="worst")
    assert worst.frame["row"].tolist() == truth.topk(5, largest=False).indices.tolist()


def test_first_and_random_examples(fitted: lb.Fitted) -> None:
    x, y = blobs(100, seed=1)
    whole = fitted.compare((x, y))
    first = fitted.examples((x, y), 5, choose="first")
    assert torch.equal(first.input, x[:5])
    pd.testing.assert_frame_equal(first.frame, whole[:5])
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=9)):
        found = fitted.examples(data, 20)
        rows = found.frame["row"].tolist()
        assert len(set(rows)) == 20
        assert torch.equal(found.input, x[rows])
        np.testing.assert_allclose(found.frame["loss"], whole["loss"][rows], rtol=1e-5)
        assert rows == fitted.examples(data, 20).frame["row"].tolist()
    assert len(fitted.examples((x, y), 1000).frame) == 100


def test_no_trace_is_left(fitted: lb.Fitted) -> None:
    before, state = copy.deepcopy(fitted.model.state_dict()), torch.get_rng_state()
    loss = fitted._session.loss
    fitted.compare(blobs())
    fitted.examples(blobs())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in fitted.model.state_dict().items())
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert loss.reduction == "mean"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda fitted, x, y: fitted.compare(x), "without targets"),
        (lambda fitted, x, y: fitted.examples((x, y), choose="wort"), "Did you mean 'worst'"),
        (lambda fitted, x, y: fitted.examples((x, y), 0), "n=0"),
    ],
)
def test_bad_input_is_refused(fitted: lb.Fitted, call, says: str) -> None:
    with pytest.raises((lb.DataError, lb.OptionError), match=says):
        call(fitted, *blobs())


def test_images_as_output_are_refused() -> None:
    images = torch.rand(8, 1, 4, 4)
    fitted = trained(nn.Conv2d, nn.MSELoss(), (images, images), in_channels=1, out_channels=1, kernel_size=1)
    with pytest.raises(lb.DataError, match="one row of scores"):
        fitted.compare((images, images))


@pytest.mark.parametrize("ignored", [-100, 2])
def test_rows_that_the_loss_ignores_are_neither_right_nor_wrong(ignored: int, in_tmp: Any) -> None:
    x, y = blobs(90)
    y = torch.where(y == 2, ignored, y)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(ignore_index=ignored), optimizer=optim.Adam)
    recipe = recipe.set_hparams(d_in=4).set_opt_hparams(lr=1e-2)
    fitted = recipe.fit((x, y), epochs=2, verbose=False, preflight=False)
    frame, counted = fitted.compare((x, y)), (y != ignored).numpy()
    right = fitted.predict_classes(x)[counted] == y.numpy()[counted]
    assert (frame["correct"].isna() == ~counted).all()
    assert frame["truth"].isna().tolist() == (~counted).tolist()
    assert frame["correct"].mean() == pytest.approx(right.mean())
    assert frame["loss"].mean() == pytest.approx(fitted.evaluate((x, y)).metrics["loss"], rel=1e-5)
    assert fitted.compare((x[counted], y[counted]))["correct"].dtype == bool
    fitted.report("report.html", (x, y))
    share = f"{right.sum():,} ({right.mean():.1%})"
    assert f"of {counted.sum():,} rows: {share}" in Path("report.html").read_text(encoding="utf-8")


def test_targets_that_the_loss_cannot_take_are_said(fitted: lb.Fitted) -> None:
    x, y = blobs(20)
    for verb in (fitted.compare, lambda data: lb.plots.confusion(fitted, data)):
        with pytest.raises(lb.DataError, match="int64 \\(rows\\), as in training"):
            verb((x, y.float() + 0.5))


@pytest.mark.parametrize("loss", [nn.MultiLabelMarginLoss(), nn.HingeEmbeddingLoss()])
def test_targets_that_are_no_numbers_to_predict_are_not_compared(loss: nn.Module) -> None:
    x, _ = blobs(30)
    y = torch.tensor([[1, -1, -1]] * 30)
    fitted = trained(nn.Linear, loss, (x, y), in_features=4, out_features=3)
    with pytest.raises(lb.DataError, match="on the scale of the targets"):
        fitted.compare((x, y))
