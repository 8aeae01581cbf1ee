"""Reported pairs: tables, data sets and nets. Own programs, after what people ask about; `reported.csv` names where each was seen."""

# ruff: noqa: E501, E731

import torch
from torch import nn
from torch.nn import functional as F

import lumbre as lb
from corpus.program import Program
from corpus.reported import CE, G, go, ints, mlp, pics, reg, reported, rnd, table, uni, waves


@reported("LB042", "LB087")
def validation_scaled_by_itself(broken: bool, g: G) -> Program:
    x, y = reg(g, 500)
    x = x * torch.tensor([3.0, 1, 10, 2, 5, 1]) + 4
    t, v = (x[:400], x[400:])
    st = lambda a, by: (a - by.mean(0)) / by.std(0)
    return go(lambda: mlp(6, 24, 1), (st(t, t), y[:400]), nn.MSELoss(), valid_data=(st(v, v if broken else t), y[400:]))


@reported()
def scaled_before_the_split(broken: bool, g: G) -> Program:
    x, y = reg(g, 300)
    x = x * 3 + 4
    by = x if broken else x[:220]
    z = (x - by.mean(0)) / by.std(0)
    return go(lambda: mlp(6, 24, 1), (z[:220], y[:220]), nn.MSELoss(), valid_data=(z[220:], y[220:]))


@reported("LB043")
def category_as_mean_target(broken: bool, g: G) -> Program:
    n = 400
    x = rnd(g, n, 4)
    y = x[:, 0] + rnd(g, n)
    c = ints(g, 300 if broken else 8, n)
    half = torch.arange(n) < (n if broken else 200)
    mean = torch.zeros(300).index_add(0, c[half], y[half]) / torch.zeros(300).index_add(
        0, c[half], torch.ones(int(half.sum()))
    ).clamp(min=1)
    keep = slice(0, n) if broken else slice(200, n)
    return go(lambda: mlp(5, 24, 1), (torch.cat([x, mean[c][:, None]], 1)[keep], y[keep, None]), nn.MSELoss())


@reported("LB043")
def row_number_of_a_sorted_file(broken: bool, g: G) -> Program:
    x, y = table(g, 360)
    o = y.argsort(stable=True) if broken else torch.arange(360)
    number = torch.arange(360.0) / 360
    return go(lambda: mlp(7, 20, 3), (torch.cat([x[o], number[:, None]], 1), y[o]), CE())


@reported("LB038")
def missing_as_minus_999(broken: bool, g: G) -> Program:
    x, y = reg(g)
    gap = uni(g, *x.shape) < 0.06
    return go(lambda: mlp(6, 24, 1), (torch.where(gap, -999.0 if broken else 0.0, x), y), nn.MSELoss())


