"""Gradients are brought under a norm by a call for all of them, to the bits of torch's own function."""

import pytest
import torch
from torch import Tensor, nn

import lumbre as lb
from lumbre.steps import Clip


def parameters(scale: float, kinds: tuple[torch.dtype, ...] = (torch.float32,)) -> list[nn.Parameter]:
    chance = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.zeros(shape)) for shape in ((13, 7), (7,), (1,), (2, 3))]
    for number, one in enumerate(made[1:], start=1):  # the first has no gradient
        one.data = one.data.to(kinds[number % len(kinds)])
        one.grad = (scale * torch.randn(one.shape, generator=chance)).to(one.dtype)
    return made


def gradients(of: list[nn.Parameter]) -> list[Tensor]:
    return [one.grad for one in of if one.grad is not None]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("scale", [1e-3, 1.0, float("nan")])
@pytest.mark.parametrize("kinds", [(torch.float32,), (torch.float32, torch.float64)], ids=["one kind", "two kinds"])
def test_the_bits_are_those_of_torch(norm_type: float, scale: float, kinds: tuple[torch.dtype, ...]) -> None:
    ours, torchs = parameters(scale, kinds), parameters(scale, kinds)
    Clip(max_norm=0.5, norm_type=norm_type)(ours)
    nn.utils.clip_grad_norm_(torchs, 0.5, norm_type)
    for one, other in zip(gradients(ours), gradients(torchs), strict=True):
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))


@pytest.mark.parametrize("share", [0.89, 0.9, 0.91, 0.99, 1 - 1e-6, 1.0, 1 + 1e-6, 1.01])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_the_bits_are_those_of_torch_around_the_bound(share: float, kind: torch.dtype) -> None:
    """A norm that is so much of the bound."""
    ours, torchs = parameters(1.0, (kind,)), parameters(1.0, (kind,))
    bound = torch.cat([one.flatten().double() for one in gradients(ours)]).norm().item() / share
    Clip(max_norm=bound)(ours)
    nn.utils.clip_grad_norm_(torchs, bound)
    assert all(map(torch.equal, gradients(ours), gradients(torchs)))


@pytest.mark.parametrize("alpha", [0.2, 1, 3.0])
def test_the_share_of_a_mix_is_drawn_as_by_torchs_beta(alpha: float) -> None:
    x = torch.arange(4.0)[:, None]
    shares: list[float] = []

    class Seen(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            assert ctx.batch is not None
            assert ctx.batch.mixed is not None
            shares.append(float(ctx.batch.mixed[1]))

    class Seed(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            torch.manual_seed(ctx.epoch)

    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=torch.optim.SGD)
    recipe = recipe.set_hparams(in_features=1, out_features=1)
    given = [Seed(), lb.callbacks.Mixup(alpha), Seen()]
    recipe.fit((x, x), epochs=8, callbacks=given, verbose=False, preflight=False)
    for epoch, share in enumerate(shares, start=1):
        torch.manual_seed(epoch)
        drawn = torch.distributions.Beta(alpha, alpha).sample().item()
        assert share == max(drawn, 1 - drawn)
