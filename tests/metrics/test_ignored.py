"""Targets that do not count, half precision, and numbers far from zero."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.nn import functional

import lumbre as lb
from lumbre.metrics import Metric, for_loss, merge

m = lb.metrics
CPU = torch.device("cpu")


def value(metric: Metric, pred: Tensor, target: Tensor, cuts: tuple[int, ...] = ()):
    state = metric.init(CPU)
    for p, t in zip(pred.tensor_split(cuts), target.tensor_split(cuts), strict=True):
        state = metric.update(state, p, t)
    return metric.compute(state)


class Masked(nn.Module):
    """A loss of one's own around one of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.entropy = nn.ModuleList([nn.CrossEntropyLoss(ignore_index=7)])

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.entropy[0](pred, target)


class Plain:
    """A loss that is no module."""

    def __init__(self) -> None:
        self.entropy = nn.NLLLoss(ignore_index=7)

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.entropy(pred, target)


class Classifier(nn.Module):
    """Brings its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.criterion = nn.CrossEntropyLoss(ignore_index=7)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.criterion(pred, target)


def with_option(pred: Tensor, target: Tensor, ignore_index: int = 7) -> Tensor:
    return functional.cross_entropy(pred, target, ignore_index=ignore_index)


def around(loss: nn.Module):
    return lambda pred, target: loss(pred, target)


LOSSES = [
    nn.CrossEntropyLoss(ignore_index=7),
    functools.partial(functional.cross_entropy, ignore_index=7),
    Masked(),
    Plain(),
    Classifier().loss,
    with_option,
    around(nn.CrossEntropyLoss(ignore_index=7)),
]
SCORES = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(40) % 3
HIDDEN = torch.arange(40) % 4 == 1
AVERAGED = [
    kind(average=average)
    for kind in (m.Precision, m.Recall, m.F1, m.AUROC, m.AveragePrecision)
    for average in ("macro", "micro", "weighted", "none")
]
BY_CLASS = [
    *AVERAGED,
    m.Accuracy(),
    m.TopKAccuracy(2),
    m.Perplexity(),
    m.ConfusionMatrix(),
    m.CohenKappa(),
    m.MatthewsCorrelation(),
]
BINARY = [
    m.BinaryAccuracy(),
    m.BinaryAccuracyWithLogits(),
    m.BinaryAUROC(),
    m.BinaryAveragePrecision(),
    *(
        kind(from_logits=True)
        for kind in (
            m.BinaryPrecision,
            m.BinaryRecall,
            m.BinaryF1,
            m.BinaryConfusionMatrix,
            m.BinaryCohenKappa,
            m.BinaryMatthewsCorrelation,
        )
    ),
]


@pytest.mark.parametrize("loss", LOSSES, ids=["module", "partial", "around", "object", "method", "option", "closure"])
@pytest.mark.parametrize("metric", BY_CLASS + BINARY, ids=lambda metric: type(metric).__name__)
def test_metrics_leave_out_what_the_loss_ignores(metric: Metric, loss) -> None:
    pred, target = (SCORES, CLASSES) if metric in BY_CLASS else (SCORES[:, 0].sigmoid(), CLASSES.clamp(max=1))
    expected = pytest.approx(np.asarray(value(metric, pred[~HIDDEN], target[~HIDDEN])))
    (told,) = for_loss((metric,), loss)
    assert np.asarray(value(told, pred, target.masked_fill(HIDDEN, 7), cuts=(5, 6, 30))) == expected
    assert np.asarray(value(metric, pred, target.masked_fill(HIDDEN, -100))) == expected, "as torch's losses do"
    own = type(metric)(
        ignore_index=9, **{k: v for k, v in vars(metric).items() if k in ("average", "k", "from_logits")}
    )
    (kept,) = for_loss((own,), loss)
    assert np.asarray(value(kept, pred, target.masked_fill(HIDDEN, 9))) == expected, "its own comes first"


@pytest.mark.parametrize("metric", BY_CLASS + BINARY, ids=lambda metric: type(metric).__name__)
def test_no_row_that_counts_is_no_value(metric: Metric) -> None:
    pred = SCORES if metric in BY_CLASS else SCORES[:, 0].sigmoid()
    found = np.asarray(value(metric, pred, torch.full((40,), -100)))
    assert not found.any() if "Confusion" in metric.name else np.isnan(found).all()


@pytest.mark.parametrize(
    "metric", [one for one in BY_CLASS + BINARY if one.name != "Perplexity"], ids=lambda metric: type(metric).__name__
)
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_targets_that_are_no_class_are_refused_in_words(metric: Metric, dtype: torch.dtype) -> None:
    """In eight bits, 156 has the bits of -100."""
    pred, target = (SCORES, CLASSES) if metric in BY_CLASS else (SCORES[:, 0].sigmoid(), CLASSES.clamp(max=1))
    with pytest.raises(lb.DataError, match=r"10 targets that are no class[\s\S]*ignore_index="):
        value(metric, pred, target.masked_fill(HIDDEN, 156).to(dtype))


def test_several_values_to_ignore_are_none_and_a_number_is_asked_for() -> None:
    first, second = nn.CrossEntropyLoss(ignore_index=1), nn.CrossEntropyLoss(ignore_index=2)
    assert for_loss((m.Accuracy(),), lambda p, t: first(p, t) + second(p, t))[0].ignore_index is None
    assert for_loss((m.BinaryF1(),), first)[0].ignore_index is None, "1 is a class of two"
    with pytest.raises(lb.OptionError, match="a whole number"):
        m.F1(ignore_index=1.5)


def pixels() -> tuple[Tensor, Tensor]:
    x = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    y = (x.mean(1) > 0.5).long()
    y[:, :2] = 9
    return x, y


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_run_reports_what_its_loss_is_about(engine: str) -> None:
    x, y = pixels()
    metrics = [m.Accuracy(), m.F1(), m.ConfusionMatrix(), m.CohenKappa(), m.AUROC()]
    loss = nn.CrossEntropyLoss(ignore_index=9)
    recipe = lb.setup(lambda: nn.Conv2d(3, 2, 1), loss=loss, optimizer=optim.SGD, metrics=metrics)
    fitted = recipe.fit((x, y), epochs=4, batch_size=3, engine=engine, preflight=False, verbose=False)
    found, scores, kept = fitted.evaluate((x, y)).metrics, fitted.predict(x), y != 9
    assert found["acc"] == pytest.approx((scores.argmax(1) == y)[kept].double().mean().item())
    assert sum(sum(row.values()) for row in found["confusion"].values()) == kept.sum()
    train = fitted.history[fitted.history["metric"].str.startswith("confusion")]
    assert train[train["epoch"] == 4]["value"].sum() == kept.sum()


# ---------------------------------------------------------------- digits


def test_a_sigmoid_is_taken_in_float32_at_least() -> None:
    logits = torch.full((8,), 1e-3).bfloat16()  # in bfloat16 its sigmoid is one half
    assert value(m.BinaryAccuracyWithLogits(), logits, torch.ones(8)) == 1.0
    assert value(m.BinaryF1(from_logits=True), logits, torch.ones(8)) == 1.0
    # As bfloat16, 0.3 is 0.30078125.
    assert value(m.BinaryAccuracy(threshold=0.3), torch.full((8,), 0.3).bfloat16(), torch.ones(8)) == 1.0


def test_accuracy_and_compare_say_the_same_of_a_run_in_bfloat16() -> None:
    x = torch.linspace(-0.02, 0.02, 200)[:, None]
    y = (x > 0).float()
    recipe = lb.setup(
        nn.Linear, loss=nn.BCEWithLogitsLoss(), optimizer=optim.SGD, metrics=m.BinaryAccuracyWithLogits()
    ).set_hparams(in_features=1, out_features=1)
    fitted = recipe.fit((x, y), epochs=1, precision="bfloat16", preflight=False, verbose=False)
    with torch.no_grad():
        fitted.model.weight.fill_(0.3)
        fitted.model.bias.zero_()
    assert fitted.evaluate((x, y)).metrics["acc"] == fitted.compare((x, y))["correct"].mean() == 1.0


def test_errors_of_half_precision_and_of_whole_numbers_are_not_rounded() -> None:
    pred, target = torch.tensor([300.0]).half(), torch.tensor([0.0]).half()
    assert value(m.MSE(), pred, target) == 90000.0, "float16 ends at 65504"
    assert value(m.MAE(), torch.tensor([2], dtype=torch.uint8), torch.tensor([5], dtype=torch.uint8)) == 3.0


def test_counts_are_whole_numbers() -> None:
    for metric in (m.Accuracy(), m.TopKAccuracy(1), m.BinaryAccuracy(), m.MAE(), m.Perplexity()):
        assert metric.init(CPU)[1].dtype == torch.int64, "float32 has no 2**24 + 1"


@pytest.mark.parametrize("far", [0.0, 1e7, -1e12])
@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 3)])
@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6).map(sorted).map(tuple),
    order=st.permutations(range(60)),
    ranks=st.lists(st.integers(0, 2), min_size=7, max_size=7),
)
def test_r2_of_numbers_far_from_zero_is_that_of_numbers_near_it(far, shape, cuts, order, ranks) -> None:
    generator = torch.Generator().manual_seed(0)
    near = torch.randint(-4096, 4096, shape, generator=generator).double() / 4096  # exact, wherever they are moved
    pred = near + torch.randint(-512, 512, shape, generator=generator).double() / 4096
    expected = 1 - (near - pred).square().sum(0) / (near - near.mean(0)).square().sum(0)
    metric, rows = m.R2(), torch.tensor(order)
    states = [metric.init(CPU) for _ in range(3)]
    parts = zip((pred + far)[rows].tensor_split(cuts), (near + far)[rows].tensor_split(cuts), ranks, strict=False)
    for p, t, rank in parts:
        states[rank] = metric.update(states[rank], p, t)
    found = metric.compute(merge(states[0], merge(states[1], states[2])))
    assert found == pytest.approx(expected.mean().item(), rel=1e-12)


@pytest.mark.parametrize("metric", [m.MAE(), m.MSE(), m.RMSE(), m.Perplexity(), *BY_CLASS], ids=lambda x: x.name)
@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=6).map(sorted).map(tuple), left=st.integers(0, 40))
def test_any_cutting_gives_the_same_value(metric: Metric, cuts: tuple[int, ...], left: int) -> None:
    pred = SCORES.double()
    target = CLASSES.masked_fill(HIDDEN, -100) if metric in BY_CLASS or metric.name == "Perplexity" else pred.flip(1)
    expected = np.asarray(value(metric, pred, target))
    apart = [metric.update(metric.init(CPU), pred[part], target[part]) for part in (slice(left), slice(left, None))]
    for found in (value(metric, pred, target, cuts), metric.compute(merge(*apart))):
        if isinstance(metric, (m.MAE, m.MSE, m.RMSE, m.Perplexity)):
            assert found == pytest.approx(expected, rel=1e-12)
        else:
            assert np.array_equal(np.asarray(found), expected, equal_nan=True), "counted, or ordered: to the bit"


def test_r2_of_targets_that_do_not_vary_is_none() -> None:
    assert np.isnan(value(m.R2(), SCORES[:, 0], torch.full((40,), 0.1), cuts=(7, 30)))
    assert np.isnan(value(m.R2(), SCORES.double(), torch.full((40, 3), 1e9 / 3).double(), cuts=(1, 2)))
