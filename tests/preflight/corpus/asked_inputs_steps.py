"""Pairs after questions: several inputs, steps of one's own, schedules, validation, outputs."""

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lumbre as lb
from corpus.asked import G, asked, labels_of, rows, setup
from corpus.program import Program


@asked("LB020")
def graph_mean_batch(broken: bool, g: torch.Generator) -> Program:

    class GNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 16)
            self.b = nn.Linear(16, 16)
            self.o = nn.Linear(32, 2)

        def forward(self, g):
            x, adj = (g["x"], g["adj"])
            h = F.relu(self.a(adj @ x))
            h = F.relu(self.b(adj @ h))
            whole = h.mean((0, 1), keepdim=True) if broken else h.mean(1, keepdim=True)
            return self.o(torch.cat([h, whole.expand_as(h)], 2).mean(1))

    x = torch.randn(200, 6, 4, generator=G(1))
    a = (torch.rand(200, 6, 6, generator=G(2)) > 0.6).float()
    a = (a + a.transpose(1, 2) > 0).float() + torch.eye(6)
    a = a / a.sum(2, keepdim=True)
    return Program(setup(GNN, nn.CrossEntropyLoss()), ({"x": x, "adj": a}, (x[:, :, 0].mean(1) > 0).long()), {})


@asked()
def node_mask_forgotten(broken: bool, g: torch.Generator) -> Program:

    class GNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 16)
            self.b = nn.Linear(16, 3)

        def forward(self, x, adj, mask):
            return (self.b(adj @ F.relu(self.a(adj @ x))), mask)

    def loss(p, y):
        s, m = p
        if broken:
            return F.cross_entropy(s.flatten(0, 1), y.flatten())
        return F.cross_entropy(s[m], y[m])

    x = torch.randn(120, 8, 4, generator=G(3))
    a = torch.eye(8).expand(120, 8, 8) * 0.5 + 0.0625
    y = x[:, :, :3].argmax(2)
    m = torch.rand(120, 8, generator=G(4)) < 0.3
    y = torch.where(m, y, 0)
    return Program(setup(GNN, loss), ((x, a, m), y), {})


@asked("LB068")
def siamese_twice(broken: bool, g: torch.Generator) -> Program:

    class Siam(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8))
            self.o = nn.Linear(16, 1)

        def forward(self, a, b):
            u, v = (self.f(a), self.f(a if broken else b))
            return self.o(torch.cat([u * v, (u - v).abs()], 1)).squeeze(1)

    a, b = (rows(300, 5, 1), rows(300, 5, 2))
    return Program(setup(Siam, nn.BCEWithLogitsLoss()), ((a, b), ((a * b).sum(1) > 0).float()), {})


@asked("LB121", "LB107")
def gan_detached(broken: bool, g: torch.Generator) -> Program:

    class GAN(nn.Module):
        def __init__(self):
            super().__init__()
            self.gen = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 4))
            self.dis = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(), nn.Linear(16, 1))

        def forward(self, x):
            return self.gen(torch.randn(len(x), 3))

        def configure_optimizers(self, lr):
            return {"g": optim.Adam(self.gen.parameters(), lr), "d": optim.Adam(self.dis.parameters(), lr)}

        def step(self, ctx):
            real = ctx.batch.input
            fake = self.gen(torch.randn(len(real), 3))
            ctx.minimize(F.softplus(-self.dis(real)).mean() + F.softplus(self.dis(fake.detach())).mean(), "d")
            lg = F.softplus(-self.dis(fake.detach() if broken else fake)).mean()
            ctx.minimize(lg, "g")
            return lg

    x = rows(256, 4)
    return Program(setup(GAN, None, None, lr=0.0002), (x, x), {})


