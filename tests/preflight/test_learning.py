"""Which parameters learn: each finding beside sound programs that look like it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim import lr_scheduler

import lumbre as lb

G = torch.Generator().manual_seed(0)
X = torch.randn(192, 8, generator=G)
Y = (X @ torch.randn(8, 3, generator=G)).argmax(1)
STEPS = torch.randn(192, 6, 8, generator=G)
TOKENS = torch.randint(1, 20, (192, 6), generator=G)
PICTURES = torch.rand(192, 1, 8, 8, generator=G)

Made = Callable[[], nn.Module]


def codes(
    net: Made, data: Any = None, *, hints: bool = False, opt: Any = optim.Adam, lr: float = 1e-3, **more: Any
) -> list[str]:
    torch.manual_seed(0)
    hparams, loss = more.pop("hparams", {}), more.pop("loss", nn.CrossEntropyLoss())
    recipe = lb.setup(net, loss=loss, optimizer=opt).set_opt_hparams(lr=lr, **hparams)
    found = recipe.check((X, Y) if data is None else data, **{"batch_size": 32, **more})
    return [one.code for one in found if hints or one.severity != "hint"]


class Net(nn.Module):
    """A body and a head, with what a test puts between."""

    def __init__(self, between: Callable[["Net", Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.body, self.head, self.between = nn.Sequential(nn.Linear(8, 16), nn.Tanh()), nn.Linear(16, 3), between
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self, self.body(x)))


class Holder:
    """An object of the user's own, no module."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer


def kept() -> nn.Module:
    return Net(lambda net, h: h * net.scale, scale=torch.ones(16, requires_grad=True))


def in_an_object() -> nn.Module:
    return Net(lambda net, h: torch.tanh(net.holder.layer(h)), holder=Holder(nn.Linear(16, 16)))


def made_in_forward() -> nn.Module:
    return Net(lambda _, h: torch.tanh(nn.Linear(16, 16)(h)))


def parameter_made_in_forward() -> nn.Module:
    return Net(lambda _, h: h * nn.Parameter(torch.ones(16)))


def made_at_first_call() -> nn.Module:
    def between(net: Any, h: Tensor) -> Tensor:
        if not hasattr(net, "late"):
            net.late = nn.Linear(16, 16)
        return torch.tanh(net.late(h))

    return Net(between)


def behind_a_name() -> nn.Module:
    layer = nn.Linear(16, 16)
    return Net(lambda _, h: torch.tanh(layer(h)))


def tensors_in_a_dict() -> nn.Module:
    return Net(lambda net, h: h + net.shifts["a"], shifts={"a": torch.zeros(16, requires_grad=True)})


@pytest.mark.parametrize(
    "net",
    [
        kept,
        in_an_object,
        made_in_forward,
        parameter_made_in_forward,
        made_at_first_call,
        behind_a_name,
        tensors_in_a_dict,
    ],
)
def test_weights_outside_the_module(net: Made) -> None:
    assert codes(net) == ["LB070"]


class Energy(nn.Module):
    """Takes a gradient by its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1, bias=False))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (force,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        return self.head(force)


class Noisy(nn.Module):
    """Moves its hidden numbers against the worst direction, as virtual adversarial training does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.body(x))
        d = torch.full((16,), 0.1, requires_grad=True)
        return self.head(h + d)


class Tied(nn.Module):
    """Tokens whose table is the last layer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rnn = nn.Embedding(20, 8, padding_idx=0), nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.table(x))[0][:, -1])


class LoRA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.head = nn.Linear(8, 16).requires_grad_(False), nn.Linear(16, 3)
        self.a, self.b = nn.Linear(8, 2, bias=False), nn.Linear(2, 16, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.base(x) + self.b(self.a(x))))


class ReZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(3))
        self.gates, self.head = nn.Parameter(torch.zeros(3)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for gate, block in zip(self.gates, self.blocks, strict=True):
            x = x + gate * block(x)
        return self.head(x)


class Experts(nn.Module):
    """Each row goes to one of eight experts; a batch may leave some out."""

    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.gate, self.dense = nn.Linear(8, 8), dense
        self.experts = nn.ModuleList(nn.Linear(8, 16) for _ in range(8))
        self.head = nn.Linear(16, 3)
        with torch.no_grad():
            self.gate.bias.copy_(torch.tensor([3.0, 1, 0, 0, 0, 0, 0, 0]))

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x).softmax(1)
        top, which = share.max(1)
        if self.dense:
            every = torch.stack([one(x) for one in self.experts], 1)
            return self.head(torch.tanh((every * (F.one_hot(which, 8) * top[:, None])[:, :, None]).sum(1)))
        h = x.new_zeros(len(x), 16)
        for at, one in enumerate(self.experts):
            h = h.index_add(0, (which == at).nonzero()[:, 0], one(x[which == at]))
        return self.head(torch.tanh(h * top[:, None]))


class Dropped(nn.Module):
    """Blocks that are left out by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            keep = float(torch.rand(()) > 0.3) if self.training else 0.7
            x = x + torch.tanh(block(x)) * torch.full((), keep)
        return self.head(x)


class OneStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x[:, None])[0][:, 0])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.layers, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean(1))


class SwitchedOff(Net):
    """A term with a factor of 0 for now."""

    def __init__(self) -> None:
        super().__init__(lambda _, h: h)
        self.side = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return self.head(h) + 0.0 * self.side(h)


def convolved() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 3)
    )


SOUND: list[tuple[Made, Any]] = [
    (Energy, None),
    (Noisy, None),
    (Tied, (TOKENS, TOKENS[:, 0].roll(1))),
    (LoRA, None),
    (ReZero, None),
    (lambda: Experts(True), None),
    (lambda: Experts(False), None),
    (Dropped, None),
    (OneStep, None),
    (Encoder, (STEPS, Y)),
    (SwitchedOff, None),
    (convolved, (PICTURES, Y)),
    (lambda: Net(lambda _, h: h + (torch.round(h) - h).detach()), None),  # rounded, with the gradient of what it was
    (lambda: Net(lambda net, h: h * F.softplus(net.scale), scale=nn.Parameter(torch.zeros(()))), None),
    (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)), None),
]


@pytest.mark.parametrize(("net", "data"), SOUND)
@pytest.mark.parametrize("opt", [optim.Adam, optim.SGD])
def test_sound_programs(net: Made, data: Any, opt: Any) -> None:
    assert codes(net, data, opt=opt, lr=1e-3 if opt is optim.Adam else 0.1) == []


class Attended(nn.Module):
    """Scores of six places; the softmax is over the places, or over the single score."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score, self.head, self.dim = (
            nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)),
            nn.Linear(8, 3),
            dim,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x * self.score(x).softmax(self.dim)).sum(1))


class Levels(nn.Module):
    def __init__(self, level: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.head, self.level = nn.Linear(8, 16), nn.Linear(24, 3), level

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.level(self.body(x)), x], 1))


class Gated(nn.Module):
    """A gate of one number behind a norm of one number, beside the rest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(8, width), nn.LayerNorm(width), nn.Sigmoid(), nn.Linear(width, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.gate(x))


@pytest.mark.parametrize(
    ("broken", "sound", "data"),
    [
        (lambda: Levels(torch.round), lambda: Levels(torch.tanh), None),
        (lambda: Levels(torch.sign), lambda: Levels(torch.relu), None),
        (lambda: Levels(torch.floor), lambda: Levels(F.hardtanh), None),
        (lambda: Levels(lambda h: (h + 50).clamp(0, 1)), lambda: Levels(lambda h: (h + 0.5).clamp(0, 1)), None),
        (lambda: Levels(lambda h: torch.sigmoid(h + 500)), lambda: Levels(torch.sigmoid), None),
        (lambda: Gated(1), lambda: Gated(4), None),
    ],
)
def test_gradients_of_exactly_zero(broken: Made, sound: Made, data: Any) -> None:
    assert codes(broken, data) == ["LB071"]
    assert codes(sound, data) == []


def test_attention_over_the_one_score_of_each_step() -> None:
    assert codes(lambda: Attended(-1), (STEPS, Y)) == ["LB019"]
    assert codes(lambda: Attended(1), (STEPS, Y)) == []


