"""Pairs after questions: terms, dimensions, chance, what is not used."""

import torch
from torch import nn, optim
from torch.nn import functional as F

import lumbre as lb
from corpus.asked import G, asked, labels_of, rows, setup, tokens
from corpus.program import Program


@asked("LB040")
def channels_last(broken: bool, g: torch.Generator) -> Program:
    x = torch.rand(160, 16, 16, 3, generator=G(7))
    y = x.mean((1, 2)).argmax(1)
    if broken:
        return Program(
            setup(
                lambda: nn.Sequential(
                    nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
                ),
                nn.CrossEntropyLoss(),
            ),
            (x - 0.5, y),
            {},
        )
    return Program(
        setup(
            lambda: nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
            ),
            nn.CrossEntropyLoss(),
        ),
        (x.permute(0, 3, 1, 2).contiguous() - 0.5, y),
        {},
    )


@asked("LB050", "LB116")
def term_dominates(broken: bool, g: torch.Generator) -> Program:

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Linear(6, 16)
            self.c = nn.Linear(16, 3)
            self.r = nn.Linear(16, 1)

        def forward(self, x):
            h = F.relu(self.b(x))
            return (self.c(h), self.r(h))

    def loss(p, y):
        return F.cross_entropy(p[0], y["kind"]) + F.mse_loss(p[1], y["mass"])

    x = rows(256)
    m = 4000 + 900 * x[:, :1]
    return Program(setup(Two, loss), (x, {"kind": labels_of(x), "mass": m if broken else (m - 4000) / 900}), {})


@asked("LB023")
def unet_unused(broken: bool, g: torch.Generator) -> Program:

    class U(nn.Module):
        def __init__(self):
            super().__init__()
            self.d = nn.Conv2d(1, 8, 3, padding=1)
            self.m = nn.Conv2d(8, 8, 3, padding=1)
            self.u = nn.ConvTranspose2d(8, 8, 2, 2)
            self.o = nn.Conv2d(8 if broken else 16, 1, 1)

        def forward(self, x):
            a = F.relu(self.d(x))
            b = F.relu(self.m(F.max_pool2d(a, 2)))
            u = self.u(b)
            return self.o(a) if broken else self.o(torch.cat([a, u], 1))

    x = torch.rand(80, 1, 12, 12, generator=G(8)) - 0.5
    y = (F.avg_pool2d(x, 3, 1, 1) > 0).float()
    return Program(setup(U, nn.BCEWithLogitsLoss()), (x, y), {})


@asked()
def masked_mean_all(broken: bool, g: torch.Generator) -> Program:

    def loss(p, y):
        m = (y["m"] > 0).float()
        e = (p - y["y"]) ** 2 * m
        return e.mean() if broken else e.sum() / m.sum()

    x = rows(256, 6)
    y = torch.stack([x[:, 0], x[:, 1], x[:, 2]], 1)
    m = (torch.rand(256, 3, generator=G(9)) < 0.2).float()
    return Program(setup(lambda: nn.Linear(6, 3), loss), (x, {"y": y, "m": m}), {})


@asked("LB089")
def stop_wrong_way(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    return Program(
        setup(lambda: nn.Linear(6, 3), nn.CrossEntropyLoss(), metrics=lb.metrics.Accuracy()),
        (x, labels_of(x)),
        {
            "valid_data": 0.2,
            "callbacks": [lb.callbacks.EarlyStopping("valid_acc", patience=2, mode="min" if broken else "max")],
        },
    )


@asked("LB074")
def clip_tiny(broken: bool, g: torch.Generator) -> Program:
    x = rows(256)
    return Program(
        setup(
            lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), nn.CrossEntropyLoss(), optim.SGD, 0.1
        ),
        (x, labels_of(x)),
        {"callbacks": [lb.callbacks.GradientClip(1e-05 if broken else 1.0)]},
    )


