"""Further pairs after threads: losses, and their terms."""

import torch
from torch import nn, optim
from torch.nn import functional as F

from corpus.asked import G, labels_of, rows, setup, tokens
from corpus.found_sound import Judged, Own, chance, mlp, noise
from corpus.more import more
from corpus.program import Program


@more("LB115")
def weights_detached_before_their_penalty(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        share = m.gate(x).softmax(1)
        out = (share * m.parts(x)).sum(1, keepdim=True)
        return out, share.detach() if broken else share

    def loss(out, y):
        return F.mse_loss(out[0], y) + 0.1 * out[1].square().sum(1).mean()

    x = rows(300, 5)
    net = lambda: Own(forward, gate=nn.Linear(5, 4), parts=mlp(5, 16, 4))  # noqa: E731
    return Program(setup(net, loss), (x, torch.sin(x[:, :1]) * x[:, 1:2]), {})


@more("LB115")
def terms_gathered_by_tensor(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        first = m.a(x)
        second = m.b(torch.relu(first))
        return m.last(torch.relu(second)), (first, second)

    def loss(out, y):
        terms = [(one.mean(0).square()).mean() for one in out[1]]
        decoupled = torch.tensor([float(one) for one in terms]).mean() if broken else torch.stack(terms).mean()
        return F.cross_entropy(out[0], y) + decoupled

    x = rows(300, 6)
    net = lambda: Own(forward, a=nn.Linear(6, 16), b=nn.Linear(16, 16), last=nn.Linear(16, 3))  # noqa: E731
    return Program(setup(net, loss), (x, labels_of(x)), {})


@more("LB114")
def divergence_of_all_rows_for_each(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        mu, logvar = m.enc(x).chunk(2, 1)
        z = mu + torch.randn_like(mu) * (logvar / 2).exp() if m.training else mu
        return m.dec(z), mu, logvar

    def loss(out, x):
        made, mu, logvar = out
        inside = 1 + logvar - mu.square() - logvar.exp()
        divergence = -0.5 * (inside.sum() if broken else inside.sum(1))
        error = (made - x).square().sum(1)
        return (error + divergence).mean()

    x = rows(300, 2) @ noise(2, 8) + 0.1 * noise(300, 8, seed=2)
    return Program(setup(lambda: Own(forward, enc=mlp(8, 24, 6), dec=mlp(3, 24, 8)), loss), (x, x), {})


@more()
def variance_from_a_second_exponential(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        mu, s = m.body(x).chunk(2, 1)
        return mu, s.exp()

    def loss(out, y):
        mu, var = out
        if broken:
            var = var.exp()
        return (0.5 * (var.log() + (y - mu).square() / var)).mean()

    x = rows(300, 4)
    y = torch.sin(2 * x[:, :1]) + 0.1 * noise(300, 1)
    return Program(setup(lambda: Own(forward, body=mlp(4, 32, 2)), loss), (x, y), {})


@more("LB114", "LB094")
def overlaps_summed_over_pictures(broken: bool, g: torch.Generator) -> Program:
    def loss(raw, y):
        p = raw.sigmoid().flatten(1)
        t = y.flatten(1)
        both = 2 * (p * t).sum(1) + 1
        dice = both / (p.sum(1) + t.sum(1) + 1)
        return 1 - (dice.sum() if broken else dice.mean())

    x = noise(160, 1, 12, 12)
    y = (F.avg_pool2d(x, 3, 1, 1) > 0.1).float()
    net = lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))  # noqa: E731
    return Program(setup(net, loss), (x, y), {})


@more("LB115")
def overlap_of_hard_masks(broken: bool, g: torch.Generator) -> Program:
    class Both(nn.Module):
        def forward(self, raw, y):
            p = torch.sigmoid(raw)
            hard = (p > 0.5).float() if broken else p
            inter = (hard * y).sum((1, 2, 3))
            jaccard = (inter + 1) / (hard.sum((1, 2, 3)) + y.sum((1, 2, 3)) - inter + 1)
            return F.binary_cross_entropy_with_logits(raw, y) + (1 - jaccard).mean()

    x = noise(160, 2, 10, 10, seed=4)
    y = (x[:, :1] > 0.4).float()
    net = lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))  # noqa: E731
    return Program(setup(net, Both()), (x, y), {})


