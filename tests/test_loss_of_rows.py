"""The loss of rows is one number, however they are cut: into batches, accumulated groups or processes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.base import Batch, divisor_of
from lumbre.metrics import LossMeter

CLASSES = 3
WEIGHTS = torch.tensor([0.2, 5.0, 1.0], dtype=torch.float64)


class OwnLoss(nn.Module):
    """Two terms over the same labels, and one that is the same for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.entropy = nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=2)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.entropy(pred, target) + 0.4 * self.entropy(pred.tanh(), target) + 0.1


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": nn.CrossEntropyLoss(),
    "class weights": nn.CrossEntropyLoss(weight=WEIGHTS),
    "ignored class": nn.CrossEntropyLoss(ignore_index=2),
    "both, smoothed": nn.CrossEntropyLoss(weight=WEIGHTS, ignore_index=0, label_smoothing=0.1),
    "negative log-likelihood": nn.NLLLoss(weight=WEIGHTS),
    "function": F.cross_entropy,
    "partial": functools.partial(F.cross_entropy, weight=WEIGHTS, ignore_index=1),
    "sum": nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"),
    "partial sum": functools.partial(F.cross_entropy, weight=WEIGHTS, reduction="sum"),
    "bound": nn.CrossEntropyLoss(weight=WEIGHTS).forward,
    "own": lambda pred, target: F.cross_entropy(pred, target, ignore_index=1),
    "own, class weights": lambda pred, target: 0.5 * F.nll_loss(pred.log_softmax(1), target.flatten(), WEIGHTS),
    "own module": OwnLoss(),
    "partial of a module": functools.partial(nn.CrossEntropyLoss(weight=WEIGHTS)),
}


def rows(count: int, seed: int, *, ignored: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (count,), generator=generator)
    y[torch.rand(count, generator=generator) < ignored] = -100
    return x, y


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, CLASSES, dtype=torch.float64), nn.LogSoftmax(1))


