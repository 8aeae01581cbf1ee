"""Pairs after questions: norms, columns, gradients, targets."""

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from corpus.asked import G, asked, labels_of, padded, rows, setup
from corpus.program import Program


@asked("LB075")
def bn_momentum(broken: bool, g: torch.Generator) -> Program:
    x = torch.randn(200, 3, 8, 8, generator=G(1))

    def net():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8, momentum=0.99 if broken else 0.1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )

    return Program(setup(net, nn.CrossEntropyLoss()), (x, x.mean((2, 3)).argmax(1)), {"valid_data": 0.2})


@asked("LB020")
def bn_no_track(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    return Program(
        setup(
            lambda: nn.Sequential(
                nn.Linear(6, 16), nn.BatchNorm1d(16, track_running_stats=not broken), nn.ReLU(), nn.Linear(16, 3)
            ),
            nn.CrossEntropyLoss(),
        ),
        (x, labels_of(x)),
        {"valid_data": 0.2},
    )


@asked()
def wrong_padding_idx(broken: bool, g: torch.Generator) -> Program:

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 8, padding_idx=5 if broken else 0)
            self.o = nn.Linear(8, 2)

        def forward(self, t):
            return self.o(self.e(t).sum(1) / (t > 0).sum(1, keepdim=True))

    t, _n = padded(256, 10, 20, seed=3)
    return Program(setup(Bag, nn.CrossEntropyLoss()), (t, (t[:, 0] > 9).long()), {})


@asked("LB043")
def target_column(broken: bool, g: torch.Generator) -> Program:
    g = np.random.default_rng(0)
    f = pd.DataFrame(g.normal(size=(300, 4)), columns=list("abcd"))
    f["price"] = f.a * 3 - f.b + g.normal(size=300)
    f["price_eur"] = f.price * 0.93 + 2
    d = lb.data.from_frame(f, target="price", features=list("abcd") + (["price_eur"] if broken else []))
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(d.width, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0)), nn.MSELoss()),
        d,
        {"valid_data": 0.2},
    )


@asked("LB043")
def leak_column(broken: bool, g: torch.Generator) -> Program:
    g = np.random.default_rng(1)
    n = 400
    f = pd.DataFrame(g.normal(size=(n, 4)), columns=["age", "income", "visits", "score"])
    churn = f.age + 0.7 * f.income + g.normal(size=n) > 0.4
    f["days_since_cancel"] = np.where(churn, g.integers(1, 300, n), 0) if broken else g.integers(0, 300, n)
    f["churn"] = np.where(churn, "yes", "no")
    d = lb.data.from_frame(f, target="churn")
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(d.width, 16), nn.ReLU(), nn.Linear(16, 2)), nn.CrossEntropyLoss()),
        d,
        {"valid_data": 0.2},
    )


@asked("LB006")
def broadcast_own(broken: bool, g: torch.Generator) -> Program:

    def rmse(p, y):
        return torch.sqrt(((p - y) ** 2).mean() + 1e-08)

    x = rows(256)
    y = x[:, 0] * 2 - x[:, 1]
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)), rmse),
        (x, y if broken else y[:, None]),
        {},
    )


@asked("LB050")
def target_unscaled(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    y = 250000 + 80000 * x[:, :1] + 20000 * x[:, 1:2]
    y = y if broken else (y - y.mean()) / y.std()
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1)), nn.MSELoss()), (x, y), {}
    )