@more("LB124")
def advantage_of_every_action(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, y):
        logp = F.log_softmax(scores, 1)
        if broken:
            return -(logp * y["advantage"][:, None]).mean()
        taken = logp.gather(1, y["action"][:, None]).squeeze(1)
        return -(taken * y["advantage"]).mean()

    x = rows(320, 4)
    action = torch.randint(0, 3, (320,), generator=G(2))
    y = {"action": action, "advantage": torch.where(action == labels_of(x), 1.0, 0.1)}
    return Program(setup(lambda: mlp(4, 32, 3, act=nn.Tanh), loss), (x, y), {})


@more("LB023", "LB115")
def log_probabilities_of_a_detached_copy(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x):
        scores = m.policy(x)
        copied = scores.clone().detach() if broken else scores.clone()
        return copied.log_softmax(1), m.total(torch.ones(1, 1)).squeeze()

    def loss(out, y):
        logp, total = out
        return (total + logp.gather(1, y["action"][:, None])[:, 0] - y["reward"].log()).square().mean()

    x = rows(320, 5)
    y = {"action": torch.randint(0, 4, (320,), generator=G(3)), "reward": 0.1 + chance(320)}
    net = lambda: Own(forward, policy=mlp(5, 24, 4), total=nn.Linear(1, 1))  # noqa: E731
    return Program(setup(net, loss), (x, y), {})


@more("LB068")
def both_views_are_the_first(broken: bool, g: torch.Generator) -> Program:
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(10, 32, 8)

        def forward(self, batch):
            one, two = batch["aug1"], batch["aug1" if broken else "aug2"]
            return F.normalize(self.f(one), dim=1), F.normalize(self.f(two), dim=1)

    def loss(z, y):
        return F.cross_entropy(z[0] @ z[1].T / 0.2, torch.arange(len(z[0])))

    x = rows(256, 10)
    views = {"aug1": x + 0.3 * noise(256, 10, seed=4), "aug2": x + 0.3 * noise(256, 10, seed=5)}
    return Program(setup(Views, loss), (views, torch.arange(256)), {"batch_size": 32})


@more("LB096", "LB002")
def rows_without_a_partner(broken: bool, g: torch.Generator) -> Program:
    def loss(z, y):
        z = F.normalize(z, dim=1)
        own = torch.eye(len(z), dtype=torch.bool)
        logits = (z @ z.T / 0.3).masked_fill(own, -1e9)
        same = (y[:, None] == y[None]) & ~own
        logp = logits - logits.logsumexp(1, keepdim=True)
        count = same.sum(1)
        per_row = -(logp * same).sum(1) / (count if broken else count.clamp(min=1))
        return per_row.mean()

    x = rows(240, 8)
    y = torch.randint(0, 60, (240,), generator=G(1))
    return Program(setup(lambda: mlp(8, 32, 8), loss), (x, y), {"batch_size": 40})


@more("LB009", "LB008", "LB063")
def mask_for_a_full_batch(broken: bool, g: torch.Generator) -> Program:
    def loss(z, y):
        n = 64 if broken else len(z)
        z = F.normalize(z, dim=1)
        far = 1 - torch.eye(n)
        same = (y[:, None] == y[None]).float()
        near = z @ z.T
        return ((1 - near) * same * far + F.relu(near - 0.2) * (1 - same)).mean()

    x = rows(230, 8)
    return Program(setup(lambda: mlp(8, 32, 8), loss), (x, labels_of(x)), {"batch_size": 64})


@more("LB012", "LB094")
def likelihood_without_logarithm(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, y):
        p = F.softmax(scores, 1) if broken else F.log_softmax(scores, 1)
        return F.nll_loss(p, y)

    x = rows(300, 6)
    return Program(setup(lambda: mlp(6, 24, 4), loss), (x, labels_of(x, 4)), {})


@more("LB096", "LB002")
def logarithm_taken_twice(broken: bool, g: torch.Generator) -> Program:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(6, 24, 3)

        def forward(self, x):
            return F.log_softmax(self.f(x), dim=1)

    def loss(out, y):
        hot = F.one_hot(y, 3).float()
        return -(hot * (out.log() if broken else out)).sum(1).mean()

    x = rows(300, 6)
    return Program(setup(Net, loss), (x, labels_of(x)), {})


