"""Sound programs of further kinds, written together with the pairs after threads: checks say nothing of them."""

import copy
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lumbre as lb
from corpus.asked import G, labels_of, padded, rows, setup, tokens
from corpus.program import Program

SOUND: dict[str, Callable[[], Program]] = {}


def sound(make: Callable[[], Program]) -> Callable[[], Program]:
    assert make.__name__ not in SOUND
    SOUND[make.__name__] = make
    return make


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers = [one for i, o in itertools.pairwise(sizes) for one in (nn.Linear(i, o), act())]
    return nn.Sequential(*layers[:-1])


def noise(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=G(seed))


def chance(*size: int, seed: int = 1) -> Tensor:
    return torch.rand(*size, generator=G(seed))


class Own(nn.Module):
    """Parts by name, with a forward given as a function."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, *x):
        return self._forward(self, *x)


class Judged(Own):
    """The same with a loss of its own."""

    def __init__(self, forward, loss, **parts):
        super().__init__(forward, **parts)
        self._loss = loss

    def loss(self, pred, y):
        return self._loss(self, pred, y)


@sound
def views_that_are_alike() -> Program:
    def forward(m, a, b):
        za, zb = m.f(a), m.f(b)
        return m.p(za), m.p(zb), za.detach(), zb.detach()

    def loss(m, o, y):
        return -(F.cosine_similarity(o[0], o[3]).mean() + F.cosine_similarity(o[1], o[2]).mean()) / 2

    x = rows(256, 10)
    pair = (x + 0.2 * noise(256, 10, seed=2), x + 0.2 * noise(256, 10, seed=3))
    return Program(
        setup(lambda: Judged(forward, loss, f=mlp(10, 32, 8), p=mlp(8, 16, 8))), (pair, torch.zeros(256)), {}
    )


@sound
def two_views_in_one_batch() -> Program:
    def loss(z, y):
        z = F.normalize(z, dim=-1).flatten(0, 1)
        sim = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
        return F.cross_entropy(sim, torch.arange(len(z)) ^ 1)

    x = rows(256, 10)
    both = torch.stack([x + 0.2 * noise(256, 10, seed=2), x + 0.2 * noise(256, 10, seed=3)], 1)
    return Program(setup(lambda: mlp(10, 32, 8), loss), (both, torch.arange(256)), {})


@sound
def faces_with_a_margin() -> Program:
    class Arc(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.w = mlp(16, 32, 16), nn.Parameter(noise(10, 16))

        def forward(self, x):
            return F.normalize(self.f(x)) @ F.normalize(self.w).T

        def loss(self, cos, y):
            return F.cross_entropy(24 * (cos - 0.2 * F.one_hot(y, 10)), y)

    x = rows(400, 16)
    return Program(setup(Arc), (x, labels_of(x, 10)), {})


@sound
def risk_in_the_right_order() -> Program:
    def cox(risk, y):
        order = y["time"].argsort(descending=True)
        r, e = risk[order, 0], y["event"][order]
        return -((r - torch.logcumsumexp(r, 0)) * e).sum() / e.sum().clamp(min=1)

    x = rows(300, 5)
    y = {"time": -chance(300).log() * (-x[:, 0]).exp(), "event": (chance(300, seed=2) < 0.6).float()}
    return Program(setup(lambda: mlp(5, 16, 1), cox), (x, y), {})


@sound
def grades_in_order() -> Program:
    class Coral(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.b = mlp(5, 24, 1), nn.Parameter(torch.linspace(1, -1, 4))

        def forward(self, x):
            return self.f(x) + self.b

    def loss(z, y):
        return F.binary_cross_entropy_with_logits(z, (y[:, None] > torch.arange(4)).float())

    x = rows(300, 5)
    return Program(
        setup(Coral, loss), (x, torch.bucketize(x[:, 0].contiguous(), torch.tensor([-1.0, -0.3, 0.3, 1.0]))), {}
    )


@sound
def three_quantiles() -> Program:
    def loss(p, y):
        e = y - p
        q = torch.tensor([0.1, 0.5, 0.9])
        return torch.maximum(q * e, (q - 1) * e).mean()

    x = rows(300, 5)
    return Program(setup(lambda: mlp(5, 24, 3), loss), (x, x[:, :1] + noise(300, 1)), {})


@sound
def mixture_of_normals() -> Program:
    def forward(m, x):
        w, mean, s = m.f(x).chunk(3, 1)
        return w.log_softmax(1), mean, F.softplus(s) + 1e-2

    def loss(m, o, y):
        return -torch.logsumexp(o[0] + torch.distributions.Normal(o[1], o[2]).log_prob(y), 1).mean()

    x = rows(300, 3)
    y = torch.where(chance(300, 1) < 0.5, x[:, :1], -x[:, :1]) + 0.1 * noise(300, 1)
    return Program(setup(lambda: Judged(forward, loss, f=mlp(3, 32, 12))), (x, y), {})


@sound
def counts_with_an_exposure() -> Program:
    def loss(z, y):
        return F.poisson_nll_loss(z[:, 0] + y["months"].log(), y["claims"])

    x = rows(400, 5)
    months = 1 + 11 * chance(400)
    claims = torch.poisson(0.2 * months * (0.5 * x[:, 0]).exp(), generator=G(3))
    return Program(setup(lambda: mlp(5, 16, 1), loss), (x, {"claims": claims, "months": months}), {})


@sound
def several_labels_of_dicts() -> Program:
    class Rows(Dataset):
        def __init__(self):
            self.x = rows(300, 7)
            self.y = (self.x[:, :4] + 0.3 * noise(300, 4) > 0.5).float()

        def __len__(self):
            return 300

        def __getitem__(self, i):
            return {"input": self.x[i]}, self.y[i]

    net = lambda: Own(lambda m, d: m.f(d["input"]), f=mlp(7, 24, 4))  # noqa: E731
    return Program(setup(net, nn.BCEWithLogitsLoss()), DataLoader(Rows(), 32, shuffle=True), {})


@sound
def factors_of_users_and_items() -> Program:
    def forward(m, ids):
        u, i = ids[:, 0], ids[:, 1]
        return (m.u(u) * m.i(i)).sum(1) + m.bu(u)[:, 0] + m.bi(i)[:, 0]

    net = lambda: Own(  # noqa: E731
        forward, u=nn.Embedding(40, 6), i=nn.Embedding(30, 6), bu=nn.Embedding(40, 1), bi=nn.Embedding(30, 1)
    )
    ids = torch.stack([torch.randint(0, 40, (700,), generator=G(1)), torch.randint(0, 30, (700,), generator=G(2))], 1)
    y = noise(40, 3, seed=5)[ids[:, 0]].mul(noise(30, 3, seed=6)[ids[:, 1]]).sum(1)
    return Program(setup(net, nn.MSELoss(), optim.AdamW), (ids, y), {"valid_data": 0.2})


@sound
def ranked_pairs() -> Program:
    def forward(m, u, good, bad):
        return (m.u(u) * m.i(good)).sum(1), (m.u(u) * m.i(bad)).sum(1)

    def loss(m, o, y):
        return -F.logsigmoid(o[0] - o[1]).mean()

    draw = lambda high, seed: torch.randint(0, high, (600,), generator=G(seed))  # noqa: E731
    net = lambda: Judged(forward, loss, u=nn.Embedding(40, 8), i=nn.Embedding(30, 8))  # noqa: E731
    return Program(setup(net), ((draw(40, 1), draw(15, 2), 15 + draw(15, 3)), torch.zeros(600)), {})


@sound
def letters_with_shared_weights() -> Program:
    class Lm(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.p = nn.Embedding(20, 32), nn.Embedding(32, 32)
            layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
            self.t = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.o = nn.Linear(32, 20, bias=False)
            self.o.weight = self.e.weight
            nn.init.normal_(self.e.weight, std=0.02)

        def forward(self, x):
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.o(self.t(self.e(x) + self.p(torch.arange(x.shape[1])), mask=mask, is_causal=True))

    t = tokens(256, 13)
    loss = lambda z, y: F.cross_entropy(z.flatten(0, 1), y.flatten())  # noqa: E731
    return Program(setup(Lm, loss, optim.AdamW), (t[:, :-1], t[:, 1:]), {})


@sound
def tags_of_padded_words() -> Program:
    x, _ = padded(240, 12, 20, 1)
    y = torch.where(x > 0, x % 4, -100)

    def forward(m, t):
        return m.o(m.r(m.e(t))[0]).transpose(1, 2)

    net = lambda: Own(  # noqa: E731
        forward, e=nn.Embedding(20, 12, padding_idx=0), r=nn.GRU(12, 16, batch_first=True), o=nn.Linear(16, 4)
    )
    return Program(setup(net, nn.CrossEntropyLoss(ignore_index=-100)), (x, y), {})


@sound
def zero_is_the_padding() -> Program:
    x, _ = padded(240, 12, 20, 1)
    y = torch.where(x > 0, 1 + x % 3, 0)
    net = lambda: Own(  # noqa: E731
        lambda m, t: m.o(m.r(m.e(t))[0]).transpose(1, 2),
        e=nn.Embedding(20, 12, padding_idx=0),
        r=nn.LSTM(12, 16, batch_first=True),
        o=nn.Linear(16, 4),
    )
    return Program(setup(net, nn.CrossEntropyLoss(ignore_index=0)), (x, y), {})


@sound
def graphs_as_matrices() -> Program:
    def forward(m, h, a):
        a = a + torch.eye(8)
        scale = a.sum(-1).rsqrt()
        a = scale[:, :, None] * a * scale[:, None]
        return m.o(F.relu(m.b(a @ F.relu(m.a(a @ h)))).mean(1))

    edges = (chance(200, 8, 8) < 0.3).float().triu(1)
    edges, nodes = edges + edges.transpose(1, 2), noise(200, 8, 4)
    net = lambda: Own(forward, a=nn.Linear(4, 16), b=nn.Linear(16, 16), o=nn.Linear(16, 2))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), ((nodes, edges), (nodes[..., 0].mean(1) > 0).long()), {})


@sound
def sets_without_order() -> Program:
    net = lambda: Own(lambda m, x: m.b(m.a(x).sum(1) / 3), a=mlp(3, 24, 24), b=mlp(24, 24, 1))  # noqa: E731
    x = noise(300, 9, 3)
    return Program(setup(net, nn.MSELoss()), (x, x.amax(1)[:, :1]), {})


@sound
def heat_with_its_equation() -> Program:
    class Heat(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(2, 32, 32, 1, act=nn.Tanh)

        def forward(self, p):
            with torch.enable_grad():
                p = p.detach().requires_grad_(True)
                u = self.f(p)
                (d,) = torch.autograd.grad(u.sum(), p, create_graph=True)
                (dd,) = torch.autograd.grad(d[:, 0].sum(), p, create_graph=True)
            return u, d[:, 1:] - 0.1 * dd[:, :1]

        def loss(self, o, y):
            return F.mse_loss(o[0], y) + o[1].square().mean()

    p = chance(300, 2)
    return Program(setup(Heat), (p, torch.sin(math.pi * p[:, :1]) * torch.exp(-0.1 * math.pi**2 * p[:, 1:])), {})


@sound
def steps_of_an_equation() -> Program:
    def forward(m, x):
        for _ in range(6):
            x = x + 0.2 * m.f(x)
        return m.o(x)

    x = rows(300, 4)
    net = lambda: Own(forward, f=mlp(4, 24, 4, act=nn.Tanh), o=nn.Linear(4, 2))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x, 2)), {})


@sound
def experts_with_a_gate() -> Program:
    def forward(m, x):
        gate = m.g(x).softmax(1)
        return (gate[:, :, None] * torch.stack([one(x) for one in m.e], 1)).sum(1)

    net = lambda: Own(forward, g=nn.Linear(6, 4), e=nn.ModuleList(mlp(6, 16, 3) for _ in range(4)))  # noqa: E731
    x = rows(320, 6)
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


@sound
def signatures_in_pairs() -> Program:
    def loss(m, o, y):
        d = F.pairwise_distance(*o)
        return (y * d.square() + (1 - y) * F.relu(1 - d).square()).mean()

    a, same = rows(300, 8), chance(300) < 0.5
    b = torch.where(same[:, None], a + 0.2 * noise(300, 8), noise(300, 8, seed=7))
    net = lambda: Judged(lambda m, a, b: (m.f(a), m.f(b)), loss, f=mlp(8, 24, 6))  # noqa: E731
    return Program(setup(net), ((a, b), same.float()), {})


@sound
def anchors_of_three() -> Program:
    kind = torch.randint(0, 4, (300,), generator=G(1))
    c = 1.5 * noise(4, 8)
    three = tuple(c[k] + noise(300, 8, seed=s) for k, s in ((kind, 2), (kind, 3), ((kind + 1) % 4, 4)))
    net = lambda: Own(lambda m, *x: tuple(m.f(one) for one in x), f=mlp(8, 24, 6))  # noqa: E731
    return Program(setup(net, lambda z, y: F.triplet_margin_loss(*z, margin=0.5)), (three, kind), {})


@sound
def actor_with_a_critic() -> Program:
    def loss(m, o, y):
        scores, value = o
        dist = torch.distributions.Categorical(logits=scores)
        value = value.squeeze(-1)
        advantage = y["return"] - value.detach()
        policy = -(dist.log_prob(y["action"]) * advantage).mean()
        return policy + 0.5 * F.mse_loss(value, y["return"]) - 0.01 * dist.entropy().mean()

    def forward(m, s):
        h = torch.tanh(m.b(s))
        return m.p(h), m.v(h)

    s, action = rows(256, 4), torch.randint(0, 3, (256,), generator=G(1))
    y = {"action": action, "return": s.gather(1, action[:, None])[:, 0]}
    net = lambda: Judged(forward, loss, b=nn.Linear(4, 32), p=nn.Linear(32, 3), v=nn.Linear(32, 1))  # noqa: E731
    return Program(setup(net), (s, y), {})


@sound
def teacher_and_labels() -> Program:
    def loss(z, y):
        soft = F.kl_div((z / 4).log_softmax(1), (y["teacher"] / 4).softmax(1), reduction="batchmean")
        return 0.3 * F.cross_entropy(z, y["label"]) + 0.7 * 16 * soft

    x = rows(300, 8)
    label = labels_of(x, 4)
    teacher = 4 * F.one_hot(label, 4) + noise(300, 4)
    return Program(setup(lambda: mlp(8, 16, 4), loss), (x, {"label": label, "teacher": teacher}), {})


@sound
def teacher_inside() -> Program:
    torch.manual_seed(1)
    trained = mlp(8, 48, 4).requires_grad_(False)

    def loss(m, o, y):
        return F.cross_entropy(o[0], y) + F.mse_loss(o[0], o[1])

    x = rows(300, 8)
    net = lambda: Judged(lambda m, x: (m.s(x), m.t(x)), loss, s=mlp(8, 16, 4), t=copy.deepcopy(trained))  # noqa: E731
    return Program(setup(net), (x, labels_of(x, 4)), {})


@sound
def codes_of_a_book() -> Program:
    def forward(m, x):
        z = m.e(x)
        q = m.b(torch.cdist(z, m.b.weight).argmin(1))
        return m.d(z + (q - z).detach()), z, q

    def loss(m, o, y):
        return F.mse_loss(o[0], y) + F.mse_loss(o[2], o[1].detach()) + 0.25 * F.mse_loss(o[1], o[2].detach())

    x = rows(320, 3) @ noise(3, 10) / 2
    return Program(
        setup(lambda: Judged(forward, loss, e=mlp(10, 24, 4), d=mlp(4, 24, 10), b=nn.Embedding(12, 4))), (x, x), {}
    )


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -0.3 * grad


@sound
def domains_that_are_not_to_be_seen() -> Program:
    def forward(m, x):
        h = F.relu(m.b(x))
        return m.c(h), m.d(_Reverse.apply(h))

    def loss(m, o, y):
        return F.cross_entropy(o[0], y["kind"]) + F.cross_entropy(o[1], y["place"])

    x = rows(320, 6)
    y = {"kind": labels_of(x), "place": (x[:, 0] > 0).long()}
    net = lambda: Judged(forward, loss, b=nn.Linear(6, 24), c=nn.Linear(24, 3), d=nn.Linear(24, 2))  # noqa: E731
    return Program(setup(net), (x, y), {})


@sound
def series_scaled_by_itself() -> Program:
    def forward(m, x):
        mean, spread = x.mean(1, keepdim=True), x.std(1, keepdim=True) + 1e-5
        return m.f((x - mean) / spread) * spread + mean

    x = (0.3 * noise(300, 30)).cumsum(1)
    return Program(setup(lambda: Own(forward, f=mlp(24, 32, 6)), nn.L1Loss()), (x[:, :24], x[:, 24:]), {})


@sound
def convolutions_that_look_back() -> Program:
    def forward(m, x):
        h = x.transpose(1, 2)
        for i, one in enumerate(m.c):
            h = F.gelu(one(F.pad(h, (2 * 2**i, 0)))) + (h if i else 0)
        return m.o(h).transpose(1, 2)

    x = noise(200, 21, 2).cumsum(1) / 5
    net = lambda: Own(  # noqa: E731
        forward, c=nn.ModuleList([nn.Conv1d(2, 12, 3), nn.Conv1d(12, 12, 3, dilation=2)]), o=nn.Conv1d(12, 2, 1)
    )
    return Program(setup(net, nn.MSELoss()), (x[:, :-1], x[:, 1:]), {})


@sound
def wide_and_deep() -> Program:
    def forward(m, d):
        deep = m.f(torch.cat([d["numbers"], *(one(d["kinds"][:, i]) for i, one in enumerate(m.e))], 1))
        return (m.w(d["numbers"]) + deep)[:, 0]

    d = {"numbers": rows(400, 4), "kinds": torch.randint(0, 6, (400, 2), generator=G(3))}
    y = (d["numbers"][:, 0] + noise(6, 1)[d["kinds"][:, 0], 0] > 0).float()
    net = lambda: Own(  # noqa: E731
        forward, e=nn.ModuleList(nn.Embedding(6, 3) for _ in range(2)), f=mlp(10, 24, 1), w=nn.Linear(4, 1)
    )
    return Program(setup(net, nn.BCEWithLogitsLoss(), metrics=lb.metrics.BinaryAccuracyWithLogits()), (d, y), {})


@sound
def small_changes_of_a_frozen_layer() -> Program:
    class Lora(nn.Module):
        def __init__(self, i, o, r=2):
            super().__init__()
            self.base = nn.Linear(i, o).requires_grad_(False)
            self.a, self.b = nn.Parameter(0.1 * noise(r, i)), nn.Parameter(torch.zeros(o, r))

        def forward(self, x):
            return self.base(x) + x @ self.a.T @ self.b.T

    x = rows(320, 8)
    net = lambda: nn.Sequential(Lora(8, 32), nn.ReLU(), Lora(32, 32), nn.ReLU(), nn.Linear(32, 3))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})


class Duel(nn.Module):
    """A generator and a judge, each with a loss of its own."""

    def __init__(self):
        super().__init__()
        self.g = mlp(4, 24, 2)
        self.d = nn.Sequential(
            *(
                nn.utils.parametrizations.spectral_norm(one) if isinstance(one, nn.Linear) else one
                for one in mlp(2, 24, 1)
            )
        )

    def forward(self, x):
        return self.g(torch.randn(len(x), 4))

    def configure_optimizers(self, lr):
        return {
            "d": optim.Adam(self.d.parameters(), lr, betas=(0.5, 0.999)),
            "g": optim.Adam(self.g.parameters(), lr, betas=(0.5, 0.999)),
        }

    def loss_d(self, x, y):
        return F.relu(1 - self.d(x)).mean() + F.relu(1 + self.d(self(x).detach())).mean()

    def loss_g(self, x, y):
        return -self.d(self(x)).mean()


@sound
def hinge_of_adversaries() -> Program:
    x = rows(320, 2) * torch.tensor([0.4, 1.0]) + 1
    return Program(setup(Duel, optimizer=None), (x, x), {})


@sound
def flow_with_couplings() -> Program:
    def forward(m, x):
        total = torch.zeros(len(x))
        for i, one in enumerate(m.c):
            a, b = x.chunk(2, 1) if i % 2 else x.chunk(2, 1)[::-1]
            s, t = one(a).chunk(2, 1)
            s = torch.tanh(s)
            b, total = b * s.exp() + t, total + s.sum(1)
            x = torch.cat([a, b] if i % 2 else [b, a], 1)
        return x, total

    def loss(m, o, y):
        return (0.5 * o[0].square().sum(1) - o[1]).mean()

    x = rows(320, 4)
    x = torch.cat([x[:, :2], x[:, 2:] + x[:, :2].square() - 1], 1)
    return Program(setup(lambda: Judged(forward, loss, c=nn.ModuleList(mlp(2, 16, 4) for _ in range(4)))), (x, x), {})


@sound
def noise_taken_away() -> Program:
    class Diffuse(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(4, 48, 48, 2, act=nn.SiLU)
            self.register_buffer("kept", torch.cumprod(1 - torch.linspace(1e-3, 0.2, 30), 0))

        def forward(self, x):
            t = torch.randint(0, 30, (len(x), 1))
            e, a = torch.randn_like(x), self.kept[t]
            w = t / 30 * math.pi
            return self.f(torch.cat([a.sqrt() * x + (1 - a).sqrt() * e, w.sin(), w.cos()], 1)), e

        def loss(self, o, y):
            return F.mse_loss(*o)

    x = rows(320, 2)
    return Program(
        setup(Diffuse), (torch.stack([x[:, 0], x[:, 0].square() / 2 + 0.1 * x[:, 1]], 1), torch.zeros(320)), {}
    )


@sound
def restored_from_noise() -> Program:
    clean = F.avg_pool2d(noise(140, 1, 16, 16), 5, 1, 2) * 3
    net = lambda: Own(  # noqa: E731
        lambda m, x: x + m.f(x),
        f=nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 3, padding=1)),
    )
    return Program(setup(net, nn.L1Loss()), (clean + 0.3 * noise(140, 1, 16, 16, seed=2), clean), {})


@sound
def overlap_beside_entropy() -> Program:
    def loss(z, y):
        p = z.sigmoid()
        both = (p * y).sum((1, 2, 3))
        dice = 1 - (2 * both + 1) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + 1)
        return F.binary_cross_entropy_with_logits(z, y) + dice.mean()

    x = F.avg_pool2d(noise(140, 1, 16, 16), 3, 1, 1) * 2
    net = lambda: nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 3, padding=1))  # noqa: E731
    return Program(setup(net, loss), (x, (x > 0.5).float()), {})


@sound
def boxes_by_corners() -> Program:
    def overlap(a, b):
        size = (torch.min(a[:, 2:], b[:, 2:]) - torch.max(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
        return size / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - size + 1e-6)

    def forward(m, x):
        c, s = m.f(x).sigmoid().chunk(2, 1)
        return torch.cat([c - s / 2, c + s / 2], 1)

    c, s = 0.3 + 0.4 * chance(300, 2), 0.2 + 0.3 * chance(300, 2, seed=2)
    y = torch.cat([c - s / 2, c + s / 2], 1)
    loss = lambda p, y: F.l1_loss(p, y) + 1 - overlap(p, y).mean()  # noqa: E731
    return Program(
        setup(lambda: Own(forward, f=mlp(6, 32, 4)), loss), (torch.cat([c, s, rows(300, 2)], 1) @ noise(6, 6), y), {}
    )


@sound
def hidden_words_are_filled() -> Program:
    t = tokens(256, 12)
    hidden = chance(256, 12) < 0.2
    x, y = torch.where(hidden, 0, t), torch.where(hidden, t, -100)

    def forward(m, t):
        return m.o(m.t(m.e(t) + m.p(torch.arange(t.shape[1])))).transpose(1, 2)

    net = lambda: Own(  # noqa: E731
        forward,
        e=nn.Embedding(21, 24),
        p=nn.Embedding(16, 24),
        t=nn.TransformerEncoderLayer(24, 2, 48, batch_first=True, dropout=0.0),
        o=nn.Linear(24, 21),
    )
    return Program(setup(net, nn.CrossEntropyLoss()), (x, y), {})


@sound
def weights_of_rows_in_the_loss() -> Program:
    def loss(p, y):
        return (F.mse_loss(p[:, 0], y["y"], reduction="none") * y["w"]).sum() / y["w"].sum()

    x = rows(300, 6)
    return Program(setup(lambda: mlp(6, 24, 1), loss), (x, {"y": x[:, 0] * x[:, 1], "w": 0.2 + chance(300)}), {})


@sound
def labels_that_nobody_asks() -> Program:
    class Auto(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.d = mlp(12, 16, 3), mlp(3, 16, 12)

        def forward(self, x):
            return self.d(self.e(x)), x

    x = rows(300, 3) @ noise(3, 12) / 2
    return Program(setup(Auto, lambda o, y: F.mse_loss(*o)), (x, labels_of(x)), {})


@sound
def names_beside_the_labels() -> Program:
    def loss(p, y):
        return F.cross_entropy(p, y["label"])

    x = rows(300, 5)
    return Program(setup(lambda: mlp(5, 16, 3), loss), (x, {"label": labels_of(x), "row": torch.arange(300)}), {})


@sound
def slow_copy_of_the_net() -> Program:
    class Dqn(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = mlp(4, 32, 3)
            self.slow = copy.deepcopy(self.q).requires_grad_(False)

        def forward(self, now, then):
            return self.q(now), self.slow(then)

        def loss(self, o, y):
            goal = y["reward"] + 0.9 * (1 - y["done"]) * o[1].max(1).values
            return F.smooth_l1_loss(o[0].gather(1, y["action"][:, None])[:, 0], goal)

    s = rows(300, 4)
    y = {
        "reward": s[:, 0],
        "done": (chance(300) < 0.1).float(),
        "action": torch.randint(0, 3, (300,), generator=G(2)),
    }
    return Program(setup(Dqn), ((s, 0.9 * s + 0.2 * noise(300, 4)), y), {})


@sound
def one_encoder_under_two_names() -> Program:
    def forward(m, a, b):
        return m.o(torch.cat([m.left(a), m.right(b)], 1))[:, 0]

    def make():
        enc = mlp(5, 16, 8)
        return Own(forward, left=enc, right=enc, o=mlp(16, 16, 1))

    a, b = rows(300, 5, 1), rows(300, 5, 2)
    return Program(setup(make, nn.BCEWithLogitsLoss()), ((a, b), ((a * b).sum(1) > 0).float()), {})


@sound
def rates_of_two_groups() -> Program:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = mlp(8, 24, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(F.relu(self.body(x)))

        def configure_optimizers(self, lr):
            return optim.AdamW(
                [{"params": self.body.parameters(), "lr": lr / 10}, {"params": self.head.parameters()}], lr
            )

    x = rows(320, 8)
    return Program(setup(Net, nn.CrossEntropyLoss(label_smoothing=0.2), optimizer=None), (x, labels_of(x)), {})


@sound
def rows_from_a_loader() -> Program:
    x = rows(320, 1, 3)[:, :, None] * torch.ones(1, 1, 12) + 0.3 * noise(320, 1, 12)
    net = lambda: nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(80, 2))  # noqa: E731
    data = DataLoader(TensorDataset(x, (x[:, 0].mean(1) > 0).long()), batch_size=32, shuffle=True)
    return Program(setup(net, nn.CrossEntropyLoss(), optim.SGD, lr=0.05, momentum=0.9, nesterov=True), data, {})