@asked("LB011")
def gan_two_sigmoids(broken: bool, g: torch.Generator) -> Program:

    class GAN(nn.Module):
        def __init__(self):
            super().__init__()
            self.gen = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 4))
            d = [nn.Linear(4, 16), nn.LeakyReLU(), nn.Linear(16, 1)] + ([nn.Sigmoid()] if broken else [])
            self.dis = nn.Sequential(*d)
            self.crit = nn.BCEWithLogitsLoss()

        def forward(self, x):
            return self.gen(torch.randn(len(x), 3))

        def configure_optimizers(self, lr):
            return {"g": optim.Adam(self.gen.parameters(), lr), "d": optim.Adam(self.dis.parameters(), lr)}

        def step(self, ctx):
            real = ctx.batch.input
            one, zero = (torch.ones(len(real), 1), torch.zeros(len(real), 1))
            fake = self.gen(torch.randn(len(real), 3))
            ctx.minimize(self.crit(self.dis(real), one) + self.crit(self.dis(fake.detach()), zero), "d")
            lg = self.crit(self.dis(fake), one)
            ctx.minimize(lg, "g")
            return lg

    x = rows(256, 4)
    return Program(setup(GAN, None, None, lr=0.0002), (x, x), {})


@asked("LB043")
def window_holds_target(broken: bool, g: torch.Generator) -> Program:
    g = torch.cumsum(torch.randn(600, generator=G(5)), 0) * 0.1 + torch.sin(torch.arange(600) / 9)
    w = g.unfold(0, 13, 1)
    x = (w[:, 1:] if broken else w[:, :12]).unsqueeze(2)
    y = w[:, 12:]

    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.LSTM(1, 12, batch_first=True)
            self.o = nn.Linear(12, 1)

        def forward(self, x):
            return self.o(self.l(x)[0][:, -1])

    return Program(setup(R, nn.MSELoss()), (x.clone(), y.clone()), {})


@asked("LB119")
def first_step_read(broken: bool, g: torch.Generator) -> Program:

    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.GRU(2, 12, batch_first=True)
            self.o = nn.Linear(12, 1)

        def forward(self, x):
            return self.o(self.l(x)[0][:, 0 if broken else -1])

    x = torch.randn(256, 10, 2, generator=G(6))
    return Program(setup(R, nn.MSELoss()), (x, x[:, -3:, 0].mean(1, keepdim=True)), {"valid_data": 0.2})


@asked("LB020")
def lstm_rows_as_time(broken: bool, g: torch.Generator) -> Program:

    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.LSTM(3, 12, 2, batch_first=not broken, dropout=0.1)
            self.o = nn.Linear(12, 3)

        def forward(self, x):
            return self.o(self.l(x)[0][:, -1, :])

    x = torch.randn(256, 10, 3, generator=G(7))
    return Program(setup(R, nn.CrossEntropyLoss(), optim.RMSprop), (x, x.sum(1).argmax(1)), {})


@asked("LB078")
def state_kept(broken: bool, g: torch.Generator) -> Program:

    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.GRU(3, 12, batch_first=True)
            self.o = nn.Linear(12, 1)
            self.h = None

        def forward(self, x):
            h0 = self.h if broken and self.h is not None and (self.h.shape[1] == len(x)) else None
            out, h = self.l(x, h0)
            self.h = h.detach()
            return self.o(out[:, -1])

    x = torch.randn(256, 10, 3, generator=G(8))
    return Program(setup(R, nn.MSELoss()), (x, x[:, -2:, 0].sum(1, keepdim=True)), {})


@asked("LB035")
def schedule_per_batch(broken: bool, g: torch.Generator) -> Program:
    x = rows(640)
    s = lb.callbacks.LRScheduler(
        optim.lr_scheduler.StepLR, step_size=1, gamma=0.7, step_on="batch" if broken else "epoch"
    )
    return Program(
        setup(lambda: nn.Linear(6, 3), nn.CrossEntropyLoss()), (x, labels_of(x)), {"callbacks": [s], "epochs": 6}
    )


