"""Weights of rows: a row of weight 2 counts like the row twice, ones change no bit, and 0 removes a row."""

import functools
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import lumbre as lb

m = lb.metrics
CLASSES = 3
CLASS_WEIGHTS = torch.tensor([0.2, 5.0, 1.0], dtype=torch.float64)


def squares_of_rows(pred: Tensor, target: Tensor) -> Tensor:
    return (pred - target).square().mean(1)


def own_mean(pred: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    values = (pred - target).abs().sum(1)
    return values if reduction == "none" else values.mean()


class Focal(nn.Module):
    """As users write it: the values of rows, and what `reduction` says of them."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        nats = F.cross_entropy(pred, target, reduction="none")
        values = (1 - (-nats).exp()) ** 2 * nats
        return values.mean() if self.reduction == "mean" else values


NUMBERS: dict[str, Any] = {
    "squares": nn.MSELoss(),
    "absolute": nn.L1Loss(),
    "Huber": nn.HuberLoss(delta=0.3),
    "sum": nn.MSELoss(reduction="sum"),
    "Poisson": nn.PoissonNLLLoss(),
    "both sides": nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)),
    "divergence": nn.KLDivLoss(reduction="batchmean"),
    "function": F.smooth_l1_loss,
    "partial": functools.partial(F.huber_loss, delta=0.5),
    "values of rows": squares_of_rows,
    "values of entries": nn.MSELoss(reduction="none"),
    "own, with a reduction": own_mean,
}
LABELS: dict[str, Any] = {
    "classes": nn.CrossEntropyLoss(),
    "class weights": nn.CrossEntropyLoss(weight=CLASS_WEIGHTS),
    "ignored class": nn.CrossEntropyLoss(ignore_index=2),
    "all of it": nn.CrossEntropyLoss(weight=CLASS_WEIGHTS, ignore_index=0, label_smoothing=0.1),
    "likelihood": nn.NLLLoss(weight=CLASS_WEIGHTS),
    "class function": F.cross_entropy,
    "class partial": functools.partial(F.cross_entropy, weight=CLASS_WEIGHTS, ignore_index=1),
    "classes, none": nn.CrossEntropyLoss(reduction="none"),
    "margins": nn.MultiMarginLoss(),
    "focal": Focal(),
}
LOSSES = NUMBERS | LABELS


def rows(name: str, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target, and a weight of 0 to 3 for each row, not all of them 0."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=g, dtype=torch.float64)
    y = torch.rand(count, CLASSES, generator=g, dtype=torch.float64)
    if name in LABELS:
        y = torch.randint(0, CLASSES, (count,), generator=g)
        y[torch.rand(count, generator=g) < 0.2] = -100 if name in ("classes", "class function") else 0
    w = torch.randint(0, 4, (count,), generator=g)
    w[count // 2] = 2
    return x, y, w


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, CLASSES, dtype=torch.float64), nn.LogSoftmax(1))


def fit(loss: Any, data: Any, metrics: Any = (), **options: Any) -> lb.Fitted:
    recipe = lb.setup(net, loss=loss, optimizer=optim.SGD, metrics=metrics).set_opt_hparams(lr=0.1)
    plain = {"epochs": 1, "shuffle": False, "verbose": False, "preflight": False, "batch_size": 1000}
    return recipe.fit(data, **plain | options)


def near(one: lb.Fitted, other: lb.Fitted, rtol: float = 1e-6) -> None:
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(one.history["value"], other.history["value"], rtol=rtol, atol=1e-9)


def same(one: lb.Fitted, other: lb.Fitted) -> None:
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.history.equals(other.history)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=10, deadline=None)
@given(count=st.integers(1, 20), seed=st.integers(0, 1000))
def test_a_weight_is_a_number_of_rows(name: str, count: int, seed: int) -> None:
    x, y, w = rows(name, count, seed)
    loss = LOSSES[name]
    metrics = [m.Accuracy(), m.AUROC(), m.Perplexity()] if name in LABELS else [m.MAE(), m.R2()]
    repeated = x.repeat_interleave(w, 0), y.repeat_interleave(w, 0)
    plain = nn.CrossEntropyLoss() if name == "classes, none" else F.mse_loss if name == "values of entries" else loss
    if loss is squares_of_rows:
        plain = F.mse_loss
    metrics = metrics if name not in ("ignored class", "all of it", "class partial") else []
    near(fit(loss, (x, y), metrics, weights=w), fit(plain, repeated, metrics))


@pytest.mark.parametrize("name", ["squares", "sum", "class weights", "all of it", "classes", "values of rows"])
@settings(max_examples=10, deadline=None)
@given(count=st.integers(2, 20), cut=st.integers(1, 20), seed=st.integers(0, 1000))
def test_any_cut_gives_the_update_and_the_loss_of_all_rows(name: str, count: int, cut: int, seed: int) -> None:
    x, y, w = rows(name, count, seed)
    w = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + (w > 2)
    cut = min(cut, count)
    groups = [lb.callbacks.Accumulate(-(-count // cut))] if cut < count else []
    whole = fit(LOSSES[name], (x, y), weights=w)
    near(fit(LOSSES[name], (x, y), weights=w, batch_size=cut, callbacks=groups), whole)
    judged = [whole.evaluate((x, y), weights=w, batch_size=size).metrics["loss"] for size in (cut, count)]
    assert judged[0] == pytest.approx(judged[1], rel=1e-9, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(4, 40), seed=st.integers(0, 1000), name=st.sampled_from(["squares", "class weights"]))
def test_ones_change_no_bit_and_zeros_remove_rows(count: int, seed: int, name: str) -> None:
    x, y, w = rows(name, count, seed)
    options: dict[str, Any] = {"epochs": 2, "shuffle": True, "batch_size": 3, "valid_data": 0.5}
    same(fit(LOSSES[name], (x, y), weights=[1] * count, **options), fit(LOSSES[name], (x, y), **options))
    w[:2] = 1
    kept, half = w > 0, w.double() / 2
    one = fit(LOSSES[name], (x, y), weights=half, **options)
    same(one, fit(LOSSES[name], (x[kept], y[kept]), weights=half[kept], **options))
    broken = x.masked_fill(~kept[:, None], float("nan"))
    assert one.evaluate((broken, y), weights=half).metrics == one.evaluate((x, y), weights=half).metrics


METRICS: dict[str, m.Metric] = {
    "accuracy": m.Accuracy(),
    "top two": m.TopKAccuracy(2),
    "perplexity": m.Perplexity(),
    **{f"precision, {average}": m.Precision(average=average) for average in ("macro", "micro", "weighted", "none")},
    "recall": m.Recall(),
    "F1": m.F1(average="weighted"),
    "confusion": m.ConfusionMatrix(),
    "kappa": m.CohenKappa(),
    "Matthews": m.MatthewsCorrelation(),
    **{f"AUROC, {average}": m.AUROC(average=average) for average in ("macro", "micro", "weighted", "none")},
    "AP": m.AveragePrecision(),
}
BINARY: dict[str, m.Metric] = {
    "accuracy": m.BinaryAccuracy(),
    "accuracy of logits": m.BinaryAccuracyWithLogits(),
    "precision": m.BinaryPrecision(),
    "recall": m.BinaryRecall(),
    "F1": m.BinaryF1(),
    "confusion": m.BinaryConfusionMatrix(),
    "kappa": m.BinaryCohenKappa(),
    "Matthews": m.BinaryMatthewsCorrelation(),
    "AUROC": m.BinaryAUROC(),
    "AP": m.BinaryAveragePrecision(),
}
OTHERS: dict[str, m.Metric] = {"MAE": m.MAE(), "MSE": m.MSE(), "RMSE": m.RMSE(), "R2": m.R2()}


def value(metric: m.Metric, pred: Tensor, target: Tensor, weights: Tensor | None, cut: int) -> Any:
    state = metric.init(torch.device("cpu"))
    size = max(1, len(pred) // cut)
    for at in range(0, len(pred), size):
        part = slice(at, at + size)
        given: Any = {} if weights is None else {"weights": weights[part]}
        state = metric.update(state, pred[part], target[part], **given)
    return metric.compute(state)


@pytest.mark.parametrize("kind", ["classes", "sequences", "two classes", "numbers"])
@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 20), cut=st.integers(1, 4), seed=st.integers(0, 1000))
def test_metrics_count_a_row_by_its_weight(kind: str, count: int, cut: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    more = (4,) if kind == "sequences" else ()
    if kind in ("classes", "sequences"):
        found, pred = METRICS, torch.randint(-2, 3, (count, CLASSES, *more), generator=g) / 2
        target = torch.randint(0, CLASSES, (count, *more), generator=g)
    elif kind == "two classes":
        found, pred = BINARY, torch.randint(0, 5, (count,), generator=g) / 4
        target = torch.randint(0, 2, (count,), generator=g)
    else:
        found, pred = OTHERS, torch.randn(count, 2, generator=g)
        target = pred + torch.randn(count, 2, generator=g)
    w = torch.randint(0, 4, (count,), generator=g)
    w[0] = 2
    twice = pred.repeat_interleave(w, 0), target.repeat_interleave(w, 0)
    for name, metric in found.items():
        expected = value(metric, *twice, None, 1)
        assert flat(value(metric, pred, target, w, cut)) == pytest.approx(flat(expected), rel=1e-9, nan_ok=True), name
        ones = torch.ones(count, dtype=torch.float64)
        assert flat(value(metric, pred, target, ones, cut)) == pytest.approx(
            flat(value(metric, pred, target, None, cut)), rel=1e-12, nan_ok=True
        ), name
        nothing = flat(value(metric, pred, target, ones * 0, cut))  # none of the rows counts
        assert all(one != one or one == 0 for one in nothing), name


def flat(value: Any) -> list[float]:
    return np.asarray(value, dtype=float).reshape(-1).tolist()


# ---------------------------------------------------------------- frames


def table(count: int = 30) -> pd.DataFrame:
    g = np.random.default_rng(0)
    frame = pd.DataFrame({"a": g.normal(50, 9, count), "b": g.normal(size=count), "c": g.choice(["u", "v"], count)})
    return frame.assign(y=g.choice(["no", "yes", "maybe"], count), w=g.integers(0, 4, count))


def of_table(frame: pd.DataFrame, **options: Any) -> lb.Fitted:
    data = lb.data.from_frame(frame, target="y", features=["a", "b", "c"], **options)
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=m.Accuracy())
    return recipe.fit(data, epochs=3, shuffle=False, batch_size=1000, verbose=False, preflight=False)


def test_a_column_of_weights_is_no_feature_and_goes_along(tmp_path: Path) -> None:
    frame = table()
    repeated = frame.loc[frame.index.repeat(frame["w"])].reset_index(drop=True)
    fitted, expected = of_table(frame, weights="w"), of_table(repeated)
    near(fitted, expected, rtol=1e-5)
    data = lb.data.from_frame(frame, target="y", weights="w")
    assert data.width == 4
    assert [column.name for column in data.encoding.features] == ["a", "b", "c"]
    part = lb.split(data, 0.5, 0.5)[1]
    assert part.weights.tolist() == part.column("w").tolist()
    want = expected.evaluate(repeated).metrics
    fitted.save(tmp_path / "model.lumbre")
    loaded = lb.load(
        tmp_path / "model.lumbre",
        lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=m.Accuracy()),
    )
    for one in (fitted, loaded):
        for given_frame in (frame, data, (frame, frame["y"])):
            assert one.evaluate(given_frame).metrics == pytest.approx(want, rel=1e-5)
        assert one.compare(frame)["weight"].tolist() == frame["w"].tolist()
        assert one.predict(frame.drop(columns=["w", "y"])).shape == (30, 3)
        with pytest.raises(lb.DataError, match="column 'w', which holds the weights"):
            one.evaluate(frame.drop(columns="w"))
    fitted.report(tmp_path / "report.html", frame)
    assert "weights" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_charts_count_rows_by_their_weights() -> None:
    frame, w = table(40), torch.arange(40) % 4
    yes = frame["a"].rank(pct=True)
    classes = pd.DataFrame(
        {"truth": frame["y"].replace("maybe", "no"), "predicted": np.where(yes > 0.5, "yes", "no")}
    ).assign(probability_no=1 - yes, probability_yes=yes)
    numbers = pd.DataFrame({"truth": frame["a"], "predicted": frame["a"] + frame["b"]})
    plots = lb.plots
    for one, charts in ((classes, (plots.confusion, plots.roc, plots.precision_recall)), (numbers, (plots.residuals,))):
        repeated = one.loc[one.index.repeat(w.numpy())]
        for chart in charts:
            weighted, twice = chart(one.assign(weight=w.numpy())), chart(repeated)
            if chart is plots.confusion:
                assert weighted.data[["count", "share"]].to_numpy() == pytest.approx(
                    twice.data[["count", "share"]].to_numpy()
                )
            words = [str(each.labels.subtitle).partition(" of ")[0].partition(" rows")[0] for each in (weighted, twice)]
            assert words[0].rpartition(",")[0] == words[1].rpartition(",")[0]
    weighted = plots.predicted_vs_true(numbers.assign(weight=w.numpy())).labels.subtitle
    assert weighted.startswith(plots.predicted_vs_true(repeated).labels.subtitle.rpartition(",")[0])


def test_validation_rows_of_a_frame_have_their_weights() -> None:
    frame = table()
    data = lb.data.from_frame(frame, target="y", weights="w")
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=m.Accuracy())
    fitted = recipe.fit(data, epochs=1, valid_data=frame, verbose=False, preflight=False)
    last = {name: fitted.history_wide[f"valid_{name}"].iloc[-1] for name in ("loss", "acc")}
    assert last == pytest.approx(fitted.evaluate(frame).metrics)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("a", "'a' as feature and weights"),
        ("y", "'y' as target and weights"),
        ("nothing", "nothing"),
        ("c", "numbers"),
        ("gap", "missing values"),
        ("below", "negative"),
    ],
)
def test_columns_that_are_no_weights(weights: str, said: str) -> None:
    frame = table().assign(gap=[1.0] * 29 + [None], below=[1.0] * 29 + [-1])
    features = ["a", "b", "c"] if weights != "c" else ["a", "b"]
    with pytest.raises(lb.DataError, match=said):
        lb.data.from_frame(frame, target="y", features=features, weights=weights)


# ---------------------------------------------------------------- other parts of a run


class Rows(Dataset[Any]):
    """Items of a user's own."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.x[row], self.y[row]


def test_every_kind_of_rows_gives_the_same_run() -> None:
    x, y, w = rows("squares", 24, 0)
    w = w + 0.5
    options: dict[str, Any] = {"batch_size": 5, "shuffle": True, "epochs": 2}
    expected = fit(nn.MSELoss(), (x, y), weights=w, **options)
    more = torch.cat([x, x]), torch.cat([y, y])
    for data in (TensorDataset(x, y), Rows(x, y), Subset(TensorDataset(*more), range(24))):
        same(fit(nn.MSELoss(), data, weights=w.numpy(), **options), expected)
    same(fit(nn.MSELoss(), Rows(x, y), weights=w, num_workers=2, **options), expected)
    same(fit(nn.MSELoss(), lb.data.weighted((x, y), w.tolist()), **options), expected)
    twice = lb.data.weighted(TensorDataset(*more), torch.cat([w, w]))
    same(fit(nn.MSELoss(), Subset(twice, range(24)), **options), expected)  # pyright: ignore


@pytest.mark.parametrize("callback", [lb.callbacks.Mixup(), lb.callbacks.Accumulate(2), lb.callbacks.EMA(0.9)])
def test_equal_weights_change_nothing(callback: lb.Callback) -> None:
    x, y, _ = rows("class weights", 30, 1)
    options: dict[str, Any] = {"batch_size": 4, "epochs": 2, "callbacks": callback}
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)):
        near(fit(loss, (x, y), weights=[2.5] * 30, **options), fit(loss, (x, y), **options))


