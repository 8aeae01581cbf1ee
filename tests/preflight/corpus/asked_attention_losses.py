"""Pairs after questions: attention, sequences, padding, losses."""

import torch
from torch import nn, optim
from torch.nn import functional as F

from corpus.asked import G, asked, labels_of, padded, rows, setup, tokens
from corpus.program import Program


@asked("LB020")
def att_softmax_batch(broken: bool, g: torch.Generator) -> Program:

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(5, 1)
            self.out = nn.Linear(5, 3)

        def forward(self, bag):
            w = torch.softmax(self.score(bag), dim=0 if broken else 1)
            return self.out((w * bag).sum(1))

    x = torch.randn(240, 7, 5, generator=G(1))
    return Program(setup(Pool, nn.CrossEntropyLoss()), (x, labels_of(x.mean(1))), {})


@asked("LB019", "LB071")
def att_softmax_single(broken: bool, g: torch.Generator) -> Program:

    class Att(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(4, 8, batch_first=True)
            self.attn = nn.Linear(8, 1)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            h, _ = self.rnn(x)
            e = self.attn(h)
            a = F.softmax(e, dim=2 if broken else 1)
            return self.head((a * h).sum(1))

    x = torch.randn(200, 9, 4, generator=G(2))
    return Program(
        setup(Att, nn.CrossEntropyLoss(), optim.AdamW), (x, (x[:, :, 0].mean(1) > 0).long()), {"valid_data": 0.2}
    )


@asked("LB081")
def view_not_permute(broken: bool, g: torch.Generator) -> Program:

    class Cap(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 12, 3, 2, 1))
            self.att = nn.MultiheadAttention(12, 2, batch_first=True)
            self.head = nn.Linear(12, 4)

        def forward(self, img):
            f = self.cnn(img)
            b, c, h, w = f.shape
            seq = f.view(b, h * w, c) if broken else f.permute(0, 2, 3, 1).reshape(b, h * w, c)
            a, _ = self.att(seq, seq, seq)
            return self.head(a.mean(1))

    x = torch.rand(160, 3, 16, 16, generator=G(3))
    return Program(setup(Cap, nn.CrossEntropyLoss()), (x - 0.5, labels_of(x.mean((2, 3)), 4)), {})


@asked("LB020", "LB081")
def bi_hidden_view(broken: bool, g: torch.Generator) -> Program:

    class Enc(nn.Module):
        def __init__(self, h=10):
            super().__init__()
            self.emb = nn.Embedding(30, 8)
            self.lstm = nn.LSTM(8, h, bidirectional=True, batch_first=True)
            self.fc = nn.Linear(2 * h, 2)

        def forward(self, t):
            _, (h, _) = self.lstm(self.emb(t))
            h = h.reshape(t.shape[0], -1) if broken else torch.cat([h[0], h[1]], 1)
            return self.fc(h)

    t = torch.randint(0, 30, (300, 8), generator=G(4))
    return Program(setup(Enc, nn.CrossEntropyLoss()), (t, (t[:, 0] > 14).long()), {"batch_size": 25})


@asked("LB020")
def no_batch_first(broken: bool, g: torch.Generator) -> Program:

    class T(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(3, 16)
            layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=not broken)
            self.enc = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.out = nn.Linear(16, 1)

        def forward(self, x):
            return self.out(self.enc(self.up(x)).mean(1)).squeeze(1)

    x = torch.randn(256, 6, 3, generator=G(5))
    return Program(setup(T, nn.MSELoss()), (x, x[:, :, 0].sum(1) / 3), {})


@asked("LB020")
def pos_along_batch(broken: bool, g: torch.Generator) -> Program:

    class Pos(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 16)
            self.register_buffer("pe", torch.randn(64, 16, generator=G(6)))
            self.enc = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
            self.out = nn.Linear(16, 2)

        def forward(self, t):
            e = self.emb(t)
            e = e + (self.pe[: e.size(0)].unsqueeze(1) if broken else self.pe[: e.size(1)].unsqueeze(0))
            return self.out(self.enc(e).mean(1))

    t = torch.randint(0, 20, (256, 10), generator=G(6))
    return Program(setup(Pos, nn.CrossEntropyLoss()), (t, (t[:, 0] > t[:, -1]).long()), {})


