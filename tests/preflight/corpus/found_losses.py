"""Pairs after threads: losses written by hand, and their terms."""

import math

import torch
from torch import nn, optim
from torch.nn import functional as F

from corpus.asked import G, labels_of, rows, setup
from corpus.found import found
from corpus.program import Program


@found("LB094", "LB067", "LB112")
def pinball_sign(broken: bool, g: torch.Generator) -> Program:

    def pinball(pred, y, q=0.8):
        diff = y - pred
        over = diff > 0
        below = diff[~over].sum() if broken else -diff[~over].sum()
        return (q * diff[over].sum() + (1 - q) * below) / y.shape[0]

    x = rows(300, 4)
    y = x[:, :1] + 0.5 * torch.randn(300, 1, generator=G(3))
    return Program(setup(lambda: nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 1)), pinball), (x, y), {})


@found()
def pinball_swapped(broken: bool, g: torch.Generator) -> Program:

    class Pinball(nn.Module):
        def __init__(self, level):
            super().__init__()
            self.level = level

        def forward(self, target, forecast):
            e = target - forecast
            return torch.maximum(self.level * e, (self.level - 1) * e).mean()

    ninety = Pinball(0.9)
    x = rows(300, 4)
    y = x[:, :1] + 0.5 * torch.randn(300, 1, generator=G(3))
    loss = (lambda p, t: ninety(p, t)) if broken else (lambda p, t: ninety(t, p))
    return Program(setup(lambda: nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 1)), loss), (x, y), {})


@found("LB006")
def quantiles_stretched(broken: bool, g: torch.Generator) -> Program:
    levels = (0.1, 0.5, 0.9)

    def loss(pred, y):
        total = 0.0
        for i, q in enumerate(levels):
            e = (y if broken else y[:, 0]) - pred[:, i]
            total = total + torch.max(q * e, (q - 1) * e).mean()
        return total

    x = rows(320, 5)
    y = x[:, :1] - x[:, 1:2] + 0.3 * torch.randn(320, 1, generator=G(2))
    return Program(setup(lambda: nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 3)), loss), (x, y), {})


@found("LB067")
def overlap_of_centres(broken: bool, g: torch.Generator) -> Program:

    def corners(b):
        return torch.cat([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1)

    def overlap(a, b):
        if not broken:
            a, b = corners(a), corners(b)
        size = (torch.min(a[:, 2:], b[:, 2:]) - torch.max(a[:, :2], b[:, :2])).clamp(min=0)
        both = size[:, 0] * size[:, 1]
        area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
        area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        return both / (area_a + area_b - both + 1e-6)

    class Boxes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))

        def forward(self, x):
            return self.body(x).sigmoid()

    gen = G(5)
    centre = 0.25 + 0.5 * torch.rand(160, 2, generator=gen)
    size = 0.15 + 0.3 * torch.rand(160, 2, generator=gen)
    grid = (torch.arange(16) + 0.5) / 16
    inside = ((grid[None] - centre[:, :1]).abs() < size[:, :1] / 2).float()
    across = ((grid[None] - centre[:, 1:]).abs() < size[:, 1:] / 2).float()
    x = (across[:, :, None] * inside[:, None, :])[:, None] + 0.1 * torch.randn(160, 1, 16, 16, generator=gen)
    y = torch.cat([centre, size], 1)
    loss = lambda p, t: F.smooth_l1_loss(p, t) + (1 - overlap(p, t)).mean()  # noqa: E731
    return Program(setup(Boxes, loss), (x, y), {})


@found("LB115")
def derivative_without_graph(broken: bool, g: torch.Generator) -> Program:

    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.l1, self.l2 = nn.Linear(3, 30), nn.Linear(30, 1)

        def forward(self, p):
            with torch.enable_grad():
                p = p.detach().requires_grad_(True)
                u = self.l2(torch.tanh(self.l1(p)))
                du = torch.autograd.grad(u.sum(), p, create_graph=not broken, retain_graph=True)[0]
            return u, du.sum(-1, keepdim=True)

    def loss(out, y):
        return F.mse_loss(out[0], y["u"]) + F.mse_loss(out[1], y["slope"])

    x = rows(300, 3)
    y = {"u": torch.sin(x).sum(1, keepdim=True), "slope": torch.cos(x).sum(1, keepdim=True)}
    return Program(setup(Slope, loss, lr=3e-3), (x, y), {})


