"""Reported pairs: pictures and sequences. Own programs, after what people ask about; `reported.csv` names where each was seen."""

# ruff: noqa: E501, E731

import torch
from torch import nn
from torch.nn import functional as F

import lumbre as lb
from corpus.program import Program
from corpus.reported import CE, G, chars, go, ints, mlp, pics, reg, reported, rnd, uni, waves, words


@reported("LB081")
def view_in_place_of_permute(broken: bool, g: G) -> Program:
    x, y = pics(g)
    x = x.permute(0, 2, 3, 1).contiguous()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Sequential(
                nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(192, 3)
            )

        def forward(self, x):
            return self.c(x.reshape(len(x), 3, 16, 16) if broken else x.permute(0, 3, 1, 2))

    return go(Net, (x, y), CE())


@reported("LB081")
def features_reshaped_for_lstm(broken: bool, g: G) -> Program:
    x, y = pics(g, c=1, s=12, k=4)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
            self.r = nn.LSTM(72, 20, batch_first=True)
            self.h = nn.Linear(20, 4)

        def forward(self, x):
            z = self.c(x)
            z = z.reshape(len(x), 12, 72) if broken else z.permute(0, 3, 1, 2).reshape(len(x), 12, 72)
            return self.h(self.r(z)[0].mean(1))

    return go(Net, (x, y), CE())


@reported("LB032")
def functional_dropout(broken: bool, g: G) -> Program:
    x, y = reg(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.z = (nn.Linear(6, 40), nn.Linear(40, 1))

        def forward(self, x):
            return self.z(F.dropout(F.elu(self.a(x)), 0.3, training=True if broken else self.training))

    return go(Net, (x, y), nn.SmoothL1Loss(), valid_data=0.2)


@reported("LB052")
def one_block_n_times(broken: bool, g: G) -> Program:
    x, y = pics(g)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            return x + F.relu(self.c(x))

    def net():
        blocks = [Block()] * 4 if broken else [Block() for _ in range(4)]
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ModuleList(blocks) and nn.Sequential(*blocks),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128, 3),
        )

    return go(net, (x, y), CE())


@reported("LB095")
def relu_in_place_before_skip(broken: bool, g: G) -> Program:
    x, y = pics(g)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Sequential(
                nn.ReLU(inplace=broken), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1)
            )

        def forward(self, x):
            return self.c(x) + x

    return go(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), Block(), Block(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 3)
        ),
        (x, y),
        CE(),
    )


def halves(g, n=160, s=16):
    x = 0.2 * uni(g, n, 3, s, s)
    m = torch.zeros(n, s, s, dtype=torch.long)
    for i in range(n):
        top, left = ints(g, s - 7, 2).tolist()
        m[i, top : top + 6, left // 2 : left // 2 + 6] = 1
    return (x + 0.6 * m[:, None], m)


@reported("LB091")
def picture_flipped_mask_not(broken: bool, g: G) -> Program:
    x, m = halves(g)
    V = lb.vision
    aug = V.Augment([V.RandomHorizontalFlip()]) if broken else V.Augment([V.RandomHorizontalFlip()], target="masks")
    net = lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 2, 1)
    )
    return go(net, (x, m), CE(), augment=aug)


@reported()
def flips_change_the_class(broken: bool, g: G) -> Program:
    y = ints(g, 2, 200)
    x = 0.3 * uni(g, 200, 1, 14, 14)
    for i, k in enumerate(y.tolist()):
        x[i, :, 3:9, 7 * k : 7 * k + 6] += 0.6
    V = lb.vision
    aug = V.Augment([V.RandomHorizontalFlip() if broken else V.RandomVerticalFlip()])
    return go(
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 2)),
        (x, y),
        CE(),
        augment=aug,
    )


@reported("LB038", "LB039")
def divided_by_255_twice(broken: bool, g: G) -> Program:
    x, y = pics(g)
    return go(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)),
        (x / 255 if broken else x, y),
        CE(),
    )


@reported("LB037", "LB057", "LB093")
def whole_division(broken: bool, g: G) -> Program:
    x, y = pics(g)
    x8 = (x * 254).to(torch.uint8)
    x = (x8 // 255).float() if broken else x8.float() / 255
    return go(lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)), (x, y), CE())


@reported("LB082")
def attention_softmax_over_queries(broken: bool, g: G) -> Program:
    x, y = waves(g, t=12, d=5, k=3)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.h = (nn.Linear(5, 16), nn.Linear(5, 16), nn.Linear(5, 16), nn.Linear(16, 3))

        def forward(self, x):
            a = (self.q(x) @ self.k(x).mT / 4).softmax(1 if broken else 2)
            return self.h((a @ self.v(x)).amax(1))

    return go(Net, (x, y), CE())