def grouped(*rates: float) -> Any:
    def make(parameters: Any, lr: float) -> optim.Optimizer:
        every = list(parameters)
        size = -(-len(every) // len(rates))
        return optim.SGD(
            [{"params": every[at * size : (at + 1) * size], "lr": one} for at, one in enumerate(rates)], lr=lr
        )

    return make


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def test_groups_far_apart() -> None:
    assert codes(small, opt=grouped(1e-7, 0.1)) == ["LB072"]
    assert codes(small, opt=grouped(0.1, 1e-6)) == ["LB072"]
    assert codes(small, opt=grouped(1e-3, 0.1)) == []
    assert codes(small, opt=grouped(1e-6, 1e-4, 1e-2, 0.1)) == []  # rates that fall from layer to layer
    assert codes(small, opt=grouped(0.0, 0.1)) == []


def summed(pred: Tensor, target: Tensor) -> Tensor:
    return ((pred - target) ** 2).sum()


def test_steps_that_throw_the_loss() -> None:
    target = X[:, :1] + 0.1 * X[:, 1:2]

    def line() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))

    assert codes(line, (X, target), loss=summed, opt=optim.SGD, lr=0.3) == ["LB073"]
    assert codes(line, (X, target), loss=nn.MSELoss(), opt=optim.SGD, lr=5.0) == ["LB073"]
    assert codes(line, (X, target), loss=summed, opt=optim.SGD, lr=1e-3) == []
    for lr in (1e-3, 1e-2, 0.1):
        assert codes(line, (X, target), loss=nn.MSELoss(), opt=optim.Adam, lr=lr) == []
        assert codes(small, opt=optim.SGD, lr=10 * lr, hparams={"momentum": 0.9}) == []


@pytest.mark.parametrize("bound", [{"max_norm": 0.1, "norm_type": 1.0}, {"max_norm": 0.1, "norm_type": float("inf")}])
def test_steps_are_tried_with_the_norm_that_bounds_them(bound: dict[str, float]) -> None:
    data = X, X.sum(1, keepdim=True)
    assert codes(lambda: nn.Linear(8, 1), data, loss=nn.MSELoss(), opt=optim.SGD, lr=2.0) == ["LB073"]
    clip = lb.callbacks.GradientClip(**bound)
    assert codes(lambda: nn.Linear(8, 1), data, loss=nn.MSELoss(), opt=optim.SGD, lr=2.0, callbacks=clip) == []
    tight = lb.callbacks.GradientClip(1e-5, norm_type=bound["norm_type"])
    assert codes(small, opt=optim.SGD, lr=0.1, callbacks=tight) == ["LB074"]


def test_steps_that_move_nothing() -> None:
    tight, usual = lb.callbacks.GradientClip(1e-5), lb.callbacks.GradientClip(0.1)
    assert codes(small, opt=optim.SGD, lr=0.1, callbacks=tight) == ["LB074"]
    assert codes(small, opt=optim.SGD, lr=0.1, callbacks=usual) == []
    assert codes(small, opt=optim.Adam, callbacks=tight) == []  # its steps do not know the size of gradients
    assert codes(small, opt=optim.SGD, lr=5e-7, epochs=3) == ["LB074"]
    large = (
        X[:, :3].sum(1, keepdim=True) * 40
    )  # whose first gradients are a thousand times as large as the bound; the rate fits the bound
    bound = lb.callbacks.GradientClip(0.1)
    for lr, found in ((0.1, []), (1e-4, ["LB074"])):
        options: dict[str, Any] = {"opt": optim.SGD, "lr": lr, "callbacks": bound, "epochs": 10}
        assert codes(lambda: nn.Linear(8, 1), (X, large), loss=summed, ignore=("LB050", "LB058"), **options) == found
    assert codes(small, opt=optim.SGD, lr=1e-4, epochs=3) == []


def test_a_decay_above_the_gradient() -> None:
    assert codes(small, opt=optim.SGD, lr=0.1, hparams={"weight_decay": 0.05}) == []
    assert codes(small, opt=optim.SGD, lr=0.1, hparams={"weight_decay": 0.9}) == ["LB034"]  # meant as momentum
    assert codes(lambda: Scaled(0.001), opt=optim.SGD, lr=0.1, hparams={"weight_decay": 0.9}) == ["LB034"]
    assert codes(lambda: Scaled(0.001), opt=optim.SGD, lr=0.1, hparams={"weight_decay": 5e-4}) == []


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.net, self.scale = small(), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.net(x)