def test_mixed_rows_count_by_the_weights_of_both() -> None:
    x, y, w = rows("classes", 12, 3)
    y = y.clamp(min=0)
    w = w + 0.5
    partner, share = torch.arange(12).flip(0), 0.7

    class Fixed(lb.callbacks.Mixup):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            assert ctx.batch is not None
            ctx.batch = self.mixed(ctx.batch, partner, share)

    fitted = fit(nn.CrossEntropyLoss(), (x, y), weights=w, callbacks=Fixed())
    start = fit(nn.CrossEntropyLoss(), (x, y), callbacks=lb.callbacks.LearningRate(lambda step, total: 0.0)).model
    scores = start(share * x + (1 - share) * x[partner])
    own, other = (F.cross_entropy(scores, labels, reduction="none") for labels in (y, y[partner]))
    loss = ((share * own * w + (1 - share) * other * w[partner]).sum()) / w.sum()
    assert fitted.history["value"].iloc[0] == pytest.approx(loss.item(), rel=1e-6)


def test_drawn_rows_carry_their_weights() -> None:
    x, y, w = rows("squares", 30, 1)
    draws = np.arange(30) % 3
    options: dict[str, Any] = {"batch_size": 7, "epochs": 3, "shuffle": None}
    fitted = fit(nn.MSELoss(), (x, y), weights=w, sampler=draws, **options)
    kept = w > 0
    same(fitted, fit(nn.MSELoss(), (x[kept], y[kept]), weights=w[kept], sampler=draws[kept], **options))