@asked("LB084")
def pos_one_slice(broken: bool, g: torch.Generator) -> Program:

    class Pos(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(20, 16)
            self.register_buffer("pe", torch.randn(1, 64, 16, generator=G(7)))
            self.enc = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
            self.out = nn.Linear(16, 2)

        def forward(self, t):
            e = self.emb(t)
            e = e + (self.pe[:, t.shape[1]].unsqueeze(1) if broken else self.pe[:, : t.shape[1]])
            return self.out(self.enc(e).mean(1))

    t = torch.randint(0, 20, (256, 10), generator=G(7))
    return Program(setup(Pos, nn.CrossEntropyLoss()), (t, (t[:, 0] > t[:, -1]).long()), {})


@asked("LB032")
def functional_dropout(broken: bool, g: torch.Generator) -> Program:

    class D(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 32)
            self.b = nn.Linear(32, 1)

        def forward(self, x):
            h = F.relu(self.a(x))
            h = F.dropout(h, 0.3) if broken else F.dropout(h, 0.3, training=self.training)
            return self.b(h)

    x = rows()
    return Program(setup(D, nn.SmoothL1Loss()), (x, x[:, :1] * 2 + x[:, 1:2]), {"valid_data": 0.25})


@asked("LB026")
def list_of_layers(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            ls = [nn.Linear(6, 6) for _ in range(2)]
            self.hidden = ls if broken else nn.ModuleList(ls)
            self.out = nn.Linear(6, 3)

        def forward(self, x):
            for part in self.hidden:
                x = torch.tanh(part(x))
            return self.out(x)

    x = rows()
    return Program(setup(Net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@asked("LB023", "LB115")
def term_by_argmax(broken: bool, g: torch.Generator) -> Program:

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
            self.coarse = nn.Linear(16, 2)
            self.fine = nn.Linear(16, 4)

        def forward(self, x):
            h = self.body(x)
            return {"coarse": self.coarse(h), "fine": self.fine(h)}

    def loss(p, y):
        base = F.cross_entropy(p["fine"], y)
        if broken:
            return base + (p["coarse"].argmax(1) != y // 2).float().mean()
        return base + F.cross_entropy(p["coarse"], y // 2)

    x = rows()
    return Program(setup(Two, loss), (x, labels_of(x, 4)), {})


@asked("LB094", "LB112", "LB067")
def vae_kl_sign(broken: bool, g: torch.Generator) -> Program:

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Linear(20, 16)
            self.m = nn.Linear(16, 3)
            self.v = nn.Linear(16, 3)
            self.d = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 20))

        def forward(self, x):
            h = F.relu(self.e(x))
            m, v = (self.m(h), self.v(h))
            z = m + torch.randn_like(m) * (0.5 * v).exp() if self.training else m
            return (self.d(z), m, v)

        def loss(self, out, x):
            r, m, v = out
            kl = -0.5 * (1 + v - m**2 - v.exp()).sum(1).mean()
            return F.mse_loss(r, x, reduction="sum") / len(x) + (-kl if broken else kl)

    x = torch.randn(256, 4, generator=G(1)) @ torch.randn(4, 20, generator=G(2)) / 2
    return Program(setup(VAE), (x, x), {})


@asked("LB114")
def vae_sum_beside_mean(broken: bool, g: torch.Generator) -> Program:

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Linear(20, 16)
            self.m = nn.Linear(16, 3)
            self.v = nn.Linear(16, 3)
            self.d = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 20))

        def forward(self, x):
            h = F.relu(self.e(x))
            m, v = (self.m(h), self.v(h))
            z = m + torch.randn_like(m) * (0.5 * v).exp() if self.training else m
            return (self.d(z), m, v)

    def loss(out, x):
        r, m, v = out
        k = -0.5 * (1 + v - m**2 - v.exp())
        return F.mse_loss(r, x) + (k.sum() if broken else k.sum(1).mean() / 20)

    x = torch.randn(256, 4, generator=G(1)) @ torch.randn(4, 20, generator=G(2)) / 2
    return Program(setup(VAE, loss), (x, x), {})


@asked("LB117")
def focal_mean_first(broken: bool, g: torch.Generator) -> Program:

    def focal(p, y):
        ce = F.cross_entropy(p, y, reduction="mean" if broken else "none")
        return ((1 - torch.exp(-ce)) ** 2 * ce).mean()

    x = rows()
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), focal), (x, labels_of(x)), {}
    )


