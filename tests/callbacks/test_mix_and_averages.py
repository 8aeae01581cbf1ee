"""Mixup and cutmix beside the formula of their papers; EMA and SWA beside their closed forms."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.base import Batch
from lumbre.callbacks import EMA, SWA, Accumulate, CutMix, Mixup

LOSSES = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.tensor([1.0, 2.0, 3.0]))]


class Mixed(lb.Callback):
    """Keeps what a batch was mixed to, and the first gradient."""

    runs_after = (Mixup, CutMix)

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.gradients: list[Tensor] = []

    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        assert ctx.batch is not None
        self.batches.append(ctx.batch)

    def on_before_step(self, ctx: lb.Context) -> None:
        self.gradients.append(torch.cat([p.grad.flatten() for p in ctx.model.parameters() if p.grad is not None]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixups_gradient_is_that_of_the_textbook_formula(loss: nn.Module, alpha: float) -> None:
    x, y = blobs(30)
    model = Net(4)
    twin = copy.deepcopy(model)
    seen = Mixed()
    lb.setup(model, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.0).fit(
        (x, y), epochs=1, batch_size=30, shuffle=False, callbacks=[seen, Mixup(alpha)], verbose=False
    )
    batch = seen.batches[0]
    assert batch.mixed is not None
    other, share = batch.mixed
    assert 0.5 <= share <= 1
    partner = torch.stack([(batch.input[i] - share * x[i]) / (1 - share) for i in range(30)])
    rows = torch.cdist(partner, x).argmin(1)
    assert sorted(rows.tolist()) == list(range(30)), "every row is a partner once"
    assert torch.equal(y[rows], other)
    pred = twin(share * x + (1 - share) * x[rows])
    (share * loss(pred, y) + (1 - share) * loss(pred, y[rows])).backward()
    expected = torch.cat([p.grad.flatten() for p in twin.parameters() if p.grad is not None])
    torch.testing.assert_close(seen.gradients[0], expected, rtol=1e-6, atol=1e-6)


def test_soft_targets_and_mixup_agree_for_cross_entropy() -> None:
    pred, y, other, share = torch.randn(6, 3), torch.arange(6) % 3, torch.arange(6).flip(0) % 3, 0.7
    soft = share * nn.functional.one_hot(y, 3) + (1 - share) * nn.functional.one_hot(other, 3)
    loss = nn.CrossEntropyLoss()
    torch.testing.assert_close(share * loss(pred, y) + (1 - share) * loss(pred, other), loss(pred, soft))


def test_cutmix_pastes_a_rectangle_of_the_share_it_counts() -> None:
    images = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 3, 12, 16).contiguous()
    seen = Mixed()
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 16, 10))
    lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=1e-6).fit(
        (images, torch.arange(10)), epochs=5, batch_size=10, callbacks=[seen, CutMix()], verbose=False
    )
    shares: set[float] = set()
    for batch in seen.batches:
        assert batch.mixed is not None
        other, share = batch.mixed
        shares.add(float(share))
        own = batch.input == batch.target.reshape(10, 1, 1, 1)
        theirs = batch.input == other.reshape(10, 1, 1, 1)
        assert bool((own | theirs).all())
        differs = batch.target != other
        assert own[differs].float().mean().item() == pytest.approx(float(share))
    assert len(shares) > 1


def test_validation_is_not_mixed_and_p_leaves_some_batches() -> None:
    seen = Mixed()
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4)
    recipe.fit(blobs(200), epochs=2, batch_size=4, callbacks=[Mixup(p=0.5), seen], verbose=False)
    mixed = sum(batch.mixed is not None for batch in seen.batches)
    assert 25 <= mixed <= 75

    class Valid(lb.Callback):
        def __init__(self) -> None:
            self.batches: list[Batch] = []

        def on_valid_batch_end(self, ctx: lb.Context) -> None:
            assert ctx.batch is not None
            self.batches.append(ctx.batch)

    watch = Valid()
    recipe.fit(blobs(), epochs=1, valid_data=0.2, callbacks=[Mixup(), watch], verbose=False)
    assert watch.batches
    assert all(batch.mixed is None for batch in watch.batches)


@pytest.mark.parametrize(
    ("data", "mix"),
    [
        ((torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4).long()), Mixup()),
        ((torch.zeros(4, 4), torch.zeros(4).long()), CutMix()),
    ],
)
def test_what_cannot_be_mixed_is_named(data, mix) -> None:
    class Any(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    with pytest.raises(lb.DataError, match=type(mix).__name__):
        lb.setup(Any, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4).fit(
            data, callbacks=mix, verbose=False
        )


@pytest.mark.parametrize("wrong", [lambda: Mixup(0), lambda: Mixup(p=2), lambda: EMA(1.0), lambda: SWA(1.0)])
def test_impossible_values_are_refused(wrong) -> None:
    with pytest.raises(lb.OptionError):
        wrong()


class Weights(lb.Callback):
    """The weights after every update."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def on_after_step(self, ctx: lb.Context) -> None:
        self.kept.append(nn.utils.parameters_to_vector(ctx.model.parameters()).double())