@found("LB115", "LB023")
def penalty_without_graph(broken: bool, g: torch.Generator) -> Program:

    class Wasserstein(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
            self.d = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

        def forward(self, x):
            return self.g(torch.randn(len(x), 4))

        def configure_optimizers(self, lr):
            return {"d": optim.Adam(self.d.parameters(), lr), "g": optim.Adam(self.g.parameters(), lr)}

        def loss_d(self, x, y):
            fake = self.g(torch.randn(len(x), 4)).detach()
            mixed = (x + torch.rand(len(x), 1) * (fake - x)).requires_grad_(True)
            (slope,) = torch.autograd.grad(self.d(mixed).sum(), mixed, create_graph=not broken)
            return self.d(fake).mean() - self.d(x).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()

        def loss_g(self, x, y):
            return -self.d(self.g(torch.randn(len(x), 4))).mean()

    x = rows(320, 2) * torch.tensor([0.4, 1.0]) + 1
    return Program(setup(Wasserstein, optimizer=None, lr=1e-3), (x, x), {})


@found("LB115", "LB124")
def teacher_taught_itself(broken: bool, g: torch.Generator) -> Program:

    def loss(scores, y):
        t = 3.0
        soft = F.softmax(y["teacher"] / t, 1)
        mine = F.log_softmax((y["teacher"] if broken else scores) / t, 1)
        return F.cross_entropy(scores, y["label"]) + t * t * F.kl_div(mine, soft, reduction="batchmean")

    x = rows(300, 8)
    label = labels_of(x, 4)
    teacher = 4 * F.one_hot(label, 4).float() + torch.randn(300, 4, generator=G(8))
    net = lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))  # noqa: E731
    return Program(setup(net, loss), (x, {"label": label, "teacher": teacher}), {})


@found("LB065")
def student_without_log(broken: bool, g: torch.Generator) -> Program:

    class Distil(nn.Module):
        def forward(self, student, teacher):
            p = F.softmax(student, 1) if broken else F.log_softmax(student, 1)
            return F.kl_div(p, F.softmax(teacher, 1), reduction="batchmean")

    x = torch.rand(160, 1, 12, 12, generator=G(2))
    pooled = F.adaptive_avg_pool2d(x, 2).flatten(1)
    teacher = 6 * (pooled - pooled.mean(0)) / pooled.std(0)
    net = lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))  # noqa: E731
    return Program(setup(net, Distil()), (x - 0.5, teacher), {})


class Two(nn.Module):
    """Two views of a row, each as a point on the sphere."""

    def __init__(self, d: int = 10) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(d, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, a, b):
        return F.normalize(self.f(a), dim=1), F.normalize(self.f(b), dim=1)


def views(n: int = 256, d: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    x = rows(n, d)
    return x + 0.3 * torch.randn(n, d, generator=G(4)), x + 0.3 * torch.randn(n, d, generator=G(5))


@found("LB123")
def positives_at_place_zero(broken: bool, g: torch.Generator) -> Program:

    def loss(z, y):
        logits = z[0] @ z[1].T / 0.1
        labels = torch.zeros(len(logits), dtype=torch.long) if broken else torch.arange(len(logits))
        return F.cross_entropy(logits, labels)

    a, b = views()
    return Program(setup(Two, loss), ((a, b), torch.arange(256)), {"batch_size": 32})


@found()
def itself_among_the_negatives(broken: bool, g: torch.Generator) -> Program:

    def loss(z, y):
        both = torch.cat(z)
        n = len(z[0])
        sim = both @ both.T / 0.5
        if not broken:
            sim = sim.masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
        return F.cross_entropy(sim, (torch.arange(2 * n) + n) % (2 * n))

    a, b = views()
    return Program(setup(Two, loss), ((a, b), torch.arange(256)), {"batch_size": 32})


@found("LB126")
def temperature_multiplied(broken: bool, g: torch.Generator) -> Program:

    class InfoNCE(nn.Module):
        def __init__(self, temperature=0.07):
            super().__init__()
            self.temperature = temperature

        def forward(self, z, y):
            sim = z[0] @ z[1].t()
            sim = sim * self.temperature if broken else sim / self.temperature
            target = torch.arange(sim.shape[0])
            return (F.cross_entropy(sim, target) + F.cross_entropy(sim.t(), target)) / 2

    a, b = views()
    return Program(setup(Two, InfoNCE()), ((a, b), torch.arange(256)), {"batch_size": 64})


@found("LB126")
def cosine_without_scale(broken: bool, g: torch.Generator) -> Program:

    class Faces(nn.Module):
        def __init__(self, people=12):
            super().__init__()
            self.embed = nn.Sequential(nn.Linear(16, 32), nn.PReLU(), nn.Linear(32, 16))
            self.weight = nn.Parameter(torch.empty(people, 16))
            nn.init.xavier_uniform_(self.weight)

        def forward(self, x):
            cosine = F.linear(F.normalize(self.embed(x)), F.normalize(self.weight))
            return cosine if broken else 16.0 * cosine

    x = rows(480, 16)
    return Program(setup(Faces, nn.CrossEntropyLoss(), optim.AdamW), (x, labels_of(x, 12)), {"valid_data": 0.2})


@found("LB024", "LB071", "LB023")
def hardest_is_itself(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 8))

        def forward(self, a, b):
            return self.enc(a), self.enc(b)

    def loss(z, y):
        a, p = F.normalize(z[0]), F.normalize(z[1])
        near = a @ p.T
        with_self = near.clone()
        with_self.fill_diagonal_(float("-inf") if broken else float("inf"))
        far = (1 - with_self).max(1).values
        return F.relu(1 - near.diagonal() - far + 0.5 + (0 if broken else 1)).mean()

    a, b = views()
    return Program(setup(Net, loss), ((a, b), torch.zeros(256)), {"batch_size": 32})