def one_step(loss: object, data: object, batch_size: int, *, engine: str = "eager") -> nn.Module:
    """The net after one update over all rows, from batches of `batch_size`."""
    count = len(data[1])  # pyright: ignore
    callbacks = [lb.callbacks.Accumulate(-(-count // batch_size))] if batch_size < count else []
    recipe = lb.setup(net, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    options = {"shuffle": False, "verbose": False, "preflight": False, "engine": engine, "callbacks": callbacks}
    return recipe.fit(data, epochs=1, batch_size=batch_size, **options).model


def gradients(loss: Callable[[Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor]) -> tuple[list[Tensor], nn.Module]:
    """What one update moves the weights by in a loop by hand, and the net before it."""
    torch.manual_seed(0)
    start = lb.setup(net, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    model = start.fit(data, epochs=1, batch_size=len(data[1]), verbose=False, preflight=False).model
    value = loss(model(data[0]), data[1])
    return list(torch.autograd.grad(value, list(model.parameters()))), model


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=12, deadline=None)
@given(count=st.integers(2, 24), cut=st.integers(1, 24), seed=st.integers(0, 1000))
def test_any_cut_gives_the_loss_and_the_update_of_all_rows(name: str, count: int, cut: int, seed: int) -> None:
    data, loss = rows(count, seed, ignored=0.3 if name in ("mean", "function") else 0.0), LOSSES[name]
    expected, start = gradients(loss, data)
    if not bool(torch.isfinite(expected[0]).all()):  # all labels are ignored: torch's mean of nothing
        expected = [torch.zeros_like(one) for one in expected]
    trained = one_step(loss, data, min(cut, count))
    for before, after, gradient in zip(start.parameters(), trained.parameters(), expected, strict=True):
        torch.testing.assert_close((before - after) / 0.1, gradient, rtol=1e-6, atol=1e-9)
    fitted = lb.setup(net, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    judged = fitted.fit(data, epochs=1, verbose=False, preflight=False)
    whole = loss(judged.model(data[0]), data[1]).item() / (count if "sum" in name else 1)
    if whole == whole:  # is a number
        assert judged.evaluate(data, batch_size=min(cut, count)).metrics["loss"] == pytest.approx(whole, rel=1e-6)


def test_a_batch_whose_labels_are_all_ignored_adds_nothing() -> None:
    x, y = rows(48, 0)
    y[16:32] = -100
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    fitted = recipe.fit((x, y), epochs=1, batch_size=16, shuffle=False, verbose=False, preflight=False)
    kept = torch.cat([torch.arange(16), torch.arange(32, 48)])
    without = recipe.fit((x[kept], y[kept]), epochs=1, batch_size=16, shuffle=False, verbose=False, preflight=False)
    for one, other in zip(fitted.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert fitted.history["value"].tolist() == without.history["value"].tolist()
    assert fitted.evaluate((x, y), batch_size=16).metrics["loss"] == pytest.approx(
        nn.CrossEntropyLoss()(fitted.model(x), y).item()
    )


@pytest.mark.parametrize("name", ["class weights", "both, smoothed", "negative log-likelihood"])
def test_nothing_but_ignored_labels_gives_gradients_of_zero(name: str) -> None:
    x, y = rows(8, 1)
    y[:] = getattr(LOSSES[name], "ignore_index")  # noqa: B009
    expected, start = gradients(lambda pred, _: 0 * pred.sum(), (x, y))
    assert all(not one.any() for one in expected)
    for batch_size in (8, 2):
        trained = one_step(LOSSES[name], (x, y), batch_size)
        assert all(torch.equal(a, b) for a, b in zip(start.parameters(), trained.parameters(), strict=True))


def test_tokens_count_and_not_sequences() -> None:
    """Of sequences padded with the ignored label each token counts alike, in whatever batch it comes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (20, 5), generator=generator)
    y[torch.arange(5) >= torch.randint(1, 6, (20, 1), generator=generator)] = -100

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 15, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).unflatten(1, (3, 5))

    recipe = lb.setup(Tokens, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    fitted = recipe.fit((x, y), epochs=1, batch_size=3, valid_data=(x, y), verbose=False, preflight=False)
    right = nn.CrossEntropyLoss()(fitted.model(x), y).item()
    assert fitted.history["value"].tolist() == pytest.approx([right, right], rel=1e-12)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=7)
    assert fitted.evaluate(loader).metrics["loss"] == pytest.approx(right, rel=1e-12)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def padded(count: int) -> tuple[Tensor, Tensor]:
    """Sequences of four labels, of which 0 is padding; those of rows 4 to 7 are nothing else."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, 4, generator=generator), torch.randint(1, 3, (count, 4), generator=generator)
    y[torch.arange(4) >= torch.randint(1, 5, (count, 1), generator=generator)] = 0
    y[4:8] = 0
    return x, y


def of_words(pred: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(pred.flatten(0, 1), target.flatten(), ignore_index=0)


def mean_of_rows(pred: Tensor, target: Tensor) -> Tensor:
    """The sum over labels, divided by the rows."""
    return of_words(pred, target).nan_to_num() * (target != 0).sum() / len(target)


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_padding_that_a_loss_of_ones_own_leaves_out_adds_nothing(accumulate: int, first: int, tmp_path: Path) -> None:
    x, y = padded(22)
    x, y = x[first:], y[first:]

    def words(*then: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (4, 3)), *then)

    parts: Any = {"optimizer": optim.SGD}
    options: Any = {"epochs": 2, "batch_size": 4, "shuffle": False, "verbose": False, "seed": 1, "valid_data": (-x, y)}
    options["callbacks"] = [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    known = nn.CrossEntropyLoss(ignore_index=0)
    expected = lb.setup(lambda: words(Transposed()), loss=known, **parts).set_opt_hparams(lr=0.1).fit((x, y), **options)
    found = lb.setup(words, loss=of_words, **parts).set_opt_hparams(lr=0.1).fit((x, y), **options)
    for name in ("train_loss", "valid_loss"):
        torch.testing.assert_close(found.history_wide[name].tolist(), expected.history_wide[name].tolist())
    for one, other in zip(found.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    found.save(tmp_path / "words.lumbre")
    again = lb.load(tmp_path / "words.lumbre", lb.setup(words, loss=of_words, **parts))
    right = of_words(again.model(x), y).item()
    for size in (4, 7, 22):
        assert again.evaluate((x, y), batch_size=size).metrics["loss"] == pytest.approx(right, rel=1e-5)


def next_words(pred: Tensor, target: Tensor) -> Tensor:
    return of_words(pred[:, :-1], target[:, 1:])


@pytest.mark.parametrize("form", ["next", "dict"])
@pytest.mark.parametrize("size", [1, 4])
def test_labels_are_counted_where_a_loss_of_ones_own_takes_them_from(form: str, size: int) -> None:
    x, y = padded(14)
    net = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (4, 3)))
    loss: Any = next_words if form == "next" else lambda pred, target: of_words(pred, target["labels"])
    target = y if form == "next" else {"row": torch.arange(14), "labels": y}
    options: Any = {"epochs": 1, "shuffle": False, "verbose": False, "preflight": False}
    recipe = lb.setup(net, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    fitted = recipe.fit((x, target), batch_size=size, callbacks=[lb.callbacks.Accumulate(2)], **options)
    right = loss(fitted.model(x), target).item()
    assert fitted.history_wide["train_loss"].tolist() == pytest.approx([right], rel=1e-5)
    assert fitted.evaluate((x, target), batch_size=5).metrics["loss"] == pytest.approx(right, rel=1e-5)


def test_a_loss_of_labels_that_is_a_mean_of_rows_counts_rows() -> None:
    x, y = padded(22)
    net = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (4, 3)))
    fitted = lb.setup(net, loss=mean_of_rows, optimizer=optim.SGD).fit((x, y), epochs=1, verbose=False)
    right = mean_of_rows(fitted.model(x), y).item()
    assert fitted.evaluate((x, y), batch_size=5).metrics["loss"] == pytest.approx(right, rel=1e-5)


def test_of_losses_that_nobody_knows_rows_are_counted() -> None:
    class Focal(nn.CrossEntropyLoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return super().forward(input, target) ** 2

    unknown = (Focal(), nn.MSELoss(), lambda pred, target: F.cross_entropy(pred, target), nn.BCEWithLogitsLoss())
    assert [divisor_of(loss) for loss in unknown] == [None] * 4
    assert divisor_of(nn.CrossEntropyLoss(reduction="sum")) is None
    assert divisor_of(torch.compile(nn.CrossEntropyLoss(weight=WEIGHTS), backend="eager")) is not None
    assert divisor_of(nn.CrossEntropyLoss(), may_ignore=False) is None
    probabilities = torch.full((5, 3), 1 / 3)
    divisor = divisor_of(nn.CrossEntropyLoss(weight=torch.ones(3)))
    assert divisor is not None
    assert divisor(probabilities).item() == 5  # torch divides by the rows there


def test_a_pass_that_an_older_version_began_goes_on_by_rows() -> None:
    """Files of 0.1.0 hold no divisor: their batches counted by rows."""
    divisor = divisor_of(nn.CrossEntropyLoss())
    meter = LossMeter((), torch.device("cpu"), divisor=divisor)
    first = Batch(None, torch.zeros(4, dtype=torch.long), 4, None, None)
    meter.update(first, None, torch.tensor(1.0))
    old = {name: value for name, value in meter.state_dict().items() if name != "divided"}
    for state in (old, meter.merged([old, {**old, "loss": old["loss"].clone()}])):
        again = LossMeter((), torch.device("cpu"), divisor=divisor)
        again.load_state_dict({**state, "loss": state["loss"].clone()})
        again.update(first, None, torch.tensor(1.0))
        assert again.compute() == {"loss": 1.0}


@pytest.mark.parametrize("empty", [0, 1])
def test_losses_by_name_are_joined_with_a_process_that_has_no_rows(empty: int) -> None:
    meters = [LossMeter((), torch.device("cpu"), gather=lambda _: sent) for _ in range(2)]
    meters[1 - empty].update(Batch(None, torch.zeros(4), 4, None, None), None, {"a": torch.tensor(1.0)})
    sent = [(m._loss, m._divided, m._parts, m._rows, []) for m in meters]
    assert [meter.compute() for meter in meters] == [{"loss": 1.0, "loss_a": 1.0}] * 2


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(reduction="none"),
        lambda pred, y: (pred - y).square().mean(1),
        lambda pred, y: {"squares": F.mse_loss(pred, y), "errors": F.l1_loss(pred, y)},
        lambda pred, y: F.mse_loss(pred, y).item(),
        lambda pred, y: F.mse_loss(pred, y) * 1j,
    ],
)
def test_what_is_no_loss_of_a_batch_is_refused_in_words(loss: Callable[[Tensor, Tensor], Any]) -> None:
    recipe = lb.setup(lambda: nn.Linear(4, 3), loss=loss, optimizer=optim.SGD)
    with pytest.raises(lb.RecipeError, match="one number for the batch"):
        recipe.fit((torch.randn(8, 4), torch.randn(8, 3)), epochs=1, preflight=False, verbose=False)
