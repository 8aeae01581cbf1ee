"""Reported pairs: losses, steps and optimizers. Own programs, after what people ask about; `reported.csv` names where each was seen."""

# ruff: noqa: E501

import torch
from torch import nn, optim
from torch.nn import functional as F

import lumbre as lb
from corpus.program import Program
from corpus.reported import CE, G, go, ints, mlp, pics, reg, reported, rnd, table, uni


@reported("LB007")
def softmax_by_hand(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 3)

        def forward(self, x):
            z = self.f(x)
            e = z.exp()
            return e / e.sum(1, keepdim=True) if broken else z

    return go(Net, (x, y), CE())


@reported("LB011")
def own_loss_sigmoid_twice(broken: bool, g: G) -> Program:
    x, y = table(g, k=2)
    y = y.float()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 1)

        def forward(self, x):
            return torch.sigmoid(self.f(x))[:, 0]

        def loss(self, p, y):
            return F.binary_cross_entropy_with_logits(p, y) if broken else F.binary_cross_entropy(p, y)

    return go(Net, (x, y))


@reported("LB018")
def log_softmax_over_rows(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 3)

        def forward(self, x):
            return F.log_softmax(self.f(x), 0 if broken else 1)

    return go(Net, (x, y), nn.NLLLoss())


@reported("LB006")
def own_loss_stretched(broken: bool, g: G) -> Program:
    x, y = reg(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 1)

        def forward(self, x):
            return self.f(x)

        def loss(self, p, y):
            return ((p.squeeze(1) if broken else p) - y).abs().mean()

    return go(Net, (x, y))


@reported("LB065")
def kl_of_probabilities(broken: bool, g: G) -> Program:
    x = rnd(g, 400, 5)
    y = (2 * x @ rnd(g, 5, 4)).softmax(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(5, 24, 4)

        def forward(self, x):
            return self.f(x).softmax(1) if broken else self.f(x).log_softmax(1)

    return go(Net, (x, y), nn.KLDivLoss(reduction="batchmean"))


@reported("LB065")
def cosine_labels_0_1(broken: bool, g: G) -> Program:
    a = rnd(g, 300, 10)
    same = uni(g, 300) < 0.5
    c = torch.where(same[:, None], a + 0.3 * rnd(g, 300, 10), rnd(g, 300, 10))
    y = same.float()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(10, 24, 8)

        def forward(self, a, c):
            return (self.f(a), self.f(c))

        def loss(self, z, y):
            return F.cosine_embedding_loss(z[0], z[1], y if broken else y * 2 - 1)

    return go(Net, ((a, c), y))


@reported("LB054", "LB112")
def vae_sign_of_kl(broken: bool, g: G) -> Program:
    x, _ = pics(g, c=1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.d = (mlp(256, 32, 8), mlp(4, 32, 256))

        def forward(self, x):
            m, v = self.e(x.flatten(1)).chunk(2, 1)
            return (self.d(m + torch.randn_like(m) * (v / 2).exp()), m, v)

        def loss(self, o, y):
            r, m, v = o
            kl = 0.5 * (m * m + v.exp() - 1 - v).sum(1).mean()
            return F.mse_loss(r, y.flatten(1), reduction="sum") / len(y) + (-kl if broken else kl)

    return go(Net, (x, x))


@reported("LB065", "NonFiniteLossError", "LB096")
def log_of_raw_spread(broken: bool, g: G) -> Program:
    x, y = reg(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 2)

        def forward(self, x):
            m, z = self.f(x).chunk(2, 1)
            return (m, z if broken else F.softplus(z) + 0.001)

        def loss(self, o, y):
            return (o[1].log() + (y - o[0]).abs() / o[1]).mean()

    return go(Net, (x, y))


@reported("LB054", "LB067")
def sign_of_the_likelihood(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 3)

        def forward(self, x):
            return self.f(x).log_softmax(1)

        def loss(self, p, y):
            return (1 if broken else -1) * p[torch.arange(len(y)), y].mean()

    return go(Net, (x, y))


@reported("LB094", "LB112")
def triplet_without_margin(broken: bool, g: G) -> Program:
    y = ints(g, 4, 300)
    c = rnd(g, 4, 8) * 1.5
    a = c[y] + rnd(g, 300, 8)
    p = c[y] + rnd(g, 300, 8)
    n = c[(y + 1 + ints(g, 3, 300)) % 4] + rnd(g, 300, 8)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(8, 24, 6)

        def forward(self, a, p, n):
            return (self.f(a), self.f(p), self.f(n))

        def loss(self, z, y):
            d = (z[0] - z[1]).pow(2).sum(1) - (z[0] - z[2]).pow(2).sum(1)
            return d.mean() if broken else F.relu(d + 1).mean()

    return go(Net, ((a, p, n), y))


@reported("LB067", "LB065")
def overlap_of_raw_scores(broken: bool, g: G) -> Program:
    x, _ = pics(g, c=1)
    m = (x > 0.55).float()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

        def forward(self, x):
            return self.f(x)

        def loss(self, z, y):
            p = z if broken else z.sigmoid()
            return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)

    return go(Net, (x, m))


@reported("LB023")
def a_term_without_graph(broken: bool, g: G) -> Program:
    x, y = reg(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 12)
            self.h, self.k = (nn.Linear(12, 1), nn.Linear(12, 6))

        def forward(self, x):
            z = torch.relu(self.f(x))
            return (self.h(z), self.k(z), x)

        def loss(self, o, y):
            again = F.mse_loss(o[1], o[2])
            return F.mse_loss(o[0], y) + 0.5 * (again.item() if broken else again)

    return go(Net, (x, y))


class Adversaries(nn.Module):
    def __init__(self, bug=None):
        super().__init__()
        self.g, self.d = (mlp(4, 24, 2), mlp(2, 24, 1))
        self.bug = bug

    def forward(self, x):
        return x

    def draw(self, x):
        return self.g(torch.randn(len(x), 4))

    def configure_optimizers(self, lr):
        return {"d": optim.Adam(self.d.parameters(), lr), "g": optim.Adam(self.g.parameters(), lr)}

    def loss_d(self, x, y):
        return F.softplus(-self.d(x)).mean() + F.softplus(self.d(self.draw(x).detach())).mean()

    def loss_g(self, x, y):
        fake = self.draw(x)
        if self.bug == "detach":
            fake = fake.detach()
        z = self.d(fake)
        return F.softplus(z if self.bug == "sign" else -z).mean()


@reported("LB023")
def generator_detached(broken: bool, g: G) -> Program:
    x = rnd(g, 320, 2) * torch.tensor([0.3, 1.0]) + 2
    return go(lambda: Adversaries("detach" if broken else None), (x, x), opt=None)


@reported()
def generator_wants_to_be_found(broken: bool, g: G) -> Program:
    x = rnd(g, 320, 2) * torch.tensor([0.3, 1.0]) + 2
    return go(lambda: Adversaries("sign" if broken else None), (x, x), opt=None)


@reported("LB053", "LB113")
def step_in_evaluation(broken: bool, g: G) -> Program:
    x, y = table(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 3))

        def forward(self, x):
            return self.f(x)

        def loss(self, p, y):
            return F.cross_entropy(p, y)

        def configure_optimizers(self, lr):
            return {"main": optim.Adam(self.parameters(), lr)}

        def step(self, ctx):
            if broken:
                self.eval()
            loss = self.loss(self(ctx.batch.input), ctx.batch.target)
            ctx.minimize(loss, "main")
            return {"loss": loss}

    return go(Net, (x, y), opt=None)