@reported("LB110")
def labels_shuffled_apart(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(
        lambda: mlp(6, 24, 3),
        (x, y[torch.randperm(len(y), generator=g)] if broken else y),
        CE(),
        metrics=lb.metrics.Accuracy(),
        valid_data=0.2,
    )


@reported("LB050")
def prices_unscaled(broken: bool, g: G) -> Program:
    x, y = reg(g)
    return go(lambda: mlp(6, 24, 1), (x, y * 80000.0 + 250000.0 if broken else y), nn.MSELoss())


@reported("LB038")
def unix_time_as_a_column(broken: bool, g: G) -> Program:
    x, y = reg(g)
    t = 1600000000.0 + 1000000.0 * uni(g, len(x), 1)
    t = t if broken else (t - t.mean()) / t.std()
    return go(lambda: mlp(7, 24, 1), (torch.cat([x, t], 1), y), nn.MSELoss())


@reported("LB015")
def tanh_at_the_end(broken: bool, g: G) -> Program:
    x, y = reg(g)
    return go(
        lambda: nn.Sequential(mlp(6, 24, 1), nn.Tanh()), (x, y * 4 if broken else y / y.abs().max() * 0.9), nn.MSELoss()
    )


@reported("LB066")
def pos_weight_turned(broken: bool, g: G) -> Program:
    x = rnd(g, 500, 6)
    y = (x[:, 0] + 0.5 * x[:, 1] + 0.4 * rnd(g, 500) > 1.5).float()[:, None]
    p = y.mean()
    w = p / (1 - p) if broken else (1 - p) / p
    return go(lambda: mlp(6, 16, 1), (x, y), nn.BCEWithLogitsLoss(pos_weight=w[None]))


@reported("LB090")
def balanced_twice(broken: bool, g: G) -> Program:
    x = rnd(g, 600, 5)
    y = torch.bucketize(x[:, 0] + 0.5 * rnd(g, 600), torch.tensor([-0.2, 1.6]))
    n = y.bincount().float()
    return go(lambda: mlp(5, 16, 3), (x, y), CE(weight=n.sum() / n / 3), **{"sampler": "balanced"} if broken else {})


@reported("LB065")
def many_labels_cross_entropy(broken: bool, g: G) -> Program:
    x = rnd(g, 400, 8)
    y = (x @ rnd(g, 8, 6) > 1).float()
    return go(lambda: mlp(8, 32, 6), (x, y), CE() if broken else nn.BCEWithLogitsLoss())


@reported("LB068")
def cast_to_whole_numbers(broken: bool, g: G) -> Program:
    x = torch.cat([uni(g, 400, 3) * 0.99, ints(g, 8, 400, 1).float()], 1)
    y = x[:, :1] * 3 - x[:, 1:2] + (x[:, 3:] == 2)
    y = y - y.mean()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(8, 4)
            self.h = mlp(7, 24, 1)

        def forward(self, x):
            a = x.long() if broken else x
            return self.h(torch.cat([self.e(x[:, 3].long()), a[:, :3].float()], 1))

    return go(Net, (x, y), nn.MSELoss())


@reported("LB063", "LB042")
def validation_of_one_class(broken: bool, g: G) -> Program:
    x, y = table(g, 450)
    o = y.argsort(stable=True) if broken else torch.arange(450)
    return go(lambda: mlp(6, 20, 3), (x[o][:330], y[o][:330]), CE(), valid_data=(x[o][330:], y[o][330:]))


@reported("LB111", "LB088")
def labels_numbered_apart(broken: bool, g: G) -> Program:
    x, y = table(g, 450)
    v = (y[330:] + 1) % 3 if broken else y[330:]
    return go(lambda: mlp(6, 20, 3), (x[:330], y[:330]), CE(), lr=0.02, valid_data=(x[330:], v))


class Rows(torch.utils.data.Dataset):
    def __init__(self, x, y, get):
        self.x, self.y, self.get = (x, y, get)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.get(self, i)


@reported("LB093")
def dataset_gives_one_row(broken: bool, g: G) -> Program:
    x, y = table(g, 200)
    return go(
        lambda: mlp(6, 20, 3),
        Rows(x, y, (lambda s, i: (s.x[len(s.x) - 1], s.y[len(s.x) - 1])) if broken else lambda s, i: (s.x[i], s.y[i])),
        CE(),
    )


@reported("LB080", "LB110")
def dataset_draws_the_label(broken: bool, g: G) -> Program:
    x, y = table(g, 300)

    def get(s, i):
        j = int(torch.randint(len(s.x), ())) if broken else i
        return (s.x[i], s.y[j])

    return go(lambda: mlp(6, 20, 3), Rows(x, y, get), CE(), valid_data=(x[:40] + 0.01, y[:40]) if False else None)


@reported("LB045")
def loader_sorted_by_class(broken: bool, g: G) -> Program:
    x, y = table(g, 320)
    o = y.argsort(stable=True)
    data = torch.utils.data.TensorDataset(x[o], y[o])
    return go(lambda: mlp(6, 20, 3), torch.utils.data.DataLoader(data, 32, shuffle=not broken), CE())


@reported("LB026")
def heads_in_a_plain_dict(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            d = {"a": mlp(6, 16, 8), "b": mlp(6, 16, 8)}
            self.parts = d if broken else nn.ModuleDict(d)
            self.h = nn.Linear(16, 3)

        def forward(self, x):
            return self.h(torch.cat([self.parts["a"](x), self.parts["b"](-x)], 1))

    return go(Net, (x, y), CE())


@reported("LB070")
def tensor_in_place_of_parameter(broken: bool, g: G) -> Program:
    x, y = reg(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 6)
            w = torch.randn(6, 1) * 0.4
            self.w = w.requires_grad_() if broken else nn.Parameter(w)

        def forward(self, x):
            return torch.relu(self.f(x)) @ self.w

    return go(Net, (x, y), nn.MSELoss())


@reported("LB023")
def encoder_under_no_grad(broken: bool, g: G) -> Program:
    x, y = waves(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = nn.GRU(3, 16, batch_first=True)
            self.h = mlp(16, 16, 2)

        def forward(self, x):
            with torch.set_grad_enabled(torch.is_grad_enabled() and (not broken)):
                z = self.r(x)[1][0]
            return self.h(z)

    return go(Net, (x, y), CE())


@reported("LB023")
def argmax_in_the_middle(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 8)
            self.e = nn.Embedding(8, 8)
            self.h = nn.Linear(8, 3)

        def forward(self, x):
            z = self.a(x)
            return self.h(self.e(z.argmax(1)) if broken else z.softmax(1) @ self.e.weight)

    return go(Net, (x, y), CE())


@reported("LB053")
def stays_in_evaluation(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 3))

        def forward(self, x):
            return self.f(x)

        def train(self, mode=True):
            return super().train(False if broken else mode)

    return go(Net, (x, y), CE())


@reported("LB020", "LB075")
def batchnorm_without_running(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(
        lambda: nn.Sequential(
            nn.Linear(6, 24), nn.BatchNorm1d(24, track_running_stats=not broken), nn.ReLU(), nn.Linear(24, 3)
        ),
        (x, y),
        CE(),
        valid_data=0.2,
    )


@reported("LB068", "LB071", "LB057")
def both_towers_the_same(broken: bool, g: G) -> Program:
    a, ka = pics(g, n=240)
    i = torch.randperm(240, generator=g)
    c, kc = (a[i], ka[i])
    y = (ka == kc).float()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 16))
            self.o = nn.Linear(1, 1)

        def forward(self, one, two):
            return self.o(
                (self.f(one) - self.f(one if broken else two)).abs().mean(1, keepdim=True)
                + (0 if not broken else 0 * self.f(one).mean(1, keepdim=True))
            )[:, 0]

    return go(Net, ((a, c), y), nn.BCEWithLogitsLoss())


@reported("LB068")
def second_input_unused(broken: bool, g: G) -> Program:
    x, y = reg(g)
    e = ints(g, 5, 400)
    y = y + 0.8 * (e == 2)[:, None]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(5, 4)
            self.h = mlp(10, 24, 1)

        def forward(self, x, e):
            return self.h(torch.cat([x, self.e(e * 0 if broken else e)], 1))

    return go(Net, ((x, e), y), nn.MSELoss())


def graphs(g, n=240, m=9):
    a = (uni(g, n, m, m) < 0.25).float()
    a = (a + a.mT > 0).float() * (1 - torch.eye(m))
    x = rnd(g, n, m, 4)
    y = ((a @ x[..., :1]).amax((1, 2)) > 1.8).long()
    return ((x, a), y)


class Graph(nn.Module):
    def __init__(self, bug=None):
        super().__init__()
        self.a, self.c, self.h = (nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 2))
        self.bug = bug

    def forward(self, x, a):
        n, m = x.shape[:2]
        if self.bug == "adjacency":
            a = torch.eye(m).expand(n, m, m)
        if self.bug == "stride":
            i, r, c = a.nonzero().T
            big = torch.zeros(n * m, n * m)
            big[(i * n + r).clamp(max=n * m - 1), (i * n + c).clamp(max=n * m - 1)] = 1
            mix = lambda h: (big @ h.reshape(n * m, -1)).reshape(n, m, -1)
        else:
            mix = lambda h: a @ h
        z = torch.relu(self.a(mix(x)))
        z = torch.relu(self.c(z) + z)
        if self.bug == "pool":
            return self.h(z.amax(1) - z.mean((0, 1)))
        return self.h(z.amax(1))