@asked("LB077", "LB043")
def decoder_not_shifted(broken: bool, g: torch.Generator) -> Program:

    class S2S(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(22, 12)
            self.enc = nn.GRU(12, 16, batch_first=True)
            self.dec = nn.GRU(12, 16, batch_first=True)
            self.o = nn.Linear(16, 22)

        def forward(self, src, tgt):
            _, h = self.enc(self.e(src))
            return self.o(self.dec(self.e(tgt), h)[0]).transpose(1, 2)

    src = tokens(256, 8, 20, 1)
    tgt = src.flip(1)
    start = torch.full((256, 1), 21)
    return Program(
        setup(S2S, nn.CrossEntropyLoss()), ((src, tgt if broken else torch.cat([start, tgt[:, :-1]], 1)), tgt), {}
    )


@asked("LB082")
def softmax_queries(broken: bool, g: torch.Generator) -> Program:

    class Att(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 12) for _ in range(3))
            self.o = nn.Linear(12, 2)

        def forward(self, x):
            a = self.q(x) @ self.k(x).transpose(1, 2) / 12**0.5
            return self.o((torch.softmax(a, dim=1 if broken else -1) @ self.v(x))[:, 0])

    x = torch.randn(256, 7, 6, generator=G(10))
    return Program(setup(Att, nn.CrossEntropyLoss()), (x, (x[:, 0, 0] > 0).long()), {})


@asked("LB081")
def heads_by_view(broken: bool, g: torch.Generator) -> Program:

    class MHA(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24)
            self.o = nn.Linear(8, 8)
            self.h = nn.Linear(8, 20)
            self.e = nn.Embedding(20, 8)

        def forward(self, t):
            x = self.e(t)
            b, L, d = x.shape

            def heads(z):
                return z.view(b, 2, L, 4) if broken else z.view(b, L, 2, 4).transpose(1, 2)

            q, k, v = (heads(z.contiguous()) for z in self.qkv(x).chunk(3, 2))
            m = torch.ones(L, L, dtype=torch.bool).tril()
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=m)
            y = y.reshape(b, L, d) if broken else y.transpose(1, 2).reshape(b, L, d)
            return self.h(F.relu(self.o(y)) + x).transpose(1, 2)

    t = tokens(256, 13, 20, 4)
    return Program(setup(MHA, nn.CrossEntropyLoss()), (t[:, :-1], t[:, 1:]), {})


@asked("LB122")
def sampled_in_eval(broken: bool, g: torch.Generator) -> Program:

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Linear(6, 16), nn.Linear(16, 3))

        def forward(self, x):
            h = torch.tanh(self.a(x))
            if broken or self.training:
                h = h + 0.5 * torch.randn_like(h)
            return self.b(h)

    x = rows(256)
    return Program(setup(Noisy, nn.CrossEntropyLoss()), (x, labels_of(x)), {"valid_data": 0.2})


@asked("LB033", "LB072")
def rates_apart(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Linear(6, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return self.head(F.relu(self.enc(x)))

        def configure_optimizers(self, lr):
            return optim.Adam(
                [
                    {"params": self.enc.parameters(), "lr": lr * (1e-07 if broken else 0.1)},
                    {"params": self.head.parameters()},
                ],
                lr,
            )

    x = rows(256)
    return Program(setup(Net, nn.CrossEntropyLoss(), None), (x, labels_of(x)), {})


@asked("LB068", "LB023")
def time_unused(broken: bool, g: torch.Generator) -> Program:

    class Den(nn.Module):
        def __init__(self):
            super().__init__()
            self.t = nn.Embedding(50, 16)
            self.a = nn.Linear(6, 16)
            self.b = nn.Linear(16, 6)

        def forward(self, x, t):
            h = self.a(x)
            e = self.t(t)
            return self.b(F.silu(h if broken else h + e))

    x0 = rows(256)
    t = torch.randint(0, 50, (256,), generator=G(11))
    n = rows(256, 6, 12)
    a = 1 - t[:, None] / 60
    return Program(setup(Den, nn.MSELoss()), ((a.sqrt() * x0 + (1 - a).sqrt() * n, t), n), {})


@asked("LB094", "LB112", "LB067")
def reinforce_sign(broken: bool, g: torch.Generator) -> Program:

    def loss(p, y):
        lp = p.log_softmax(1).gather(1, y["action"][:, None])[:, 0]
        return (lp * y["gain"]).mean() * (1 if broken else -1)

    x = rows(256)
    act = torch.randint(0, 3, (256,), generator=G(13))
    gain = (act == labels_of(x)).float()
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), loss),
        (x, {"action": act, "gain": gain}),
        {},
    )