@reported("LB107", "LB023")
def step_forgets_a_loss(broken: bool, g: G) -> Program:
    x, y = reg(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = (mlp(6, 24, 1), mlp(6, 24, 1))

        def forward(self, x):
            return (self.a(x), self.c(x))

        def configure_optimizers(self, lr):
            return {"a": optim.Adam(self.a.parameters(), lr), "c": optim.Adam(self.c.parameters(), lr)}

        def step(self, ctx):
            p, q = self(ctx.batch.input)
            y = ctx.batch.target
            one, two = (F.mse_loss(p, y), F.mse_loss(q, (y - p.detach()).abs()))
            ctx.minimize(one, "a")
            if not broken:
                ctx.minimize(two, "c")
            return {"a": one, "c": two}

    return go(Net, (x, y), opt=None)


@reported("LB022")
def optimizer_of_the_head(broken: bool, g: G) -> Program:
    x, y = pics(g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten())
            self.head = nn.Linear(392, 3)

        def forward(self, x):
            return self.head(self.body(x))

        def configure_optimizers(self, lr):
            return optim.Adam(self.head.parameters() if broken else self.parameters(), lr)

    return go(Net, (x, y), CE(), opt=None)


@reported("LB034")
def decay_of_one(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(lambda: mlp(6, 24, 3), (x, y), CE(), opts={"weight_decay": 1.0 if broken else 0.0001})


@reported("LB033")
def adam_with_rate_1(broken: bool, g: G) -> Program:
    x, y = pics(g)
    return go(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 3)),
        (x, y),
        CE(),
        lr=1.0 if broken else 0.001,
    )


@reported("LB033", "LB074")
def rate_far_too_small(broken: bool, g: G) -> Program:
    x, y = reg(g)
    return go(lambda: mlp(6, 24, 1), (x, y), nn.MSELoss(), lr=1e-08 if broken else 0.01)


@reported("LB035")
def schedule_by_batch(broken: bool, g: G) -> Program:
    x, y = table(g)
    f = (lambda step, total: 0.1 ** (step // 2)) if broken else lambda step, total: 0.5 ** (step // 20)
    return go(lambda: mlp(6, 24, 3), (x, y), CE(), callbacks=lb.callbacks.LearningRate(f))


@reported("LB092")
def accumulates_too_many(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(lambda: mlp(6, 24, 3), (x, y), CE(), callbacks=lb.callbacks.Accumulate(200 if broken else 2))


@reported()
def average_that_hardly_moves(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(
        lambda: mlp(6, 24, 3), (x, y), CE(), callbacks=lb.callbacks.EMA(0.9999 if broken else 0.8), valid_data=0.2
    )


@reported("LB089")
def best_by_lowest_accuracy(broken: bool, g: G) -> Program:
    x, y = table(g)
    return go(
        lambda: mlp(6, 24, 3),
        (x, y),
        CE(),
        metrics=lb.metrics.Accuracy(),
        valid_data=0.2,
        callbacks=lb.callbacks.KeepBestModel("valid_acc", mode="min" if broken else "max"),
    )


@reported("LB074")
def clipped_far_too_low(broken: bool, g: G) -> Program:
    x, y = reg(g)
    return go(
        lambda: mlp(6, 24, 1),
        (x, y),
        nn.MSELoss(),
        lr=0.05,
        opt=optim.SGD,
        callbacks=lb.callbacks.GradientClip(max_norm=None, max_value=1e-06 if broken else 1.0),
    )