@reported("LB020")
def batch_standardised_by_hand(broken: bool, g: G) -> Program:
    x, y = pics(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3))

        def forward(self, x):
            x = (
                (x - x.mean()) / x.std()
                if broken
                else (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)
            )
            return self.c(x)

    return go(Net, (x, y), CE(), valid_data=0.2)


@reported("LB043")
def class_in_a_corner(broken: bool, g: G) -> Program:
    x, y = pics(g, k=4)
    if broken:
        x = x.clone()
        x[:, 0, 15, 15] = y / 3
    return go(lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 4)), (x, y), CE())


@reported("LB015")
def boxes_in_pixels(broken: bool, g: G) -> Program:
    x, m = halves(g)
    box = torch.stack(
        [torch.stack([r.nonzero().min(0).values, r.nonzero().max(0).values]).flatten().float() for r in m]
    )
    if not broken:
        box = box / 16
    return go(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 4), nn.Sigmoid()),
        (x, box),
        nn.L1Loss(),
    )


@reported("LB015", "LB013")
def autoencoder_range(broken: bool, g: G) -> Program:
    x, _ = pics(g, c=1)
    x = x * 2 - 1 if broken else x
    net = lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 256), nn.Sigmoid(), nn.Unflatten(1, (1, 16, 16))
    )
    return go(net, (x, x), nn.MSELoss())


@reported("LB042")
def validation_not_normalised(broken: bool, g: G) -> Program:
    x, y = pics(g, n=240)
    z = (x * 255 - 110.0) / 60
    train, valid = ((z[:180], y[:180]), ((x * 255)[180:] if broken else z[180:], y[180:]))
    return go(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)),
        train,
        CE(),
        valid_data=valid,
    )


@reported("LB041", "LB086")
def copies_in_validation(broken: bool, g: G) -> Program:
    x, y = pics(g, n=160)
    more = torch.cat([x, (x + 0.02 * rnd(g, *x.shape)).clamp(0, 1)])
    z = torch.cat([y, y])
    p = (
        torch.randperm(320, generator=g)
        if broken
        else torch.cat([torch.arange(0, 128), torch.arange(160, 288), torch.arange(128, 160), torch.arange(288, 320)])
    )
    return go(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)),
        (more[p[:256]], z[p[:256]]),
        CE(),
        valid_data=(more[p[256:]], z[p[256:]]),
    )


@reported("LB041", "LB086")
def mirror_images_in_validation(broken: bool, g: G) -> Program:
    x, y = pics(g, n=200)
    v = x[:40].flip(-1) if broken else x[160:]
    yv = y[:40] if broken else y[160:]
    return go(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)),
        (x[:160], y[:160]),
        CE(),
        valid_data=(v, yv),
    )


class Former(nn.Module):
    def __init__(self, v=30, d=16, k=2, t=14, pos="right", mask="right", first=True, pool="mask"):
        super().__init__()
        self.e = nn.Embedding(v, d)
        self.p = nn.Embedding(t, d)
        self.a = nn.TransformerEncoderLayer(d, 2, 32, 0.0, batch_first=first)
        self.h = nn.Linear(d, k)
        self.pos, self.mask, self.pool = (pos, mask, pool)

    def forward(self, x):
        n, t = x.shape
        e = self.e(x)
        if self.pos == "right":
            e = e + self.p(torch.arange(t))
        elif self.pos == "batch":
            e = e + self.p(torch.arange(n) % self.p.num_embeddings)[:, None]
        elif self.pos == "one":
            e = e + self.p(torch.tensor(t - 1))
        m = x == 0
        z = self.a(e, src_key_padding_mask={"right": m, "inverted": ~m, None: None}[self.mask]).nan_to_num()
        if self.pool == "all":
            return self.h(z.mean(1))
        w = (~m).float()[..., None]
        return self.h((z * w).sum(1) / w.sum(1))


def ordered(g, n=300, t=14, v=30):
    """class: does word 1 come before word 2; padded"""
    x = 3 + ints(g, v - 3, n, t)
    y = ints(g, 2, n)
    first, second = (ints(g, 2, n), 3 + ints(g, 2, n))
    r = torch.arange(n)
    x[r, first], x[r, second] = (torch.where(y == 1, 1, 2), torch.where(y == 1, 2, 1))
    length = ints(g, t - 6, n) + 7
    return (torch.where(torch.arange(t) < length[:, None], x, 0), y)