def test_closures_count_rows_by_their_weights() -> None:
    x, y, w = rows("squares", 20, 1)
    recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.LBFGS)
    common: dict[str, Any] = {"epochs": 3, "batch_size": 100, "shuffle": False, "verbose": False, "preflight": False}
    one = recipe.fit((x, y), weights=w, **common)
    near(one, recipe.fit((x.repeat_interleave(w, 0), y.repeat_interleave(w, 0)), **common))


class RowsOfLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x)

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return squares_of_rows(pred, target)


def test_a_method_may_give_a_value_for_each_row() -> None:
    x, y, w = rows("squares", 20, 1)
    fitted = lb.setup(RowsOfLoss, optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    one = fitted.fit((x, y), weights=w, epochs=1, batch_size=100, verbose=False)
    plain = lb.setup(RowsOfLoss, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    twice = x.repeat_interleave(w, 0), y.repeat_interleave(w, 0)
    near(one, plain.fit(twice, epochs=1, batch_size=100, verbose=False))
    assert one.evaluate((x, y)).metrics["loss"] == pytest.approx(nn.MSELoss()(one.model(x), y).item())


def test_weights_are_part_of_the_run(tmp_path: Path) -> None:
    x, y, w = rows("squares", 24, 0)
    w = w + 0.5
    recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=m.R2())
    options: dict[str, Any] = {"epochs": 4, "batch_size": 5, "verbose": False, "valid_data": 0.25}
    whole = recipe.fit((x, y), weights=w, **options)
    recipe.fit((x, y), weights=w, **options | {"epochs": 2}, resume=tmp_path)
    same(recipe.fit((x, y), weights=w, **options, resume=tmp_path), whole)
    for other in (None, w.flip(0), w * 2):
        with pytest.raises(lb.ResumeError, match="train_data"):
            recipe.fit((x, y), weights=other, **options, resume=tmp_path)
    assert recipe.verify_resume((x, y), weights=w, steps=7, **options)


def test_a_run_with_weights_is_replayed(tmp_path: Path) -> None:
    x, y, w = rows("squares", 24, 0)
    recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    recipe.fit((x, y), weights=w, epochs=1, verbose=False).save(tmp_path / "model.lumbre")
    assert lb.replay(tmp_path / "model.lumbre", recipe, (x, y), weights=w)
    with pytest.raises(lb.OptionError, match="weights of rows"):
        lb.replay(tmp_path / "model.lumbre", recipe, (x, y))


def test_finders_take_them() -> None:
    x, y, w = rows("squares", 64, 0)
    recipe = lb.setup(net, loss=squares_of_rows, optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    assert len(recipe.lr_finder((x, y), weights=w, steps=20).frame())
    assert recipe.check((x, y), weights=w + 0.5) is not None


# ---------------------------------------------------------------- splits


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(0, 9), min_size=12, max_size=60),
    classes=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_parts_hold_their_share_of_the_weight_of_every_class(weights: list[int], classes: int, seed: int) -> None:
    w = np.array(weights, dtype=float)
    w[:2] = 1, 2
    y = np.random.default_rng(seed).integers(0, classes, len(w))
    fractions = 0.5, 0.3, 0.2
    data = lb.data.weighted((np.arange(len(w)), y), w)
    try:
        parts = lb.split(data, *fractions, stratify=True, seed=seed)
    except lb.OptionError:  # a part would have no row
        return
    rows_of = [part.source.rows.numpy() for part in parts]
    assert sorted(np.concatenate(rows_of)) == list(range(len(w)))
    for part, chosen, fraction in zip(parts, rows_of, fractions, strict=True):
        assert part.weights.tolist() == w[chosen].tolist()
        for one in set(y.tolist()):
            heaviest = w[y == one].max()
            assert abs(w[chosen][y[chosen] == one].sum() - fraction * w[y == one].sum()) <= heaviest + 1e-9


def test_equal_weights_leave_parts_and_folds_as_they_are() -> None:
    y = np.arange(60) % 3
    data, group = (np.arange(60.0), y), np.arange(60) // 4
    weighted = lb.data.weighted(data, np.full(60, 2.0))
    for options in ({}, {"stratify": True}, {"stratify": True, "group": group}):
        plain, other = lb.split(data, 0.6, 0.4, **options), lb.split(weighted, 0.6, 0.4, **options)
        assert [p.rows.tolist() for p in plain] == [o.source.rows.tolist() for o in other]
        pairs = zip(lb.data.folds(data, 5, **options), lb.data.folds(weighted, 5, **options), strict=True)
        assert all(p[1].rows.tolist() == o[1].source.rows.tolist() for p, o in pairs)


def test_folds_by_weight_hold_each_row_once() -> None:
    w = np.random.default_rng(0).random(60)
    data = lb.data.weighted((np.arange(60.0), np.arange(60) % 3), w)
    held = [valid for _, valid in lb.data.folds(data, 5, stratify=True)]
    assert sorted(row for part in held for row in part.source.rows.tolist()) == list(range(60))
    assert all(abs(float(part.weights.sum()) - w.sum() / 5) < 3 for part in held)


# ---------------------------------------------------------------- refusals


X, Y = torch.randn(8, 4, dtype=torch.float64), torch.rand(8, CLASSES, dtype=torch.float64)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0] * 7, "shape \\(7,\\) for 8 rows"),
        (torch.ones(8, 1), "shape \\(8, 1\\)"),
        (2.0, "shape \\(\\)"),
        ([1.0] * 7 + [-0.5], "the first in row 7: -0.5"),
        ([float("nan")] + [1.0] * 7, "row 0: nan"),
        ([float("inf")] + [1.0] * 7, "row 0: inf"),
        (["heavy"] * 8, "numbers?"),
        ("w", "one number for each row"),
        (np.ma.masked_array(np.ones(8), [True] + [False] * 7), "row 0: nan"),
        (torch.ones(8, dtype=torch.complex64), "number"),
        ([1e308] * 8, "sum is infinite"),
        (torch.zeros(8), "all zero"),
        (pd.Series([1, None] * 4, dtype="Int64"), "numbers?"),
        ([[1, 2], [3]], "number"),
    ],
)
def test_what_is_no_weight(weights: Any, said: str) -> None:
    with pytest.raises(lb.DataError, match=said):
        fit(nn.MSELoss(), (X, Y), weights=weights)
    with pytest.raises(lb.DataError, match=said):
        fit(nn.MSELoss(), (X, Y)).evaluate((X, Y), weights=weights)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize("data", [DataLoader(TensorDataset(X, Y), 4), Stream(), [(X, Y), (X, Y)].__iter__()])
