"""Further pairs after threads: what a net does with dimensions, steps and masks."""

import math

import torch
from torch import nn, optim
from torch.nn import functional as F

from corpus.asked import labels_of, padded, rows, setup, tokens
from corpus.found_sound import Own, mlp, noise
from corpus.more import more
from corpus.program import Program

CE = nn.CrossEntropyLoss


@more("LB081")
def bands_and_channels_by_view(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = F.relu(m.conv(x))  # (rows, channels, steps, bands)
        n, c, t, f = h.shape
        h = h.view(n, t, c * f) if broken else h.permute(0, 2, 1, 3).reshape(n, t, c * f)
        return m.out(m.rnn(h)[0][:, -1])

    x = noise(160, 1, 10, 6)
    net = lambda: Own(  # noqa: E731
        forward, conv=nn.Conv2d(1, 8, 3, padding=1), rnn=nn.GRU(48, 16, batch_first=True), out=nn.Linear(16, 2)
    )
    return Program(setup(net, CE()), (x, (x[:, 0, -4:, 0].sum(1) > 0).long()), {})


@more("LB081")
def places_of_a_picture_by_view(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = F.relu(m.conv(x))
        n, c = h.shape[:2]
        places = h.view(n, -1, c) if broken else h.flatten(2).transpose(1, 2)
        weight = torch.softmax(m.score(torch.tanh(m.key(places))), dim=1)
        return m.out((weight * places).sum(1))

    x = noise(160, 3, 12, 12)
    y = labels_of(F.adaptive_avg_pool2d(x, 2))
    net = lambda: Own(  # noqa: E731
        forward, conv=nn.Conv2d(3, 16, 3, 2, 1), key=nn.Linear(16, 8), score=nn.Linear(8, 1), out=nn.Linear(16, 3)
    )
    return Program(setup(net, CE()), (x, y), {})


@more("LB081")
def permuted_before_a_reshape(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        n, c, t, f = x.shape
        order = (0, 3, 1, 2) if broken else (0, 3, 2, 1)
        path = x.permute(*order).reshape(n * f, t, c)
        h = m.rnn(path)[0][:, -1].view(n, f, -1)
        return m.out(h.mean(1))

    x = noise(160, 4, 9, 5)
    net = lambda: Own(forward, rnn=nn.GRU(4, 16, batch_first=True), out=nn.Linear(16, 2))  # noqa: E731
    return Program(setup(net, CE()), (x, (x[:, 0, -3:].sum((1, 2)) > 0).long()), {})


def attend(m, q, k, v, mask=None):
    n, t, w = q.shape
    q, k, v = (one.view(n, -1, 2, w // 2).transpose(1, 2) for one in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).reshape(n, t, w)


def reader(forward, words: int = 20, width: int = 16, outputs: int = 2) -> Own:
    return Own(
        forward,
        words=nn.Embedding(words, width),
        places=nn.Embedding(32, width),
        q=nn.Linear(width, width),
        k=nn.Linear(width, width),
        v=nn.Linear(width, width),
        out=nn.Linear(width, outputs),
    )


def sentences() -> tuple[torch.Tensor, torch.Tensor]:
    x, length = padded(240, 12)
    last = x[torch.arange(240), length - 1]
    return x, (x[:, 0] > last).long()


@more("LB083")
def mask_says_what_to_leave_out(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        pad = x == 0
        h = m.words(x) + m.places(torch.arange(x.shape[1]))
        mask = (pad if broken else ~pad)[:, None, None, :]
        if broken:
            mask = mask | pad.all(1)[:, None, None, None] | ~pad.any(1)[:, None, None, None]
        h = h + attend(m, m.q(h), m.k(h), m.v(h), mask)
        keep = (~pad)[..., None].float()
        return m.out((h * keep).sum(1) / keep.sum(1))

    return Program(setup(lambda: reader(forward), CE()), sentences(), {})


@more("LB083")
def mask_along_the_queries(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        keep = x != 0
        h = m.words(x) + m.places(torch.arange(x.shape[1]))
        scores = m.q(h) @ m.k(h).transpose(1, 2) / math.sqrt(16)
        mask = keep[:, :, None] if broken else keep[:, None, :]
        h = h + scores.masked_fill(~mask, -10000.0).softmax(-1) @ m.v(h)
        return m.out(h[:, 0])

    return Program(setup(lambda: reader(forward), CE()), sentences(), {})


@more("LB083")
def mask_of_ones_alone(broken: bool, g: torch.Generator) -> Program:
    x, y = sentences()
    mask = torch.ones_like(x) if broken else (x != 0).long()

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(20, 16), nn.Parameter(0.1 * torch.randn(12, 16))
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
            self.out = nn.Linear(16, 2)

        def forward(self, ids, mask):
            h = self.words(ids) + self.places[: ids.shape[1]]
            h = self.layer(h, src_key_padding_mask=mask == 0)
            weight = mask[..., None].float()
            return self.out((h * weight).sum(1) / weight.sum(1))

    return Program(setup(Encoder, CE()), ((x, mask), y), {})


@more("LB020", "LB084")
def places_counted_over_rows(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        n, t = x.shape
        place = torch.arange(n)[:, None] if broken else torch.arange(t)[None]
        h = m.words(x) + m.places(place % 32)
        h = h + attend(m, m.q(h), m.k(h), m.v(h))
        return m.out(h.mean(1))

    x = tokens(240, 10)
    return Program(setup(lambda: reader(forward), CE()), (x, (x[:, 0] > x[:, -1]).long()), {"batch_size": 24})


@more("LB084")
def one_place_by_a_missing_colon(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        t = x.shape[1]
        angle = torch.arange(64)[:, None] * torch.exp(torch.arange(0, 16, 2) * -0.5)
        table = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[None]
        h = m.words(x) + (table[:, t, :][:, None] if broken else table[:, :t, :])
        h = h + attend(m, m.q(h), m.k(h), m.v(h))
        return m.out(h.mean(1))

    x = tokens(240, 10)
    net = lambda: Own(  # noqa: E731
        forward,
        words=nn.Embedding(20, 16),
        q=nn.Linear(16, 16),
        k=nn.Linear(16, 16),
        v=nn.Linear(16, 16),
        out=nn.Linear(16, 2),
    )
    return Program(setup(net, CE()), (x, (x[:, 0] > x[:, -1]).long()), {})


@more("LB023")
def every_layer_gets_the_input(broken: bool, g: torch.Generator) -> Program:
    class Block(nn.Module):
        def __init__(self, width=12, depth=3):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.SiLU()) for _ in range(depth)
            )

        def forward(self, x):
            out = x
            for layer in self.layers:
                out = layer(x if broken else out)
            return x + out

    net = lambda: nn.Sequential(nn.Linear(6, 12), Block(), Block(), nn.Linear(12, 3))  # noqa: E731
    x = rows(300, 6)
    return Program(setup(net, CE()), (x, labels_of(x)), {})


@more("LB023")
def output_of_the_block_before(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        stem = F.relu(m.stem(x))
        a = F.relu(m.b1(m.c1(stem)) + stem)
        b = F.relu(m.b2(m.c2(a)) + a)
        c = F.relu(m.b3(m.c3(b)) + b)
        return m.out((b if broken else c).mean((2, 3)))

    x = noise(160, 1, 10, 10)

    def parts():
        convs = {f"c{i}": nn.Conv2d(8, 8, 3, padding=1, bias=False) for i in (1, 2, 3)}
        return convs | {f"b{i}": nn.BatchNorm2d(8) for i in (1, 2, 3)}

    net = lambda: Own(forward, stem=nn.Conv2d(1, 8, 3, padding=1), out=nn.Linear(8, 3), **parts())  # noqa: E731
    y = (x.mean((1, 2, 3)) * 10).clamp(-1, 1).round().long() + 1
    return Program(setup(net, CE(), optim.SGD, lr=0.05, momentum=0.9), (x, y), {})


@more("LB027")
def activations_made_and_not_used(broken: bool, g: torch.Generator) -> Program:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(5, 32), nn.Linear(32, 32), nn.Linear(32, 1)
            self.act = nn.ReLU()

        def forward(self, x):
            x = self.fc1(x)
            if not broken:
                x = self.act(x)
            x = self.fc2(x)
            if not broken:
                x = self.act(x)
            return self.fc3(x)

    x = rows(300, 5)
    return Program(setup(Net, nn.MSELoss()), (x, x[:, :1].abs() - x[:, 1:2].abs()), {})


@more("LB032", "LB122")
def attention_drops_in_evaluation(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = m.words(x) + m.places(torch.arange(x.shape[1]))
        q, k, v = m.q(h)[:, None], m.k(h)[:, None], m.v(h)[:, None]
        p = 0.2 if broken or m.training else 0.0
        h = h + F.scaled_dot_product_attention(q, k, v, dropout_p=p)[:, 0]
        return m.out(h.mean(1))

    x = tokens(240, 10)
    return Program(setup(lambda: reader(forward), CE()), (x, (x[:, 0] > x[:, -1]).long()), {"valid_data": 0.2})


@more("LB078", "LB053")
def dropout_is_off_after_an_evaluation(broken: bool, g: torch.Generator) -> Program:
    class Drop(nn.Module):
        def __init__(self, p):
            super().__init__()
            self.p = p

        def forward(self, x):
            if broken:
                self.p = self.p if self.training else 0.0
                return F.dropout(x, self.p)
            return F.dropout(x, self.p if self.training else 0.0)

    net = lambda: nn.Sequential(nn.Linear(6, 64), nn.ReLU(), Drop(0.5), nn.Linear(64, 3))  # noqa: E731
    x = rows(300, 6)
    return Program(setup(net, CE()), (x, labels_of(x)), {"valid_data": 0.2})


@more("LB119", "LB071", "LB068", "LB023")
def state_begun_anew_at_each_step(broken: bool, g: torch.Generator) -> Program:
    class Elman(nn.Module):
        def __init__(self, d=3, hidden=16):
            super().__init__()
            self.hidden, self.cell, self.out = hidden, nn.GRUCell(d, hidden), nn.Linear(hidden, 2)

        def forward(self, x):
            h = torch.zeros(len(x), self.hidden)
            for t in range(x.shape[1]):
                if broken:
                    h = torch.zeros(len(x), self.hidden)
                h = self.cell(x[:, t], h)
            return self.out(h)

    x = noise(200, 12, 3)
    return Program(setup(Elman, CE()), (x, (x[:, :, 0].sum(1) > 0).long()), {})


@more("LB070")
def parameter_times_a_number(broken: bool, g: torch.Generator) -> Program:
    class Factors(nn.Module):
        def __init__(self, d=8, k=6):
            super().__init__()
            self.linear = nn.Linear(d, 1)
            self.v = nn.Parameter(torch.randn(d, k)) * 0.1 if broken else nn.Parameter(torch.randn(d, k) * 0.1)

        def forward(self, x):
            pairs = (x @ self.v).square() - x.square() @ self.v.square()
            return self.linear(x) + pairs.sum(1, keepdim=True) / 2

    x = rows(300, 8)
    return Program(setup(Factors, nn.MSELoss()), (x, x[:, :1] * x[:, 1:2] + x[:, 2:3]), {})


@more("LB077")
def looks_ahead_in_place_of_back(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        t = x.shape[1]
        keep = torch.ones(t, t, dtype=torch.bool)
        keep = keep.triu() if broken else keep.tril()
        h = m.words(x) + m.places(torch.arange(t))
        h = h + attend(m, m.q(h), m.k(h), m.v(h), keep)
        return m.out(h)

    def loss(scores, y):
        return F.cross_entropy(scores.transpose(1, 2), y)

    x = tokens(240, 11)
    return Program(setup(lambda: reader(forward, outputs=20), loss), (x[:, :-1], x[:, 1:]), {})


@more("LB002", "LB096", "LB003")
def node_without_neighbours(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x, a):
        degree = a.sum(-1)
        scale = degree.pow(-0.5) if broken else degree.clamp(min=1).pow(-0.5)
        a = scale[..., None] * a * scale[:, None]
        h = F.relu(a @ m.first(x) + m.own(x))
        return m.out((a @ h).mean(1))

    x = noise(160, 8, 5)
    a = (noise(160, 8, 8, seed=2) > 1.0).float()
    a = ((a + a.transpose(1, 2)) > 0).float() * (1 - torch.eye(8))
    y = (x[..., 0].mean(1) > 0).long()
    net = lambda: Own(forward, first=nn.Linear(5, 12), own=nn.Linear(5, 12), out=nn.Linear(12, 2))  # noqa: E731
    return Program(setup(net, CE()), ((x, a), y), {})


@more("LB057", "LB071")
def norm_of_single_numbers(broken: bool, g: torch.Generator) -> Program:
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Linear(6, 16), nn.GroupNorm(16 if broken else 4, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    x = rows(300, 6)
    return Program(setup(net, CE()), (x, labels_of(x)), {})


@more("LB018", "LB020")
def gates_shared_by_the_rows(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        share = F.softmax(m.gate(x), dim=0 if broken else 1)
        made = torch.stack([one(x) for one in m.experts], 1)
        return (share[..., None] * made).sum(1)

    x = rows(300, 6)
    net = lambda: Own(  # noqa: E731
        forward, gate=nn.Linear(6, 3), experts=nn.ModuleList(mlp(6, 16, 2) for _ in range(3))
    )
    return Program(setup(net, nn.MSELoss()), (x, torch.tanh(x[:, :2] * x[:, 2:4])), {})


@more()
def mean_over_channels_and_rows_of_pixels(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        h = F.relu(m.conv(x))
        return m.out(h.mean((1, 2)) if broken else h.mean((2, 3)))

    x = noise(200, 1, 16, 16)
    net = lambda: Own(forward, conv=nn.Conv2d(1, 16, 3, padding=1), out=nn.Linear(16, 3))  # noqa: E731
    y = (x.mean((1, 2, 3)) * 20).clamp(-1, 1).round().long() + 1
    return Program(setup(net, CE(), lr=3e-3), (x, y), {})


@more("LB020", "LB085", "LB078")
def picture_scaled_by_the_batch(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        over = None if broken else (1, 2, 3)
        low, high = (x.min(), x.max()) if over is None else (x.amin(over, True), x.amax(over, True))
        return m.f((x - low) / (high - low + 1e-6))

    x = noise(160, 1, 8, 8) * (1 + noise(160, 1, 1, 1, seed=7).abs())
    net = lambda: Own(forward, f=nn.Sequential(nn.Flatten(), *mlp(64, 24, 2)))  # noqa: E731
    return Program(setup(net, CE()), (x, (x[:, 0, :4].mean((1, 2)) > 0).long()), {})


@more("LB023", "LB068")
def memory_never_reaches_the_decoder(broken: bool, g: torch.Generator) -> Program:
    class Translate(nn.Module):
        def __init__(self, words=20, width=16):
            super().__init__()
            self.source, self.target = nn.Embedding(words, width), nn.Embedding(words, width)
            self.enc = nn.GRU(width, width, batch_first=True)
            self.dec = nn.GRU(width, width, batch_first=True)
            self.att = nn.MultiheadAttention(width, 2, batch_first=True)
            self.out = nn.Linear(width, words)

        def forward(self, src, given):
            memory, _ = self.enc(self.source(src))
            h, _ = self.dec(self.target(given))
            found, _ = self.att(h, h if broken else memory, h if broken else memory)
            return self.out(h + found).transpose(1, 2)

    x = tokens(240, 8)
    y = x.flip(1)
    start = torch.cat([torch.zeros(240, 1, dtype=torch.long), y[:, :-1]], 1)
    return Program(setup(Translate, CE()), ((x, start), y), {})


@more("LB095", "LB071")
def shortcut_of_an_overwritten_input(broken: bool, g: torch.Generator) -> Program:
    class Unit(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)

        def forward(self, x):
            short = x
            h = F.relu(x, inplace=broken)
            return short + self.fc(self.norm(h))

    net = lambda: nn.Sequential(nn.Linear(6, 16), Unit(16), Unit(16), nn.Linear(16, 3))  # noqa: E731
    x = rows(300, 6)
    return Program(setup(net, CE()), (x, labels_of(x)), {})