@more("LB065")
def divergence_to_logarithms(broken: bool, g: torch.Generator) -> Program:
    kl = nn.KLDivLoss(reduction="batchmean", log_target=not broken)
    x = rows(300, 6)
    teacher = (x @ noise(6, 5, seed=3)).log_softmax(1)
    net = lambda: nn.Sequential(*mlp(6, 32, 5), nn.LogSoftmax(1))  # noqa: E731
    return Program(setup(net, kl), (x, teacher), {})


@more("LB067", "LB054")
def likeness_is_minimised(broken: bool, g: torch.Generator) -> Program:
    def loss(pred, y):
        near = F.cosine_similarity(pred, y, dim=-1)
        return near.mean() if broken else (1 - near).mean()

    x = rows(300, 8)
    return Program(setup(lambda: mlp(8, 32, 6), loss), (x, torch.tanh(x @ noise(8, 6, seed=3))), {})


@more()
def same_and_different_change_places(broken: bool, g: torch.Generator) -> Program:
    def forward(m, a, b):
        return F.pairwise_distance(m.f(a), m.f(b))

    def loss(far, y):
        y = y if broken else 1 - y
        return (y * far.square() + (1 - y) * F.relu(1 - far).square()).mean()

    kind = torch.randint(0, 5, (2, 300), generator=G(5))
    kind[1] = torch.where(chance(300) < 0.4, kind[0], kind[1])
    centres = 2 * noise(5, 6, seed=9)
    a, b = centres[kind[0]] + noise(300, 6, seed=2), centres[kind[1]] + noise(300, 6, seed=3)
    differ = (kind[0] != kind[1]).float()
    return Program(setup(lambda: Own(forward, f=mlp(6, 24, 4)), loss), ((a, b), differ), {})


@more("LB096", "LB002", "LB058")
def distance_of_a_row_to_itself(broken: bool, g: torch.Generator) -> Program:
    def loss(z, y):
        apart = (z[:, None] - z[None]).square().sum(-1)
        far = apart.sqrt() if broken else (apart + 1e-9).sqrt()
        same = (y[:, None] == y[None]).float()
        return (same * far + (1 - same) * F.relu(1 - far)).mean()

    x = rows(240, 7)
    return Program(setup(lambda: mlp(7, 24, 4), loss), (x, labels_of(x)), {"batch_size": 32})


@more("LB094", "LB139")
def spread_costs_nothing(broken: bool, g: torch.Generator) -> Program:
    def loss(out, y):
        mu, logvar = out.chunk(2, 1)
        price = 0.0 if broken else logvar
        return (0.5 * (price + (y - mu).square() * torch.exp(-logvar))).mean()

    x = rows(300, 4)
    y = x[:, :1] - x[:, 1:2] + x[:, 2:3].abs() * noise(300, 1, seed=6)
    return Program(setup(lambda: mlp(4, 32, 2), loss), (x, y), {})


@more("LB067")
def better_item_ranked_below(broken: bool, g: torch.Generator) -> Program:
    def forward(m, user, liked, other):
        u = m.users(user)
        return (u * m.items(liked)).sum(1), (u * m.items(other)).sum(1)

    class Pairwise(nn.Module):
        def forward(self, scores, y):
            good, bad = scores
            return -F.logsigmoid((bad - good) if broken else (good - bad)).mean()

    user = torch.randint(0, 30, (400,), generator=G(1))
    liked = (user * 3 + torch.randint(0, 4, (400,), generator=G(2))) % 40
    other = (user * 3 + 4 + torch.randint(0, 36, (400,), generator=G(3))) % 40
    net = lambda: Own(forward, users=nn.Embedding(30, 8), items=nn.Embedding(40, 8))  # noqa: E731
    return Program(setup(net, Pairwise()), ((user, liked, other), torch.ones(400)), {})


@more("LB017", "LB065", "LB067", "LB139")
def hinge_of_zeros_and_ones(broken: bool, g: torch.Generator) -> Program:
    def hinge(pred, y):
        return torch.clamp(1 - (y if broken else 2 * y - 1) * pred, min=0).mean()

    x = rows(300, 6)
    y = (labels_of(x, 2) == 1).float()[:, None]
    return Program(setup(lambda: mlp(6, 24, 1), hinge), (x, y), {})