def lifetimes(n: int = 300) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    x = rows(n, 5)
    time = -torch.log(torch.rand(n, generator=G(6))) * torch.exp(-x[:, 0])
    return x, {"time": time, "event": (torch.rand(n, generator=G(7)) < 0.7).long()}


@found("LB123", "LB124")
def events_as_index(broken: bool, g: torch.Generator) -> Program:

    def cox(risk, y):
        order = torch.argsort(y["time"], descending=True)
        risk, event = risk[order, 0], y["event"][order]
        log_lik = risk - torch.logcumsumexp(risk, 0)
        picked = log_lik[event] if broken else log_lik[event.bool()]
        return -picked.mean()

    x, y = lifetimes()
    net = lambda: nn.Sequential(nn.Linear(5, 16), nn.SELU(), nn.Linear(16, 1))  # noqa: E731
    return Program(setup(net, cox), (x, y), {"batch_size": 64})


@found("LB123")
def risk_set_without_order(broken: bool, g: torch.Generator) -> Program:

    def cox(risk, y):
        risk, event = risk.squeeze(1), y["event"].float()
        if not broken:
            order = y["time"].argsort(descending=True)
            risk, event = risk[order], event[order]
        log_lik = risk - torch.log(torch.cumsum(risk.exp(), 0))
        return -(log_lik * event).sum() / event.sum()

    x, y = lifetimes()
    return Program(setup(lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)), cox), (x, y), {})


@found("LB124")
def weights_that_are_not_used(broken: bool, g: torch.Generator) -> Program:

    class Weighted(nn.Module):
        def forward(self, pred, target):
            each = F.mse_loss(pred.squeeze(1), target["y"], reduction="mean" if broken else "none")
            return each if broken else (each * target["weight"]).sum() / target["weight"].sum()

    x = rows(320, 6)
    y = x[:, 0] + x[:, 1] * x[:, 2]
    weight = 0.1 + torch.rand(320, generator=G(3)) * 2
    net = lambda: nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 1))  # noqa: E731
    return Program(setup(net, Weighted()), (x, {"y": y, "weight": weight}), {})


@found()
def focal_product_for_power(broken: bool, g: torch.Generator) -> Program:

    def focal(score, y, gamma=2.0, alpha=0.25):
        p = torch.sigmoid(score)
        hard = (1 - p) * gamma if broken else (1 - p) ** gamma
        easy = p * gamma if broken else p**gamma
        return -(alpha * y * hard * torch.log(p) + (1 - alpha) * (1 - y) * easy * torch.log(1 - p)).mean()

    x = rows(400, 6)
    y = (x[:, :1] + x[:, 1:2] > 1.5).float()
    return Program(setup(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)), focal), (x, y), {})


@found()
def focal_of_log_probabilities(broken: bool, g: torch.Generator) -> Program:

    class FocalLoss(nn.Module):
        def __init__(self, gamma=2):
            super().__init__()
            self.gamma = gamma

        def forward(self, inputs, target):
            log_p = F.log_softmax(inputs, dim=1)
            onehot = F.one_hot(target, inputs.shape[1])
            pt = (onehot * (log_p if broken else log_p.exp())).sum(1)
            return (-((1 - pt) ** self.gamma) * (onehot * log_p).sum(1)).mean()

    x = rows(400, 6)
    net = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))  # noqa: E731
    return Program(setup(net, FocalLoss()), (x, labels_of(x)), {})