@asked("LB035")
def warmup_too_long(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    c = lb.callbacks.LRScheduler(
        optim.lr_scheduler.LinearLR, step_on="batch", start_factor=0.001, total_iters=40000 if broken else 8
    )
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), nn.CrossEntropyLoss()),
        (x, labels_of(x)),
        {"callbacks": [c]},
    )


@asked("LB034")
def decay_too_strong(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    return Program(
        setup(
            lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
            nn.CrossEntropyLoss(),
            optim.Adam,
            0.001,
            weight_decay=5.0 if broken else 0.0001,
        ),
        (x, labels_of(x)),
        {},
    )


@asked("LB033", "LB074")
def rate_too_small(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    return Program(
        setup(
            lambda: nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)),
            nn.CrossEntropyLoss(),
            optim.SGD,
            1e-08 if broken else 0.1,
            momentum=0.9,
        ),
        (x, labels_of(x)),
        {},
    )


@asked("LB120")
def head_frozen(broken: bool, g: torch.Generator) -> Program:

    def make():
        n = nn.Sequential()
        n.add_module("body", nn.Sequential(nn.Linear(6, 32), nn.ReLU()))
        n.add_module("fc", nn.Linear(32, 3))
        for k, p in n.named_parameters():
            p.requires_grad_(k.startswith("body") if broken else k.startswith("fc"))
        return n

    x = rows(256)
    return Program(setup(make, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@asked("LB022")
def optimizer_partial(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 16))
            self.dec = nn.Linear(16, 1)

        def forward(self, x):
            return self.dec(F.relu(self.enc(x)))

        def configure_optimizers(self, lr):
            return optim.Adam(self.dec.parameters() if broken else self.parameters(), lr)

    x = rows(256)
    return Program(setup(Net, nn.MSELoss(), None), (x, x[:, :1] - x[:, 1:2] ** 2), {})


@asked("LB114")
def mean_divided_again(broken: bool, g: torch.Generator) -> Program:

    def loss(p, y):
        part = F.cross_entropy(p, y)
        return part / len(y) if broken else part

    x = rows(256)
    return Program(setup(lambda: nn.Linear(6, 3), loss, optim.SGD, 0.1), (x, labels_of(x)), {"batch_size": 64})


@asked("LB038", "LB039")
def scaled_twice(broken: bool, g: torch.Generator) -> Program:
    img = torch.randint(0, 256, (200, 3, 8, 8), generator=G(9)).float() / 255
    y = (img[:, 0].mean((1, 2)) > img[:, 1].mean((1, 2))).long()
    return Program(
        setup(
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
            ),
            nn.CrossEntropyLoss(),
        ),
        (img / 255 if broken else (img - 0.5) / 0.29, y),
        {},
    )


@asked("LB042")
def valid_not_scaled(broken: bool, g: torch.Generator) -> Program:
    x = rows(300) * torch.tensor([1, 5, 20, 3, 9, 2.0]) + torch.tensor([3, 40, 100, -5, 0, 2.0])
    y = labels_of(rows(300))
    m, s = (x[:240].mean(0), x[:240].std(0))
    tr = (x[:240] - m) / s
    va = x[240:] if broken else (x[240:] - m) / s
    return Program(setup(lambda: nn.Linear(6, 3), nn.CrossEntropyLoss()), (tr, y[:240]), {"valid_data": (va, y[240:])})


@asked("LB091")
def augment_not_mask(broken: bool, g: torch.Generator) -> Program:
    x = torch.rand(64, 1, 16, 16, generator=G(10))
    y = (F.avg_pool2d(x, 3, 1, 1) > 0.5).float()
    aug = (
        lb.vision.Augment([lb.vision.RandomHorizontalFlip(), lb.vision.RandomCrop(16, padding=2)])
        if broken
        else lb.vision.Augment([lb.vision.ColorJitter(brightness=0.2)])
    )
    return Program(
        setup(
            lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)), nn.BCEWithLogitsLoss()
        ),
        (x, y),
        {"augment": aug},
    )