def test_rows_without_numbers_have_no_weights(data: Any) -> None:
    with pytest.raises(lb.DataError, match="whose rows have no numbers"):
        fit(nn.MSELoss(), data, weights=[1.5] * 8, batch_size=None, shuffle=None)
    if isinstance(data, DataLoader):
        loader = DataLoader(lb.data.weighted((X, Y), [1.5] * 8), 4)  # pyright: ignore
        with pytest.raises(lb.DataError, match="asked for one by one"):
            fit(nn.MSELoss(), loader, batch_size=None, shuffle=None)


def test_parquet_rows_have_no_weights(tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "t.parquet")
    data = lb.data.from_parquet(tmp_path / "t.parquet", target="w", features=["a", "b"])
    with pytest.raises(lb.DataError, match="Parquet data, whose rows have no numbers"):
        fit(nn.MSELoss(), data, weights=[1.5] * 30)
    with pytest.raises(lb.DataError, match="Parquet data for a model trained with the weights"):
        of_table(table(), weights="w").evaluate(str(tmp_path / "t.parquet"))


def test_weights_come_once() -> None:
    with pytest.raises(lb.DataError, match="weights twice"):
        fit(nn.MSELoss(), lb.data.weighted((X, Y), [1.5] * 8), weights=[2.0] * 8)
    data = lb.data.from_frame(table(), target="y", weights="w")
    with pytest.raises(lb.DataError, match="weights twice"):
        lb.data.weighted(data, [1.5] * 30)
    with pytest.raises(lb.DataError, match="weights twice"):
        of_table(table(), weights="w").evaluate(data, weights=[1.5] * 30)