def by_batch(make: Callable[[optim.Optimizer], Any]) -> lb.Callback:
    return lb.callbacks.LRScheduler(make, step_on="batch")


def test_a_schedule_that_is_over_early() -> None:
    def exponential(gamma: float) -> lb.Callback:
        return by_batch(lambda one: lr_scheduler.ExponentialLR(one, gamma))

    def steps(at: int) -> lb.Callback:
        return by_batch(lambda one: lr_scheduler.StepLR(one, at, 0.1))

    assert codes(small, epochs=20, callbacks=exponential(0.9)) == ["LB035"]
    assert codes(small, epochs=20, callbacks=steps(5)) == ["LB035"]
    assert codes(small, epochs=20, callbacks=exponential(0.97)) == []
    assert codes(small, epochs=20, callbacks=steps(40)) == []


def normed(momentum: float | None, p: float = 0.0) -> Made:
    return lambda: nn.Sequential(
        nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16, momentum=momentum), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 3)
    )


def test_momentum_of_batch_norm() -> None:
    assert codes(normed(0.99)) == ["LB075"]
    assert codes(normed(0.001), epochs=5) == ["LB075"]
    for momentum in (0.1, 0.01, 0.5, None):
        assert codes(normed(momentum), epochs=20) == []
    assert codes(normed(0.1), epochs=1, batch_size=96) == []


def test_dropout_of_what_should_be_kept() -> None:
    assert codes(normed(0.1, 0.95)) == ["LB076"]
    assert codes(normed(0.1, 0.8)) == []
    assert codes(normed(0.1, 0.8), hints=True) == ["LB076"]
    assert codes(normed(0.1, 0.5), hints=True) == []


def test_an_optimizer_that_climbs() -> None:
    assert codes(small, opt=optim.SGD, lr=0.1, hparams={"maximize": True}) == ["LB054"]


class Own(nn.Module):
    """A module with a step of its own."""

    def __init__(self, rest: bool, lr: float = 1e-3) -> None:
        super().__init__()
        self.net, self.head, self.teacher = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(8, 16)
        self.rest, self.lr = rest, lr

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.net(x)))

    def configure_optimizers(self) -> optim.Optimizer:
        missing = [self.net.bias] if not self.rest else []
        held = [one for one in (*self.net.parameters(), *self.head.parameters()) if all(one is not m for m in missing)]
        return optim.Adam(held, lr=self.lr)

    def step(self, ctx: lb.Context) -> Tensor:
        loss = F.cross_entropy(self(ctx.batch.input), ctx.batch.target)
        ctx.minimize(loss)
        return loss


def test_modules_with_a_step_of_their_own() -> None:
    def found(net: Made) -> list[str]:
        return [one.code for one in lb.setup(net).check((X, Y), batch_size=32)]

    assert found(lambda: Own(True)) == []  # the teacher is moved in another way
    assert found(lambda: Own(False)) == ["LB022"]
    assert found(lambda: Own(True, lr=5.0)) == ["LB033"]


class Counted(nn.Module):
    """A module whose calls are counted."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *x: Any) -> Any:
        return self.net(*x)


@pytest.mark.parametrize(
    ("net", "data", "options"),
    [
        (small, None, {"valid_data": 0.25}),
        (convolved, (PICTURES, Y), {"valid_data": 0.25, "batch_size": 191, "drop_last": False}),
        (lambda: Gated(1), None, {"valid_data": 0.25}),  # looked at again with other weights
        (lambda: Scaled(200.0), None, {"opt": optim.SGD, "lr": 9.0}),  # steps that throw the loss
        (ReZero, None, {"opt": grouped(1e-3, 0.1)}),
    ],
)
def test_a_check_takes_few_passes(net: Made, data: Any, options: dict[str, Any]) -> None:
    calls: list[nn.Module] = []
    # What hangs on the module itself is put back after each look, a list in a hook of its own, too.
    counting = register_module_forward_pre_hook(lambda part, _: calls.append(part) if type(part) is Counted else None)
    with counting:
        codes(lambda: Counted(net()), data, **options)
    assert 5 < len(calls) <= 20