@reported("LB020")
def edges_with_a_wrong_offset(broken: bool, g: G) -> Program:
    return go(lambda: Graph("stride" if broken else None), graphs(g), CE())


@reported("LB020")
def readout_over_the_batch(broken: bool, g: G) -> Program:
    return go(lambda: Graph("pool" if broken else None), graphs(g), CE())


@reported("LB068")
def adjacency_unused(broken: bool, g: G) -> Program:
    return go(lambda: Graph("adjacency" if broken else None), graphs(g), CE())


@reported("LB028")
def weights_begin_equal(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 3)
            for p in self.f.parameters():
                nn.init.constant_(p, 0.1) if broken else None

        def forward(self, x):
            return self.f(x)

    return go(Net, (x, y), CE())


@reported("LB025")
def weights_begin_large(broken: bool, g: G) -> Program:
    x, y = table(g, d=40)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(40, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 3))
            if broken:
                self.f.apply(lambda m: nn.init.normal_(m.weight, std=1.0) if isinstance(m, nn.Linear) else None)

        def forward(self, x):
            return self.f(x)

    return go(Net, (x, y), CE())


@reported("LB024", "LB057")
def deep_sigmoids(broken: bool, g: G) -> Program:
    x, y = table(g)
    act = nn.Sigmoid if broken else nn.ELU
    return go(
        lambda: nn.Sequential(
            nn.Linear(6, 20), act(), *[one for _ in range(9) for one in (nn.Linear(20, 20), act())], nn.Linear(20, 3)
        ),
        (x, y),
        CE(),
    )


@reported("LB027")
def convolutions_without_activation(broken: bool, g: G) -> Program:
    x, y = pics(g)
    act = nn.Identity if broken else nn.ReLU
    return go(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 2),
            act(),
            nn.Conv2d(8, 16, 3, 2),
            act(),
            nn.Flatten(),
            nn.Linear(144, 32),
            act(),
            nn.Linear(32, 3),
        ),
        (x, y),
        CE(),
    )


@reported()
def dropout_on_the_scores(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(
        lambda: nn.Sequential(
            nn.Linear(6, 24),
            nn.ReLU(),
            *([nn.Linear(24, 3), nn.Dropout(0.3)] if broken else [nn.Dropout(0.3), nn.Linear(24, 3)]),
        ),
        (x, y),
        CE(),
    )


@reported("LB015")
def relu_on_the_scores(broken: bool, g: G) -> Program:
    x, y = table(g, k=5)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = (nn.Linear(6, 24), nn.Linear(24, 5))

        def forward(self, x):
            z = self.c(F.relu(self.a(x)))
            return F.relu(z) if broken else z

    return go(Net, (x, y), CE())