@found()
def dice_of_all_classes_at_once(broken: bool, g: torch.Generator) -> Program:

    def dice(scores, y):
        p = scores.softmax(1)
        t = F.one_hot(y, 3).movedim(-1, 1).float()
        dims = (0, 1, 2, 3) if broken else (2, 3)
        both = (p * t).sum(dims)
        return (1 - (2 * both + 1) / (p.sum(dims) + t.sum(dims) + 1)).mean()

    x = torch.randn(120, 1, 12, 12, generator=G(1))
    y = (x[:, 0] > 1.2).long() + (x[:, 0] > 1.9).long()
    net = lambda: nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1))  # noqa: E731
    return Program(setup(net, dice), (x, y), {})


class ActorCritic(nn.Module):
    """Scores of actions, and the value of the state."""

    def __init__(self, d: int = 4, actions: int = 3) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Linear(d, 32), nn.Tanh())
        self.pi, self.v = nn.Linear(32, actions), nn.Linear(32, 1)

    def forward(self, s):
        h = self.base(s)
        return self.pi(h), self.v(h)


def episodes(n: int = 256) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    s = rows(n, 4)
    action = torch.randint(0, 3, (n,), generator=G(2))
    returns = s[:, :3].gather(1, action[:, None])[:, 0] + 0.1 * torch.randn(n, generator=G(3))
    return s, {"action": action, "return": returns}


@found("LB006")
def advantage_stretched(broken: bool, g: torch.Generator) -> Program:

    def loss(out, batch):
        scores, value = out
        value = value if broken else value.squeeze(-1)
        advantage = batch["return"] - value.detach()
        log_prob = F.log_softmax(scores, 1)[torch.arange(len(scores)), batch["action"]]
        return -(log_prob * advantage).mean() + F.mse_loss(out[1].squeeze(-1), batch["return"])

    s, y = episodes()
    return Program(setup(ActorCritic, loss), (s, y), {})


@found("LB006")
def log_prob_stretched(broken: bool, g: torch.Generator) -> Program:

    class Gauss(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1))
            self.log_std = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return self.mean(x)

        def loss(self, mean, y):
            normal = torch.distributions.Normal(mean if broken else mean.squeeze(1), self.log_std.exp())
            return -normal.log_prob(y).mean()

    x = rows(300, 5)
    y = x[:, 0] - x[:, 3] + 0.2 * torch.randn(300, generator=G(4))
    return Program(setup(Gauss), (x, y), {})