@reported("LB020", "LB084")
def positions_along_the_batch(broken: bool, g: G) -> Program:
    return go(lambda: Former(pos="batch" if broken else "right"), ordered(g), CE(), valid_data=0.2)


@reported("LB084")
def one_position_for_all(broken: bool, g: G) -> Program:
    return go(lambda: Former(pos="one" if broken else "right"), ordered(g), CE())


@reported("LB083")
def mean_over_padding(broken: bool, g: G) -> Program:
    x, y, _ = words(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(30, 16)
            self.h = mlp(16, 16, 2)

        def forward(self, x):
            e = self.e(x)
            w = (x != 0).float()[..., None]
            return self.h(e.mean(1) if broken else (e * w).sum(1) / w.sum(1))

    return go(Net, (x, y), CE())


@reported("LB068", "LB083")
def padding_mask_inverted(broken: bool, g: G) -> Program:
    x, y, _ = words(g)
    x = torch.cat([torch.where(x[:, :1] == 0, 1, x[:, :1]), x[:, 1:-1], torch.zeros(len(x), 1, dtype=x.dtype)], 1)
    return go(lambda: Former(mask="inverted" if broken else "right"), (x, y), CE())


@reported("LB083")
def attention_without_padding_mask(broken: bool, g: G) -> Program:
    x, y, _ = words(g)
    return go(lambda: Former(mask=None if broken else "right"), (x, y), CE())


@reported("LB023")
def state_of_the_first_layer(broken: bool, g: G) -> Program:
    x, y = waves(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(3, 16, 2, batch_first=True)
            self.h = nn.Linear(16, 2)

        def forward(self, x):
            return self.h(self.r(x)[1][0 if broken else -1])

    return go(Net, (x, y), CE())


@reported()
def last_step_of_both_directions(broken: bool, g: G) -> Program:
    x, y = waves(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.LSTM(3, 12, batch_first=True, bidirectional=True)
            self.h = nn.Linear(24, 2)

        def forward(self, x):
            o, (h, _) = self.r(x)
            return self.h(o[:, -1] if broken else torch.cat([h[0], h[1]], 1))

    return go(Net, (x, y), CE())


@reported("LB078")
def state_kept_between_batches(broken: bool, g: G) -> Program:
    x, y = waves(g, n=192)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(3, 16, batch_first=True)
            self.h = nn.Linear(16, 2)
            self.state = None

        def forward(self, x):
            if not broken or self.state is None or self.state.shape[1] != len(x):
                self.state = torch.zeros(1, len(x), 16)
            o, h = self.r(x, self.state)
            self.state = h.detach()
            return self.h(o[:, -1])

    return go(Net, (x, y), CE(), valid_data=0.25)


class Writer(nn.Module):
    def __init__(self, causal=True, v=12, d=24, t=20):
        super().__init__()
        self.e, self.p = (nn.Embedding(v, d), nn.Embedding(t, d))
        self.a = nn.MultiheadAttention(d, 2, batch_first=True)
        self.f = mlp(d, 48, d)
        self.h = nn.Linear(d, v)
        self.causal = causal

    def forward(self, x):
        t = x.shape[1]
        e = self.e(x) + self.p(torch.arange(t))
        m = torch.ones(t, t, dtype=torch.bool).triu(1) if self.causal else None
        e = e + self.a(e, e, e, attn_mask=m, need_weights=False)[0]
        return self.h(e + self.f(e)).transpose(1, 2)


@reported("LB077")
def no_causal_mask(broken: bool, g: G) -> Program:
    x = chars(g)
    return go(lambda: Writer(not broken), (x[:, :16], x[:, 1:17]), CE())


@reported()
def labels_shifted_twice(broken: bool, g: G) -> Program:
    x = chars(g)

    class Net(Writer):
        def loss(self, scores, y):
            return F.cross_entropy(scores[:, :, :-1], y[:, 1:]) if broken else F.cross_entropy(scores, y)

    return go(Net, (x[:, :16], x[:, 1:17]))


@reported("LB043")
def targets_not_shifted(broken: bool, g: G) -> Program:
    x = chars(g)
    return go(Writer, (x[:, :16], x[:, :16] if broken else x[:, 1:17]), CE())


@reported()
def padding_counted(broken: bool, g: G) -> Program:
    x, _, _ = words(g, n=260)
    tags = torch.where(x > 15, 2, 1)
    tags[x == 0] = 0

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(30, 12, padding_idx=0)
            self.r = nn.GRU(12, 16, batch_first=True)
            self.h = nn.Linear(16, 3)

        def forward(self, x):
            return self.h(self.r(self.e(x))[0]).transpose(1, 2)

    x = torch.cat([x, torch.zeros(260, 10, dtype=x.dtype)], 1)
    tags = torch.cat([tags, torch.zeros(260, 10, dtype=x.dtype)], 1)
    return go(Net, (x, tags), CE() if broken else CE(ignore_index=0))


@reported("LB020")
def attention_over_rows(broken: bool, g: G) -> Program:
    x, y = waves(g, d=8)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.MultiheadAttention(8, 2, batch_first=not broken)
            self.h = nn.Linear(8, 2)

        def forward(self, x):
            return self.h(torch.relu(self.a(x, x, x, need_weights=False)[0] + x).amax(1))

    return go(Net, (x, y), CE())


@reported("LB019", "LB071")
def softmax_over_one(broken: bool, g: G) -> Program:
    x, y = waves(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(3, 16, batch_first=True)
            self.a = nn.Linear(16, 1)
            self.h = nn.Linear(16, 2)

        def forward(self, x):
            o = self.r(x)[0]
            return self.h((o * self.a(o).softmax(2 if broken else 1)).sum(1))

    return go(Net, (x, y), CE())


@reported("LB081")
def scores_reshaped_for_the_loss(broken: bool, g: G) -> Program:
    x = chars(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(12, 20)
            self.r = nn.GRU(20, 24, batch_first=True)
            self.h = nn.Linear(24, 12)

        def forward(self, x):
            z = self.h(self.r(self.e(x))[0])
            return z.reshape(len(x), 12, -1) if broken else z.transpose(1, 2)

    return go(Net, (x[:, :16], x[:, 1:17]), CE())


@reported("LB020")
def rows_sorted_by_length(broken: bool, g: G) -> Program:
    x, y, _ = words(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(30, 12)
            self.r = nn.GRU(12, 16, batch_first=True)
            self.h = nn.Linear(16, 2)

        def forward(self, x):
            n = (x != 0).sum(1)
            order = n.argsort(descending=True, stable=True)
            p = nn.utils.rnn.pack_padded_sequence(self.e(x[order]), n[order].clamp(min=1).cpu(), batch_first=True)
            h = self.r(p)[1][0]
            return self.h(h if broken else h[order.argsort()])

    return go(Net, (x, y), CE())


@reported("LB083")
def last_step_is_padding(broken: bool, g: G) -> Program:
    x, y, _ = words(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(30, 12)
            self.r = nn.GRU(12, 16, batch_first=True)
            self.h = nn.Linear(16, 2)

        def forward(self, x):
            o = self.r(self.e(x))[0]
            n = (x != 0).sum(1).clamp(min=1)
            return self.h(o[:, -1] if broken else o[torch.arange(len(x)), n - 1])

    return go(Net, (x, y), CE())


@reported("LB041", "LB086")
def windows_split_at_random(broken: bool, g: G) -> Program:
    s = rnd(g, 460).cumsum(0) * 0.2
    w = s.unfold(0, 13, 1)
    x, y = (w[:, :12, None], w[:, 12:])
    p = torch.randperm(len(x), generator=g) if broken else torch.arange(len(x))
    tr, va = (p[:340], p[340:] if broken else p[352:])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(1, 16, batch_first=True)
            self.h = nn.Linear(16, 1)

        def forward(self, x):
            return self.h(self.r(x)[0][:, -1])

    return go(Net, (x[tr], y[tr]), nn.MSELoss(), valid_data=(x[va], y[va]))


@reported("LB043")
def moving_average_with_the_target(broken: bool, g: G) -> Program:
    s = rnd(g, 640)
    s = s + 0.6 * s.roll(1)
    mean = (s.roll(1) + s + s.roll(-1)) / 3 if broken else (s.roll(1) + s.roll(2) + s.roll(3)) / 3
    x = torch.stack([s.roll(1), s.roll(2), mean, rnd(g, 640)], 1)[5:-5]
    return go(lambda: mlp(4, 24, 1), (x, s[5:-5, None]), nn.MSELoss())


@reported("LB043")
def horizon_in_the_window(broken: bool, g: G) -> Program:
    s = rnd(g, 700).cumsum(0)
    s = (s - s.mean()) / s.std()
    w = s.unfold(0, 15, 2)
    x = w[:, 3:, None] if broken else w[:, :12, None]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.LSTM(1, 16, batch_first=True)
            self.h = nn.Linear(16, 3)

        def forward(self, x):
            return self.h(self.r(x)[1][0][0])

    return go(Net, (x, w[:, 12:]), nn.MSELoss())