@asked("LB066")
def weights_by_count(broken: bool, g: torch.Generator) -> Program:
    x = rows(400)
    y = (x[:, 0] + 0.5 * rows(400, 6, 9)[:, 0] > 1.4).long()
    n = torch.bincount(y).float()
    w = n / n.sum() if broken else n.sum() / n / 2
    return Program(setup(lambda: nn.Linear(6, 2), nn.CrossEntropyLoss(weight=w)), (x, y), {"valid_data": 0.2})


@asked("LB066")
def pos_weight_inverted(broken: bool, g: torch.Generator) -> Program:
    x = rows(400)
    y = (x[:, :1] + 0.5 * rows(400, 6, 9)[:, :1] > 1.5).float()
    r = y.mean().item()
    w = r / (1 - r) if broken else (1 - r) / r
    return Program(setup(lambda: nn.Linear(6, 1), nn.BCEWithLogitsLoss(pos_weight=torch.tensor([w]))), (x, y), {})


@asked("LB067")
def dice_not_turned(broken: bool, g: torch.Generator) -> Program:

    def dice(p, t):
        p = p.sigmoid()
        i = (p * t).sum((1, 2, 3))
        c = (2 * i + 1) / (p.sum((1, 2, 3)) + t.sum((1, 2, 3)) + 1)
        return c.mean() if broken else 1 - c.mean()

    x = torch.randn(120, 1, 12, 12, generator=G(3))
    y = (F.avg_pool2d(x, 3, 1, 1) > 0.2).float()
    return Program(
        setup(lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)), dice, lr=0.01),
        (x, y),
        {},
    )


@asked("LB067")
def dice_on_logits(broken: bool, g: torch.Generator) -> Program:

    class Dice(nn.Module):
        def forward(self, p, t):
            p = p if broken else torch.sigmoid(p)
            p, t = (p.flatten(1), t.flatten(1))
            return 1 - ((2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()

    x = torch.randn(120, 1, 12, 12, generator=G(3))
    y = (F.avg_pool2d(x, 3, 1, 1) > 0.2).float()
    return Program(
        setup(lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)), Dice()), (x, y), {}
    )


@asked("LB017")
def mask_255(broken: bool, g: torch.Generator) -> Program:
    x = torch.rand(80, 1, 16, 16, generator=G(4))
    y = (F.avg_pool2d(x, 3, 1, 1) > 0.5).float() * (255 if broken else 1)
    return Program(
        setup(
            lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)), nn.BCEWithLogitsLoss()
        ),
        (x, y),
        {},
    )


class LM(nn.Module):
    def __init__(self, v=20, causal=True, pos=True):
        super().__init__()
        self.emb = nn.Embedding(v, 16)
        self.pos = nn.Parameter(torch.randn(32, 16) * 0.1)
        self.enc = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.out = nn.Linear(16, v)
        self.causal = causal

    def forward(self, t):
        L = t.shape[1]
        m = nn.Transformer.generate_square_subsequent_mask(L) if self.causal else None
        return self.out(self.enc(self.emb(t) + self.pos[:L], src_mask=m)).transpose(1, 2)