class Ratio(nn.Module):
    """No mean over rows: what `reduction` gives for them is something else."""

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = (pred - target).square().sum(1)
        return values if self.reduction == "none" else values.sum() / target.square().sum()


class WithMethod(nn.Linear):
    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(pred, target)


class WithSeveral(nn.Linear):
    def loss_a(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(pred, target)

    def configure_optimizers(self) -> dict[str, optim.Optimizer]:
        return {"a": optim.SGD(self.parameters(), lr=0.1)}


class WithStep(nn.Linear):
    def step(self, ctx: lb.Context) -> Tensor:
        raise AssertionError


def scalar(pred: Tensor, target: Tensor) -> Tensor:
    return (pred - target).square().mean()


@pytest.mark.parametrize(
    "recipe",
    [
        lb.setup(lambda: nn.Linear(4, 3).double(), loss=scalar, optimizer=optim.SGD),
        lb.setup(lambda: nn.Linear(4, 3).double(), loss=lambda p, t: F.mse_loss(p, t), optimizer=optim.SGD),
        lb.setup(lambda: nn.Linear(4, 3).double(), loss=Ratio(), optimizer=optim.SGD),
        lb.setup(lambda: WithMethod(4, 3).double(), optimizer=optim.SGD),
        lb.setup(lambda: WithSeveral(4, 3).double()),
        lb.setup(lambda: WithStep(4, 3).double(), optimizer=optim.SGD),
    ],
)
@pytest.mark.parametrize("preflight", [True, False])
def test_losses_that_give_no_values_for_rows(recipe: lb.Recipe, preflight: bool) -> None:
    with pytest.raises(lb.RecipeError, match="weights of rows for"):
        recipe.fit((X, Y), weights=[1.5] * 8, epochs=1, verbose=False, preflight=preflight)


def ranks(pred: Tensor, target: Tensor) -> Tensor:
    """A value for each row, beside all others."""
    return -pred.log_softmax(0).mul(target.softmax(0)).sum(1)


class Pairs(nn.Module):
    """As users write it: rows of a batch are compared with one another."""

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        values = F.cross_entropy(pred @ target.T, torch.arange(len(pred)), reduction="none")
        return values if self.reduction == "none" else values.mean()


@pytest.mark.parametrize("loss", [scalar, Ratio(), Pairs()])
def test_weights_in_evaluation_alone_need_values_of_rows_too(loss: Any) -> None:
    fitted = fit(loss, (X, Y))
    heavy = lb.data.weighted((X, Y), [1.5] * 8)
    with pytest.raises(lb.RecipeError, match="weights of rows for"):
        fitted.evaluate((X, Y), weights=[1.5] * 8)
    with pytest.raises(lb.RecipeError, match="weights of rows for"):
        fitted.evaluate(heavy)
    with pytest.raises(lb.RecipeError, match="weights of rows for"):
        fit(loss, (X, Y), valid_data=heavy)
    assert np.isfinite(fitted.evaluate((X, Y)).metrics["loss"])


def test_losses_that_compare_rows_take_no_weights() -> None:
    for loss in (Pairs(), ranks):
        with pytest.raises(lb.RecipeError, match="depends on the other rows"):
            fit(loss, (X, Y), weights=[1.5] * 8)
    lines = lb.setup(lambda: nn.Linear(4, 1).double(), loss=lb.losses.Cox(), optimizer=optim.SGD)
    times = torch.stack([torch.arange(8.0), torch.ones(8)], 1).double()
    options: dict[str, Any] = {"epochs": 1, "verbose": False, "preflight": False}
    with pytest.raises(lb.RecipeError, match="Cox, in which what a row adds depends on the other rows"):
        lines.fit((X, times), weights=[1.5] * 8, **options)
    with pytest.raises(lb.RecipeError, match="Cox, in which"):
        lines.fit((X, times), **options).evaluate((X, times), weights=[1.5] * 8)


class Unweighted(m.Metric):
    def init(self, device: torch.device) -> Tensor:
        return torch.zeros((), device=device)

    def update(self, state: Tensor, pred: Tensor, target: Tensor) -> Tensor:
        return state + len(pred)

    def compute(self, state: Tensor) -> float:
        return state.item()


class Counted(Unweighted):
    def update(self, state: Tensor, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return state + (len(pred) if weights is None else weights.sum())


def test_metrics_of_others() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    for metric in (Unweighted(), torchmetrics.MeanSquaredError()):
        with pytest.raises(lb.RecipeError, match=r"update\(\) takes none"):
            fit(nn.MSELoss(), (X, Y), metric, weights=[1.5] * 8)
        fitted = fit(nn.MSELoss(), (X, Y), metric)
        with pytest.raises(lb.RecipeError, match=r"update\(\) takes none"):
            fitted.evaluate((X, Y), weights=[1.5] * 8)
    assert fit(nn.MSELoss(), (X, Y), Counted(), weights=[1.5] * 8).evaluate((X, Y)).metrics["counted"] == 8
    assert fit(nn.MSELoss(), (X, Y), Counted(), weights=[1.5] * 8, batch_size=3).history["value"].iloc[-1] == 12


def test_metrics_say_which_weights_they_take() -> None:
    metric = m.Accuracy()
    with pytest.raises(lb.DataError, match="a weight for each row"):
        metric.update(metric.init(torch.device("cpu")), torch.eye(3), torch.arange(3), torch.ones(3, 1))