@asked("LB063")
def valid_other_shape(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = x[:, 0] + x[:, 1]
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)), nn.MSELoss()),
        (x[:240], y[:240, None]),
        {"valid_data": (x[240:], y[240:] if broken else y[240:, None])},
    )


@asked("LB042")
def valid_one_class(broken: bool, g: torch.Generator) -> Program:
    x = rows(300)
    y = labels_of(x)
    o = y.argsort() if broken else torch.arange(300)
    x, y = (x[o], y[o])
    return Program(
        setup(lambda: nn.Linear(6, 3), nn.CrossEntropyLoss()), (x[:250], y[:250]), {"valid_data": (x[250:], y[250:])}
    )


@asked("LB114")
def sum_loss(broken: bool, g: torch.Generator) -> Program:
    x = rows(512)
    return Program(
        setup(
            lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
            nn.CrossEntropyLoss(reduction="sum" if broken else "mean"),
            optim.SGD,
            0.1,
        ),
        (x, labels_of(x)),
        {"batch_size": 128},
    )


@asked("LB019")
def softmax_one_channel(broken: bool, g: torch.Generator) -> Program:
    x = torch.rand(80, 1, 12, 12, generator=G(14)) - 0.5
    y = (F.avg_pool2d(x, 3, 1, 1) > 0).float()
    return Program(
        setup(
            lambda: nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(8, 1, 1),
                nn.Softmax(dim=1) if broken else nn.Sigmoid(),
            ),
            nn.BCELoss(),
        ),
        (x, y),
        {},
    )


@asked("LB023")
def encoder_detached(broken: bool, g: torch.Generator) -> Program:

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            self.im = nn.Sequential(nn.Flatten(), nn.Linear(48, 8))
            self.tx = nn.EmbeddingBag(20, 8)
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, b):
            i = F.normalize(self.im(b["image"]), dim=1)
            t = F.normalize(self.tx(b["text"]), dim=1)
            if broken:
                i = i.detach()
            return self.scale.exp() * i @ t.T

    def loss(p, _):
        k = torch.arange(len(p))
        return (F.cross_entropy(p, k) + F.cross_entropy(p.T, k)) / 2

    t = torch.randint(0, 20, (256, 4), generator=G(15))
    im = torch.randn(256, 3, 4, 4, generator=G(16)) * 0.3 + F.one_hot(t, 20).sum(1).float()[:, :16].reshape(
        256, 1, 4, 4
    )
    return Program(setup(Clip, loss), ({"image": im, "text": t}, torch.zeros(256)), {})


@asked("LB068")
def slice_off(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.num = nn.Linear(4, 16)
            self.cat = nn.Embedding(5, 8)
            self.o = nn.Linear(24, 1)

        def forward(self, x):
            n = x[:, :4]
            c = x[:, 4].long() if not broken else (x[:, 4] * 0).long()
            return self.o(torch.cat([F.relu(self.num(n)), self.cat(c)], 1))

    x = torch.cat([rows(256, 4), torch.randint(0, 5, (256, 1), generator=G(17)).float()], 1)
    return Program(setup(Net, nn.MSELoss()), (x, x[:, :1] + x[:, 4:] / 3), {})