@asked("LB118")
def pad_in_loss(broken: bool, g: torch.Generator) -> Program:
    t, _ = padded(256, 13, 20, least=3)
    return Program(
        setup(LM, nn.CrossEntropyLoss() if broken else nn.CrossEntropyLoss(ignore_index=0)), (t[:, :-1], t[:, 1:]), {}
    )


@asked("LB077", "LB043")
def not_shifted(broken: bool, g: torch.Generator) -> Program:
    t = tokens(256, 13)
    return Program(setup(LM, nn.CrossEntropyLoss()), (t, t) if broken else (t[:, :-1], t[:, 1:]), {})


@asked("LB077")
def no_causal(broken: bool, g: torch.Generator) -> Program:
    t = tokens(256, 13, seed=3)
    return Program(setup(lambda: LM(causal=not broken), nn.CrossEntropyLoss()), (t[:, :-1], t[:, 1:]), {})


class Masked(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.emb = nn.Embedding(20, 16, padding_idx=0)
        self.pos = nn.Parameter(torch.randn(32, 16) * 0.1)
        self.how = how
        self.enc = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.out = nn.Linear(16, 2)

    def forward(self, t):
        pad = t == 0
        e = self.emb(t) + self.pos[: t.shape[1]]
        k = {"right": pad, "turned": ~pad, "none": None}[self.how]
        h = self.enc(e, src_key_padding_mask=k)
        w = (~pad).float().unsqueeze(2)
        return self.out((h * w).sum(1) / w.sum(1))


@asked("LB083")
def mask_turned(broken: bool, g: torch.Generator) -> Program:
    t, _n = padded(256, 10, 20, least=3)
    return Program(
        setup(lambda: Masked("turned" if broken else "right"), nn.CrossEntropyLoss()),
        (t, (t[:, 1] > t[:, 0]).long()),
        {},
    )


@asked("LB083")
def mask_none(broken: bool, g: torch.Generator) -> Program:
    t, _n = padded(256, 10, 20, least=3)
    return Program(
        setup(lambda: Masked("none" if broken else "right"), nn.CrossEntropyLoss()), (t, (t[:, 1] > t[:, 0]).long()), {}
    )


@asked("LB083")
def mask_wrong_axis(broken: bool, g: torch.Generator) -> Program:

    class Att(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 12, padding_idx=0)
            self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
            self.o = nn.Linear(12, 2)

        def forward(self, t):
            keep = t != 0
            x = self.e(t)
            a = self.q(x) @ self.k(x).transpose(1, 2) / 12**0.5
            m = keep.unsqueeze(2) if broken else keep.unsqueeze(1)
            a = a.masked_fill(~m, -10000.0).softmax(-1)
            h = a @ self.v(x)
            return self.o(h[:, 0])

    t, _n = padded(256, 10, 20, seed=5)
    return Program(setup(Att, nn.CrossEntropyLoss()), (t, (t[:, 1] > t[:, 0]).long()), {})


@asked("LB083")
def last_of_padded(broken: bool, g: torch.Generator) -> Program:

    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 8, padding_idx=0)
            self.g = nn.GRU(8, 12, batch_first=True)
            self.o = nn.Linear(12, 2)

        def forward(self, t):
            h, _ = self.g(self.e(t))
            last = (t != 0).sum(1) - 1
            return self.o(h[:, -1] if broken else h[torch.arange(len(t)), last])

    t, _n = padded(300, 14, 20, least=2, seed=8)
    return Program(setup(R, nn.CrossEntropyLoss()), (t, (t[:, 0] > 9).long()), {})


@asked("LB083")
def mean_over_pad(broken: bool, g: torch.Generator) -> Program:

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(20, 8)
            self.o = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

        def forward(self, t):
            e = self.e(t)
            if broken:
                return self.o(e.mean(1))
            m = (t > 0).float().unsqueeze(2)
            return self.o((e * m).sum(1) / m.sum(1))

    t, _n = padded(300, 14, 20, least=2, seed=9)
    return Program(setup(Bag, nn.BCEWithLogitsLoss()), (t, (t[:, :1] > 9).float()), {})