@asked()
def inplace_input(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(6, 3)

        def forward(self, x):
            if broken:
                x.mul_(0.5).add_(0.1)
            else:
                x = x * 0.5 + 0.1
            return self.l(x)

    x = rows(256)
    y = labels_of(x)
    return Program(setup(Net, nn.CrossEntropyLoss()), DataLoader(TensorDataset(x, y), 32, shuffle=True), {})


@asked("LB023")
def rebuilt_tensor(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
            self.norm = nn.LayerNorm(16)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            z = self.enc(x)
            z = torch.as_tensor(z.detach().numpy() if broken else z)
            return self.head(self.norm(z))

    x = rows(256)
    return Program(setup(Net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@asked("LB052")
def same_layer(broken: bool, g: torch.Generator) -> Program:

    def make():
        def block():
            return nn.Sequential(nn.Linear(16, 16), nn.ReLU())

        one = block()
        return nn.Sequential(
            nn.Linear(6, 16), nn.ReLU(), *([one] * 3 if broken else [block() for _ in range(3)]), nn.Linear(16, 3)
        )

    x = rows(256)
    return Program(setup(make, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@asked("LB023")
def loop_not_chained(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.i = nn.Linear(6, 16)
            self.b = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
            self.o = nn.Linear(16, 3)

        def forward(self, x):
            x = F.relu(self.i(x))
            h = x
            for part in self.b:
                h = F.relu(part(x if broken else h))
            return self.o(h)

    x = rows(256)
    return Program(setup(Net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@asked("LB028")
def zero_init(broken: bool, g: torch.Generator) -> Program:

    def make():
        n = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        if broken:
            for m in n:
                if isinstance(m, nn.Linear):
                    nn.init.constant_(m.weight, 0.1)
                    nn.init.zeros_(m.bias)
        return n

    x = rows(256)
    return Program(setup(make, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@asked("LB076")
def keep_prob(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    return Program(
        setup(
            lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(0.9 if broken else 0.1), nn.Linear(32, 3)),
            nn.CrossEntropyLoss(),
        ),
        (x, labels_of(x)),
        {},
    )


@asked("LB058")
def norm_at_zero(broken: bool, g: torch.Generator) -> Program:

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(5, 4)

        def forward(self, a, b):
            return (self.f(a) - self.f(b)).pow(2).sum(1)

    def loss(d2, y):
        d = torch.sqrt(d2 if broken else d2 + 1e-08)
        return (y * d**2 + (1 - y) * F.relu(1 - d) ** 2).mean()

    a = rows(200, 5, 1)
    b = torch.where(torch.arange(200)[:, None] % 4 == 0, a, rows(200, 5, 2))
    return Program(setup(Two, loss), ((a, b), (torch.arange(200) % 4 == 0).float()), {})


@asked("LB065")
def poisson_exp(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = torch.poisson((x[:, :1] * 0.5 + 1).exp(), generator=G(4))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(6, 1)

        def forward(self, x):
            return self.l(x).exp() if broken else self.l(x)

    return Program(setup(Net, nn.PoissonNLLLoss(log_input=True)), (x, y), {})


@asked("LB065")
def kl_not_log(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = (x[:, :4] * 1.5).softmax(1)

    def loss(p, t):
        return F.kl_div(p.softmax(1) if broken else p.log_softmax(1), t, reduction="batchmean")

    return Program(setup(lambda: nn.Linear(6, 4), loss), (x, y), {})


@asked()
def gaussian_raw(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Linear(6, 16)
            self.m = nn.Linear(16, 1)
            self.v = nn.Linear(16, 1)

        def forward(self, x):
            h = torch.tanh(self.b(x))
            return (self.m(h), self.v(h) if broken else F.softplus(self.v(h)) + 0.0001)

    def loss(o, y):
        m, v = o
        v = v.clamp(min=1e-06)
        return (0.5 * (v.log() + (y - m) ** 2 / v)).mean()

    x = rows(300)
    return Program(setup(Net, loss), (x, x[:, :1] + 0.3 * torch.randn(300, 1, generator=G(5))), {})


@asked("LB065")
def cosine_zero_one(broken: bool, g: torch.Generator) -> Program:

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8))

        def forward(self, d):
            return (self.f(d["left"]), self.f(d["right"]))

    crit = nn.CosineEmbeddingLoss(margin=0.2)

    def loss(p, y):
        return crit(p[0], p[1], y)

    a = rows(200, 5, 1)
    same = torch.rand(200, generator=G(6)) > 0.5
    b = torch.where(same[:, None], a + 0.1 * rows(200, 5, 2), rows(200, 5, 3))
    y = same.float() if broken else same.float() * 2 - 1
    return Program(setup(Two, loss), ({"left": a, "right": b}, y), {})