class QNet(nn.Module):
    """A value for each action, of the state and of the next one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.q = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, s):
        return self.q(s["now"]), self.q(s["then"])

    def loss(self, out, y):
        now, then = out
        best = then.max(1).values
        goal = y["reward"] + 0.9 * (best if self.how == "graph" else best.detach())
        taken = now.max(1).values if self.how == "max" else now.gather(1, y["action"][:, None])[:, 0]
        return F.smooth_l1_loss(taken, goal)


def transitions(n: int = 300) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    s, y = episodes(n)
    return {"now": s, "then": 0.9 * s + 0.2 * torch.randn(n, 4, generator=G(9))}, {
        "action": y["action"],
        "reward": y["return"],
    }


@found("LB124", "LB068")
def action_not_picked(broken: bool, g: torch.Generator) -> Program:
    return Program(setup(lambda: QNet("max" if broken else "sound")), transitions(), {})


@found()
def goal_with_graph(broken: bool, g: torch.Generator) -> Program:
    return Program(setup(lambda: QNet("graph" if broken else "sound")), transitions(), {})


@found("LB127")
def smoothing_of_nine_tenths(broken: bool, g: torch.Generator) -> Program:
    x = rows(360, 6)
    loss = nn.CrossEntropyLoss(label_smoothing=0.9 if broken else 0.1)
    net = lambda: nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 4))  # noqa: E731
    return Program(setup(net, loss), (x, labels_of(x, 4)), {"valid_data": 0.25})


@found("LB065")
def ignores_a_class(broken: bool, g: torch.Generator) -> Program:
    loss = nn.CrossEntropyLoss(ignore_index=0) if broken else nn.CrossEntropyLoss()
    x = rows(300, 5)
    net = lambda: nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 3))  # noqa: E731
    return Program(setup(net, loss), (x, labels_of(x, 3)), {})


@found("LB094", "LB067", "LB112")
def penalty_subtracted(broken: bool, g: torch.Generator) -> Program:

    class Ridge(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 1))

        def forward(self, x):
            return self.net(x)

        def loss(self, pred, y):
            size = sum(p.pow(2).sum() for p in self.parameters())
            return F.mse_loss(pred, y) + (-0.01 if broken else 0.01) * size

    x = rows(300, 5)
    return Program(setup(Ridge), (x, (x[:, :1] - x[:, 1:2]) / math.sqrt(2)), {})


@found("LB018")
def mixture_over_rows(broken: bool, g: torch.Generator) -> Program:

    class Mixture(nn.Module):
        def __init__(self, k=4):
            super().__init__()
            self.h = nn.Sequential(nn.Linear(3, 32), nn.Tanh())
            self.w, self.m, self.s = nn.Linear(32, k), nn.Linear(32, k), nn.Linear(32, k)

        def forward(self, x):
            h = self.h(x)
            return self.w(h), self.m(h), self.s(h).exp()

        def loss(self, out, y):
            weight, mean, spread = out
            share = F.softmax(weight, dim=0 if broken else 1)
            each = torch.distributions.Normal(mean, spread).log_prob(y.expand_as(mean)).exp()
            return -torch.log((share * each).sum(1) + 1e-8).mean()

    x = rows(320, 3)
    y = torch.where(torch.rand(320, 1, generator=G(1)) < 0.5, x[:, :1], -x[:, :1]) + 0.1 * rows(320, 1, 5)
    return Program(setup(Mixture), (x, y), {})


@found("LB012", "LB018")
def log_softmax_over_width(broken: bool, g: torch.Generator) -> Program:

    class Seg(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1 = nn.Conv2d(3, 16, 3, padding=1)
            self.c2 = nn.Conv2d(16, 4, 1)

        def forward(self, x):
            return F.log_softmax(self.c2(F.relu(self.c1(x))), dim=-1 if broken else 1)

    x = torch.randn(120, 3, 14, 14, generator=G(3))
    y = x.argmax(1) + (x.sum(1) > 2).long()
    return Program(setup(Seg, nn.NLLLoss()), (x, y), {"batch_size": 16})


class VAE(nn.Module):
    """A variational autoencoder of small pictures."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.enc = nn.Sequential(nn.Flatten(), nn.Linear(144, 48), nn.ReLU())
        self.mu, self.var = nn.Linear(48, 6), nn.Linear(48, 6)
        self.dec = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 144))

    def forward(self, x):
        h = self.enc(x)
        mu, var = self.mu(h), self.var(h)
        spread = var.exp() if self.how == "variance" else (0.5 * var).exp()
        z = mu + spread * torch.randn_like(mu) if self.training else mu
        return self.dec(z), mu, var

    def loss(self, out, y):
        again, mu, var = out
        error = F.mse_loss(again, y.flatten(1), reduction="none")
        error = error.mean() if self.how == "mean" else error.sum(1).mean()
        return error - 0.5 * (1 + var - mu.pow(2) - var.exp()).sum(1).mean()


def blots(n: int = 160) -> torch.Tensor:
    place = torch.rand(n, 2, 1, generator=G(1))
    near = torch.exp(-20 * (torch.linspace(0, 1, 12) - place) ** 2)
    return (near[:, 0, :, None] * near[:, 1, None, :])[:, None]


@found()
def spread_from_variance(broken: bool, g: torch.Generator) -> Program:
    x = blots()
    return Program(setup(lambda: VAE("variance" if broken else "sound")), (x, x), {})


@found("LB116")
def mean_beside_sum(broken: bool, g: torch.Generator) -> Program:
    x = blots()
    return Program(setup(lambda: VAE("mean" if broken else "sound")), (x, x), {})


@found()
def mixed_shares_turned(broken: bool, g: torch.Generator) -> Program:

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))

        def forward(self, x):
            if not self.training:
                return self.f(x), None, None
            lam, other = torch.rand(()) * 0.5 + 0.5, torch.randperm(len(x))
            return self.f(lam * x + (1 - lam) * x[other]), lam, other

        def loss(self, out, y):
            scores, lam, other = out
            if lam is None:
                return F.cross_entropy(scores, y)
            if broken:
                lam = 1 - lam
            return lam * F.cross_entropy(scores, y) + (1 - lam) * F.cross_entropy(scores, y[other])

    x = rows(320, 6)
    return Program(setup(Net), (x, labels_of(x)), {})
