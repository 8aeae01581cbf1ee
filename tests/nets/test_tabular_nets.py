"""A net for a table as it comes: what it gives, what goes with it, and what its file knows."""

import pandas as pd
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.nets._tabular import MembersCrossEntropy, MembersMSE


def table(rows: int = 120) -> pd.DataFrame:
    """A number with gaps, one without, dates, a category with gaps, and targets that follow from them."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 2, generator=generator).numpy()
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "kind": ["one", "two", None] * (rows // 3)})
    frame["day"] = pd.date_range("2024-01-01", periods=rows, freq="D")
    frame["size"] = 1000.0 + 50.0 * frame["a"] + 20.0 * (frame["kind"] == "one")
    frame["label"] = ["up" if value > 0 else "down" for value in frame["b"]]
    frame.loc[::7, "a"] = None
    return frame


def fit(target: object, **options: object) -> lb.Fitted:
    given = {"epochs": 2, "verbose": False, "net": {"width": 8, "members": 3}, **options}
    return lb.tabular(table().drop(columns=[]), target, **given)  # type: ignore[arg-type]


def test_classes_are_the_mean_of_the_members_probabilities() -> None:
    frame = table()
    fitted = fit("label")
    data = lb.data.from_frame(frame, target="label", categories="codes", missing="indicate", dates="parts")
    model = lb.setup(lb.nets.tabular(data, width=8, members=3)).fit(data, epochs=1, verbose=False).model
    x, _ = data[:5]
    model.eval()
    scores = model(**x)
    model.net.train(False)
    every = model.net(torch.cat([model.embed(x["numbers"]).flatten(1), F.one_hot(x["codes"][:, 0], 3)], 1))
    torch.testing.assert_close(scores.exp(), every.softmax(-1).mean(1))
    model.train()
    assert model(**x).shape == (5, 3, 2)
    assert set(fitted.predict_classes(frame)) <= {"up", "down"}
    assert "acc" in fitted.evaluate(frame).metrics


def test_numbers_come_in_the_units_of_the_target() -> None:
    frame = table()
    fitted = fit("size", epochs=30)
    predicted = fitted.predict(frame)
    assert predicted.shape == (120,)
    assert float(predicted.mean()) == pytest.approx(1000, abs=30)
    assert fitted.evaluate(frame).metrics["rmse"] < frame["size"].std()


def test_several_targets_are_a_matrix() -> None:
    assert fit(["size", "b"]).predict(table()).shape == (120, 2)


@pytest.mark.parametrize("kind", ["mlp", "resnet", "tabm"])
@pytest.mark.parametrize("embeddings", ["periodic", "linear", None])
def test_a_file_is_read_by_the_class_alone(kind: str, embeddings: str | None, tmp_path) -> None:
    frame = table()
    fitted = fit("label", epochs=1, net={"width": 8, "members": 2, "kind": kind, "embeddings": embeddings})
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", lb.nets.Tabular)
    assert torch.equal(again.predict(frame), fitted.predict(frame))
    assert list(again.predict_classes(frame)) == list(fitted.predict_classes(frame))


def test_a_category_that_was_not_seen_is_none_of_them() -> None:
    frame = table()
    strange = frame.assign(kind="three")
    assert torch.isfinite(fit("label").predict(strange)).all()


def test_members_losses_are_the_mean_over_members() -> None:
    pred = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    each = torch.stack([F.cross_entropy(pred[:, at], labels) for at in range(4)]).mean()
    torch.testing.assert_close(MembersCrossEntropy()(pred, labels), each)
    torch.testing.assert_close(MembersCrossEntropy()(pred[:, 0], labels), F.cross_entropy(pred[:, 0], labels))
    aims = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(MembersMSE()(pred, aims), F.mse_loss(pred, aims[:, None].expand_as(pred)))
    torch.testing.assert_close(MembersMSE()(pred[:, :, 0], aims[:, 0]), ((pred[:, :, 0] - aims[:, :1]) ** 2).mean())


def test_rows_of_weight_two_count_twice() -> None:
    frame = table()
    weights = torch.ones(120)
    weights[:60] = 2.0
    twice = pd.concat([frame, frame.iloc[:60]])
    fitted = fit("label")
    once = fitted.evaluate(frame, weights=weights).metrics["loss"]
    assert once == pytest.approx(fitted.evaluate(twice).metrics["loss"], rel=1e-6)


def test_what_is_given_beside_the_net_comes_first() -> None:
    data = lb.data.from_frame(table()[["a", "b", "label"]], target="label", missing="indicate")
    recipe = lb.setup(lb.nets.tabular(data), optimizer=optim.SGD, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert recipe.optimizer is optim.SGD
    assert not recipe.opt_hparams
    assert isinstance(recipe.loss, nn.CrossEntropyLoss)
    assert lb.setup(lb.nets.tabular(data)).set_hparams(width=4).hparams["width"] == 4


def test_the_run_ends_when_held_out_rows_no_longer_gain() -> None:
    fitted = fit("label", epochs=60, patience=2)
    assert fitted.history["epoch"].max() < 60


def test_frame_data_keep_their_own_encoding() -> None:
    data = lb.data.from_frame(table()[["a", "b", "label"]].dropna(), target="label", standardize=False)
    assert not fit_on(data).encoding.standardize


def fit_on(data: object) -> lb.data.FrameData:
    lb.tabular(data, epochs=1, verbose=False, net={"width": 8, "members": 2}, ignore=("LB011",))
    assert isinstance(data, lb.data.FrameData)
    return data


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lb.nets.tabular(table()), "a DataFrame"),  # type: ignore[arg-type]
        (lambda: lb.nets.tabular(lb.data.from_frame(table()[["b"]])), "without a target"),
        (lambda: lb.tabular(table()), "target"),
        (lambda: lb.tabular(table(), "label", net={"kind": "forest"}), "forest"),
        (lambda: lb.tabular(table(), "label", net={"widht": 8}), "widht"),
        (lambda: lb.tabular(table(), "label", epoch=3), "epoch"),
    ],
)
def test_what_cannot_be_is_said(call, words: str) -> None:
    with pytest.raises(lb.LumbreError, match=words):
        call()


def test_callbacks_may_be_one_or_several() -> None:
    class Counts(lb.Callback):
        epochs = 0

        def on_epoch_end(self, ctx: lb.Context) -> None:
            self.epochs += 1

    one, two = Counts(), Counts()
    fit("label", callbacks=one)
    fit("label", callbacks=(two,))
    assert (one.epochs, two.epochs) == (2, 2)