@more("LB065", "LB123", "LB009")
def rows_for_steps_in_ctc(broken: bool, g: torch.Generator) -> Program:
    def loss(raw, y):
        logp = raw.log_softmax(-1)
        logp = logp if broken else logp.transpose(0, 1)
        n = logp.shape[1]
        sizes = torch.full((n,), len(logp))
        return F.ctc_loss(logp, y[:n], sizes, torch.full((n,), y.shape[1]))

    y = torch.randint(1, 6, (160, 3), generator=G(4))
    x = F.one_hot(y.repeat_interleave(5, 1), 6).float() + 0.3 * noise(160, 15, 6)
    x = torch.cat([x, 0.3 * noise(160, 1, 6, seed=2)], 1)
    net = lambda: Own(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.GRU(6, 24, batch_first=True), out=nn.Linear(24, 6))  # noqa: E731
    return Program(setup(net, loss), (x, y), {"batch_size": 16})


@more()
def labels_mixed_as_numbers(broken: bool, g: torch.Generator) -> Program:
    def loss(m, scores, y):
        if not m.training:
            return F.cross_entropy(scores, y)
        if broken:
            return F.cross_entropy(scores, (0.7 * y + 0.3 * y.flip(0)).long())
        return 0.7 * F.cross_entropy(scores, y) + 0.3 * F.cross_entropy(scores, y.flip(0))

    def forward(m, x):
        return m.f(0.7 * x + 0.3 * x.flip(0) if m.training else x)

    x = rows(300, 6)
    return Program(setup(lambda: Judged(forward, loss, f=mlp(6, 32, 4))), (x, labels_of(x, 4)), {})


@more("LB006", "LB123", "LB114")
def goals_of_a_column_for_values_of_a_row(broken: bool, g: torch.Generator) -> Program:
    def forward(m, s):
        return m.q(s["now"]), m.q(s["then"])

    def loss(out, y):
        q = out[0].gather(1, y["action"].view(-1, 1))
        best = out[1].detach().max(1)[0]
        goal = y["reward"] + 0.9 * best
        return F.smooth_l1_loss(q, goal if broken else goal.unsqueeze(1))

    s = rows(300, 4)
    y = {"action": torch.randint(0, 3, (300,), generator=G(2)), "reward": s[:, 0]}
    net = lambda: Own(forward, q=mlp(4, 32, 3))  # noqa: E731
    return Program(setup(net, loss), ({"now": s, "then": 0.9 * s + 0.2 * rows(300, 4, 9)}, y), {})


@more("LB118")
def tags_of_padding_are_learned(broken: bool, g: torch.Generator) -> Program:
    words = tokens(240, 14)
    length = torch.randint(3, 13, (240,), generator=G(8))
    beyond = torch.arange(14)[None] >= length[:, None]
    tags = (words % 3 + 1).masked_fill(beyond, 0)
    words = words.masked_fill(beyond, 0)

    def loss(scores, y):
        return F.cross_entropy(scores.flatten(0, 1), y.flatten(), ignore_index=-100 if broken else 0)

    def forward(m, x):
        return m.out(m.rnn(m.emb(x))[0])

    net = lambda: Own(  # noqa: E731
        forward,
        emb=nn.Embedding(20, 16, padding_idx=0),
        rnn=nn.LSTM(16, 16, batch_first=True),
        out=nn.Linear(16, 4),
    )
    return Program(setup(net, loss, optim.AdamW), (words, tags), {})


@more("LB067", "LB112")
def entropy_with_the_wrong_sign(broken: bool, g: torch.Generator) -> Program:
    def loss(out, y):
        scores, value = out
        one = torch.distributions.Categorical(logits=scores)
        gain = y["return"] - value.detach()
        actor = -(one.log_prob(y["action"]) * gain).mean()
        critic = F.mse_loss(value, y["return"])
        return actor + 0.5 * critic + (0.5 if broken else -0.01) * one.entropy().mean()

    def forward(m, x):
        h = torch.tanh(m.body(x))
        return m.actor(h), m.critic(h).squeeze(-1)

    x = rows(320, 4)
    action = torch.randint(0, 3, (320,), generator=G(2))
    y = {"action": action, "return": torch.where(action == labels_of(x), 1.0, 0.0)}
    net = lambda: Own(forward, body=nn.Linear(4, 32), actor=nn.Linear(32, 3), critic=nn.Linear(32, 1))  # noqa: E731
    return Program(setup(net, loss), (x, y), {})