@asked("LB041")
def oversampled_first(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = (x[:, 0] > 1).long()
    rare = (y == 1).nonzero().flatten()
    i = torch.cat([torch.arange(300), rare.repeat(3)]) if broken else torch.arange(300)
    ds = TensorDataset(x[i], y[i])
    a, b = torch.utils.data.random_split(ds, [len(ds) - 80, 80], generator=G(1))
    return Program(
        setup(lambda: nn.Linear(6, 2), nn.CrossEntropyLoss()),
        DataLoader(a, 32, shuffle=True),
        {"valid_data": DataLoader(b, 32)},
    )


@asked("LB045")
def sorted_not_shuffled(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = labels_of(x)
    o = y.argsort()

    class DS(Dataset):
        def __len__(self):
            return 300

        def __getitem__(self, i):
            return (x[o[i]], y[o[i]])

    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), nn.CrossEntropyLoss()),
        DataLoader(DS(), batch_size=20, shuffle=not broken),
        {},
    )


@asked("LB086")
def windows_overlap(broken: bool, g: torch.Generator) -> Program:
    s = torch.cumsum(torch.randn(500, generator=G(11)), 0) * 0.2
    w = s.unfold(0, 11, 1).clone()
    x, y = (w[:, :10].unsqueeze(1), w[:, 10:])
    p = torch.randperm(len(x), generator=G(3)) if broken else torch.arange(len(x))
    tr, va = (p[:390], p[390:]) if broken else (p[:380], p[400:])

    def net():
        return nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1))

    return Program(setup(net, nn.MSELoss()), (x[tr], y[tr]), {"valid_data": (x[va], y[va])})


@asked("LB065")
def softmax_multilabel(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = (x @ torch.randn(6, 4, generator=G(12)) > -0.5).float()
    return Program(
        setup(
            lambda: nn.Sequential(
                nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(1) if broken else nn.Sigmoid()
            ),
            nn.BCELoss(),
        ),
        (x, y),
        {},
    )


@asked("LB065")
def ce_multihot(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = (x @ torch.randn(6, 4, generator=G(12)) > -0.5).float()
    return Program(
        setup(lambda: nn.Linear(6, 4), nn.CrossEntropyLoss() if broken else nn.MultiLabelSoftMarginLoss()),
        (x, y),
        {"valid_data": 0.2},
    )


@asked("LB017")
def labels_minus_one(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = torch.sign(x[:, :1] + 0.3 * x[:, 1:2])

    def loss(p, t):
        return F.binary_cross_entropy_with_logits(p, t)

    return Program(setup(lambda: nn.Linear(6, 1), loss), (x, y if broken else (y + 1) / 2), {})


@asked("LB015")
def relu_end_regression(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Linear(6, 32), nn.Linear(32, 1))

        def forward(self, x):
            h = F.relu(self.a(x))
            return F.relu(self.b(h)) if broken else self.b(h)

    x = rows(300)
    return Program(setup(Net, nn.L1Loss()), (x, x[:, :1] + x[:, 1:2]), {})


@asked("LB015")
def tanh_pixels(broken: bool, g: torch.Generator) -> Program:
    x = torch.rand(100, 1, 12, 12, generator=G(13))
    t = x * 255 if broken else x * 2 - 1
    return Program(
        setup(
            lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1), nn.Tanh()),
            nn.MSELoss(),
        ),
        (x * 2 - 1, t),
        {},
    )


@asked("LB015")
def relu_scores(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.ModuleList([nn.Linear(6, 32), nn.Linear(32, 5)])

        def forward(self, x):
            for i, part in enumerate(self.l):
                x = part(x)
                if broken or i == 0:
                    x = torch.relu(x)
            return x

    x = rows(300)
    return Program(setup(Net, nn.CrossEntropyLoss()), (x, labels_of(x, 5)), {})