@settings(max_examples=15, deadline=None)
@given(decay=st.floats(0.1, 0.99), warm_up=st.booleans(), group=st.integers(1, 3))
def test_ema_equals_its_closed_form(decay: float, warm_up: bool, group: int) -> None:
    x, y = blobs(40)
    model = Net(4)
    average = nn.utils.parameters_to_vector(model.parameters()).detach().double()
    seen = Weights()
    fitted = (
        lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
        .set_opt_hparams(lr=0.1)
        .fit(
            (x, y),
            epochs=2,
            batch_size=8,
            callbacks=[EMA(decay, warm_up=warm_up), seen, Accumulate(group)],
            verbose=False,
        )
    )
    for n, weights in enumerate(seen.kept, 1):
        d = min(decay, (1 + n) / (10 + n)) if warm_up else decay
        average = d * average + (1 - d) * weights
    ours = nn.utils.parameters_to_vector(fitted.model.parameters()).double()
    torch.testing.assert_close(ours, average, rtol=1e-4, atol=1e-6)


def test_ema_validates_with_the_average_and_trains_without() -> None:
    x, y = blobs()
    plain, averaged = Weights(), Weights()
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4).set_opt_hparams(lr=0.1)
    without = recipe.fit((x, y), epochs=3, valid_data=(x, y), callbacks=plain, ignore="LB041", verbose=False)
    both = [EMA(0.9), averaged]
    fitted = recipe.fit((x, y), epochs=3, valid_data=(x, y), callbacks=both, ignore="LB041", verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(plain.kept, averaged.kept, strict=True))
    last = fitted.history.query("set == 'valid' and epoch == 3")["value"].item()
    assert fitted.evaluate((x, y)).metrics["loss"] == pytest.approx(last)
    assert without.evaluate((x, y)).metrics["loss"] != pytest.approx(last)


def test_swa_is_the_mean_of_the_last_epochs_with_fresh_statistics() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.net = nn.BatchNorm1d(4), Net(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.norm(x))

    x, y = blobs(60)
    kept: list[Tensor] = []

    class Epochs(lb.Callback):
        def on_epoch_end(self, ctx: lb.Context) -> None:
            kept.append(nn.utils.parameters_to_vector(ctx.model.parameters()))
            rates.append(ctx.optimizer.param_groups[0]["lr"])

    rates: list[float] = []
    fitted = (
        lb.setup(Normed, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
        .set_opt_hparams(lr=0.1)
        .fit((x, y), epochs=8, batch_size=20, callbacks=[SWA(0.5, lr=0.05), Epochs()], verbose=False)
    )
    ours = nn.utils.parameters_to_vector(fitted.model.parameters())
    torch.testing.assert_close(ours, torch.stack(kept[4:]).mean(0))
    assert rates == [0.1] * 4 + [0.05] * 4
    norm = fitted.model.norm
    torch.testing.assert_close(norm.running_mean, x.mean(0))
    assert norm.momentum == 0.1
    assert not fitted.model.training


def test_an_average_can_go_on_from_its_state() -> None:
    model = Net(4)
    state: list[dict] = []

    class Keep(lb.Callback):
        def on_epoch_end(self, ctx: lb.Context) -> None:
            state.append(copy.deepcopy(average.state_dict()))

    average = EMA(0.9)
    lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1).fit(
        blobs(), epochs=1, callbacks=[average, Keep()], verbose=False
    )
    assert state[0]["count"] == state[0]["seen"] == 4
    names = dict(model.named_parameters())
    assert all(torch.equal(state[0]["average"][name], value) for name, value in names.items())
