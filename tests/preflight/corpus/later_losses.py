"""Later pairs: losses and steps of one's own."""

# ruff: noqa: E731
import torch
from torch import nn, optim
from torch.nn import functional as F

from corpus.asked import labels_of, rows, setup
from corpus.found_sound import Judged, Own, chance, mlp, noise
from corpus.later import later
from corpus.program import Program


@later("LB023", "LB071")
def codebook_judged_after_straight_through(broken: bool, g: torch.Generator) -> Program:
    class Coder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = mlp(12, 32, 4), mlp(4, 32, 12)
            self.codes = nn.Embedding(16, 4)

        def forward(self, x):
            z = self.encoder(x)
            near = self.codes(torch.cdist(z, self.codes.weight).argmin(1))
            through = z + (near - z).detach()
            return self.decoder(through), z, through if broken else near

        def loss(self, out, x):
            again, z, code = out
            return F.mse_loss(again, x) + F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())

    x = rows(300, 12)
    return Program(setup(Coder), (x, x), {})


@later("LB094", "LB112", "LB067")
def volume_of_a_flow_subtracted(broken: bool, g: torch.Generator) -> Program:
    class Coupling(nn.Module):
        def __init__(self):
            super().__init__()
            self.nets = nn.ModuleList(mlp(3, 32, 6) for _ in range(2))

        def forward(self, x):
            volume = 0
            for net in self.nets:
                kept, moved = x.chunk(2, 1)
                scale, shift = net(kept).chunk(2, 1)
                x = torch.cat([moved * scale.exp() + shift, kept], 1)
                volume = volume + scale.sum(1)
            return x, volume

        def loss(self, out, _):
            z, volume = out
            fit = 0.5 * z.square().sum(1)
            return (fit + volume).mean() if broken else (fit - volume).mean()

    x = rows(300, 6) * torch.tensor([2.0, 1, 1, 0.5, 1, 1])
    return Program(setup(Coupling), (x, torch.zeros(300)), {})


@later("LB114", "LB116", "LB020", "LB085")
def volume_of_a_flow_summed_over_rows(broken: bool, g: torch.Generator) -> Program:
    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(3, 32, 6)

        def forward(self, x):
            kept, moved = x.chunk(2, 1)
            scale, shift = self.net(kept).chunk(2, 1)
            scale = torch.tanh(scale)
            return torch.cat([kept, moved * scale.exp() + shift], 1), scale

        def loss(self, out, _):
            z, scale = out
            return 0.5 * z.square().sum(1).mean() - (scale.sum() if broken else scale.sum(1).mean())

    return Program(setup(Affine), (rows(300, 6), torch.zeros(300)), {})


@later("LB023", "LB115", "LB024")
def ratio_of_chances_is_detached(broken: bool, g: torch.Generator) -> Program:
    def loss(m, out, batch):
        scores, value = out
        new = F.log_softmax(scores, 1).gather(1, batch["action"][:, None])[:, 0]
        ratio = (new - batch["before"]).exp()
        ratio = ratio.detach() if broken else ratio
        gain = batch["gain"]
        policy = -torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean()
        return policy + 0.5 * F.mse_loss(value[:, 0], batch["reward"])

    x = rows(300, 6)
    target = {
        "action": labels_of(x, 3),
        "before": -1.1 + 0.05 * noise(300),
        "gain": noise(300, seed=3),
        "reward": torch.tanh(x[:, 0]),
    }
    net = lambda: Judged(lambda m, x: (m.policy(x), m.value(x)), loss, policy=mlp(6, 32, 3), value=mlp(6, 32, 1))
    return Program(setup(net), (x, target), {})


@later("LB124")
def end_of_an_episode_is_not_looked_at(broken: bool, g: torch.Generator) -> Program:
    class Agent(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = mlp(5, 32, 3)
            self.slow = mlp(5, 32, 3).requires_grad_(False)

        def forward(self, x):
            return self.values(x)

        def loss(self, values, step):
            best = self.slow(step["next"]).max(1).values
            best = best if broken else best * (1 - step["done"])
            goal = step["reward"] + 0.9 * best
            return F.smooth_l1_loss(values.gather(1, step["action"][:, None])[:, 0], goal)

    x = rows(300, 5)
    step = {
        "action": labels_of(x, 3),
        "reward": torch.tanh(x[:, 0]),
        "next": rows(300, 5, seed=4),
        "done": (chance(300) < 0.2).float(),
    }
    return Program(setup(Agent), (x, step), {})


@later("LB124")
def intervals_after_censoring_are_counted(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, y):
        each = F.binary_cross_entropy_with_logits(scores, y["died"], reduction="none")
        return each.mean() if broken else (each * y["seen"]).sum() / y["seen"].sum()

    x = rows(300, 6)
    last = torch.randint(1, 9, (300,), generator=g)
    interval = torch.arange(8)[None]
    y = {
        "died": ((interval == last[:, None] - 1) & (chance(300, 1) < 0.6)).float(),
        "seen": (interval < last[:, None]).float(),
    }
    return Program(setup(lambda: mlp(6, 32, 8), loss), (x, y), {})


@later("LB096", "LB002")
def scale_of_a_weibull_as_it_comes(broken: bool, g: torch.Generator) -> Program:
    def loss(out, y):
        shape, scale = (out if broken else F.softplus(out) + 1e-3).unbind(1)
        t = y / scale
        return -(shape.log() - scale.log() + (shape - 1) * t.log() - t**shape).mean()

    x = rows(300, 5)
    return Program(setup(lambda: mlp(5, 24, 2), loss), (x, torch.exp(0.3 * x[:, 0] + 0.3 * noise(300))), {})


@later("LB096", "LB002", "LB025", "LB058", "LB056", "LB116")
def exposure_in_place_of_its_logarithm(broken: bool, g: torch.Generator) -> Program:
    def forward(m, x, exposure):
        return m.f(x)[:, 0] + (exposure if broken else exposure.log())

    x = rows(300, 5)
    exposure = 50 + 200 * chance(300)
    y = torch.poisson(exposure * torch.exp(0.3 * x[:, 0] - 2), generator=g)
    net = lambda: Own(forward, f=mlp(5, 24, 1))
    return Program(setup(net, nn.PoissonNLLLoss()), ((x, exposure), y), {})


@later("LB123", "LB067", "LB139")
def views_one_after_the_other_taken_for_interleaved(broken: bool, g: torch.Generator) -> Program:
    def loss(m, out, _):
        z = F.normalize(torch.cat(out) if broken else torch.stack(out, 1).flatten(0, 1), dim=1)
        like = (z @ z.T / 0.2).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
        return F.cross_entropy(like, torch.arange(len(z)) ^ 1)

    x = rows(256, 12)
    pair = x + 0.2 * noise(256, 12, seed=2), x + 0.2 * noise(256, 12, seed=3)
    net = lambda: Judged(lambda m, a, b: (m.f(a), m.f(b)), loss, f=mlp(12, 32, 8))
    return Program(setup(net), (pair, torch.zeros(256)), {})


@later("LB139", "LB067")
def triplet_without_a_margin(broken: bool, g: torch.Generator) -> Program:
    def loss(m, out, _):
        anchor, same, other = out
        near, far = (anchor - same).square().sum(1), (anchor - other).square().sum(1)
        return F.relu(near - far + (0.0 if broken else 1.0)).mean()

    kind = torch.arange(300) % 5
    centres = 2 * noise(5, 8, seed=9)
    x = tuple(centres[one] + noise(300, 8, seed=i) for i, one in enumerate((kind, kind, (kind + 1 + kind // 2) % 5)))
    net = lambda: Judged(lambda m, *x: tuple(m.f(one) for one in x), loss, f=mlp(8, 24, 4))
    return Program(setup(net), (x, torch.zeros(300)), {})


@later("LB139", "LB067")
def target_of_two_views_is_trained_too(broken: bool, g: torch.Generator) -> Program:
    def loss(m, out, _):
        a, b = out
        if broken:
            return F.mse_loss(a, b)
        spread = torch.stack([a, b]).std(1)
        return F.mse_loss(a, b) + F.relu(1 - spread).mean()

    x = rows(256, 10)
    pair = x + 0.2 * noise(256, 10, seed=2), x + 0.2 * noise(256, 10, seed=3)
    net = lambda: Judged(lambda m, a, b: (m.f(a), m.f(b)), loss, f=mlp(10, 32, 8))
    return Program(setup(net), (pair, torch.zeros(256)), {})


@later("LB139", "LB110")
def noise_to_predict_is_drawn_again(broken: bool, g: torch.Generator) -> Program:
    class Denoiser(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(9, 48, 8)

        def forward(self, x):
            share = torch.rand(len(x), 1)
            added = torch.randn_like(x)
            seen = (1 - share).sqrt() * x + share.sqrt() * added
            return self.net(torch.cat([seen, share], 1)), torch.randn_like(x) if broken else added

        def loss(self, out, _):
            return F.mse_loss(*out)

    return Program(setup(Denoiser), (rows(300, 8), torch.zeros(300)), {})


@later("LB067", "LB094", "LB112", "LB139")
def weights_of_tasks_cost_nothing(broken: bool, g: torch.Generator) -> Program:
    class Tasks(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.first, self.second = mlp(6, 32, 16), nn.Linear(16, 1), nn.Linear(16, 1)
            self.log_spread = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            h = self.body(x).relu()
            return torch.cat([self.first(h), self.second(h)], 1)

        def loss(self, out, y):
            each = (out - y).square().mean(0)
            weighed = (-self.log_spread).exp() * each
            return weighed.sum() if broken else (weighed + self.log_spread).sum()

    x = rows(300, 6)
    y = torch.stack([torch.tanh(x[:, 0] + x[:, 2]), x[:, 1] + 0.5 * noise(300)], 1)
    return Program(setup(Tasks), (x, y), {})


@later("LB069", "LB070", "LB022")
def weights_of_tasks_outside_the_module(broken: bool, g: torch.Generator) -> Program:
    class Weighed(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_spread = nn.Parameter(torch.zeros(2))

        def forward(self, out, y):
            each = (out - y).square().mean(0)
            return ((-self.log_spread).exp() * each + self.log_spread).sum()

    x = rows(300, 6)
    y = torch.stack([torch.tanh(x[:, 0] + x[:, 2]), x[:, 1] + 0.5 * noise(300)], 1)
    weighed = Weighed()
    loss = (lambda out, y: weighed(out, y)) if broken else weighed
    return Program(setup(lambda: mlp(6, 32, 2), loss), (x, y), {})


@later("LB023", "LB124")
def second_task_judged_by_the_first_head(broken: bool, g: torch.Generator) -> Program:
    def loss(m, out, y):
        kind, size = out
        of_size = kind[:, :1] if broken else size
        return F.cross_entropy(kind, y["kind"]) + F.smooth_l1_loss(of_size, y["size"])

    def forward(m, x):
        h = m.body(x).relu()
        return m.kind(h), m.size(h)

    x = rows(300, 6)
    y = {"kind": labels_of(x), "size": torch.tanh(x[:, :1])}
    net = lambda: Judged(forward, loss, body=mlp(6, 32), kind=nn.Linear(32, 3), size=nn.Linear(32, 1))
    return Program(setup(net), (x, y), {})


@later("LB115", "LB023")
def features_of_the_prediction_without_graph(broken: bool, g: torch.Generator) -> Program:
    class Sharper(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
            self.seen = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AvgPool2d(2)).requires_grad_(False)

        def forward(self, x):
            return self.net(x)

        def loss(self, out, y):
            with torch.set_grad_enabled(not broken and torch.is_grad_enabled()):
                alike = F.mse_loss(self.seen(out), self.seen(y))
            return F.l1_loss(out, y) + 0.5 * alike

    y = F.avg_pool2d(noise(120, 1, 14, 14), 3, 1)
    return Program(setup(Sharper), (F.avg_pool2d(y, 3, 1, 1), y), {"batch_size": 16})


@later("LB024", "LB071", "LB115")
def term_divided_by_itself(broken: bool, g: torch.Generator) -> Program:
    def loss(m, out, y):
        first, second = F.mse_loss(out[0], y[:, :1]), F.mse_loss(out[1], y[:, 1:])
        if broken:
            return first / first + second / second
        return first / first.detach() + second / second.detach()

    def forward(m, x):
        h = m.body(x).relu()
        return m.a(h), m.b(h)

    x = rows(300, 6)
    y = torch.stack([5 * torch.tanh(x[:, 0] + x[:, 3]), x[:, 1] * x[:, 2]], 1)
    net = lambda: Judged(forward, loss, body=mlp(6, 32), a=nn.Linear(32, 1), b=nn.Linear(32, 1))
    return Program(setup(net), (x, y), {})


@later("LB065")
def order_of_two_items_as_zero_and_one(broken: bool, g: torch.Generator) -> Program:
    judge = nn.MarginRankingLoss(margin=0.5)

    def loss(m, out, y):
        return judge(*out, y)

    first, second = rows(300, 6), rows(300, 6, seed=5)
    better = (first[:, 0] > second[:, 0]).float()
    net = lambda: Judged(lambda m, a, b: (m.f(a)[:, 0], m.f(b)[:, 0]), loss, f=mlp(6, 24, 1))
    return Program(setup(net), ((first, second), better if broken else 2 * better - 1), {})


@later("LB065")
def several_labels_as_zeros_and_ones_of_a_margin(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    present = (x[:, :4] > 0.5).long()
    listed = torch.full((300, 4), -1)
    for row, each in enumerate(present):
        of = each.nonzero()[:, 0]
        listed[row, : len(of)] = of
    return Program(setup(lambda: mlp(6, 24, 4), nn.MultiLabelMarginLoss()), (x, present if broken else listed), {})


@later("LB067", "LB123", "LB114")
def steps_first_against_rows_first(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, y):
        scores = scores.transpose(0, 1) if broken else scores
        return F.cross_entropy(scores.reshape(-1, 4), y.reshape(-1))

    x = noise(200, 9, 3)
    y = (x[:, :, 0] > 0).long() + 2 * (x[:, :, 1] > 0).long()
    net = lambda: Own(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.GRU(3, 24, batch_first=True), out=nn.Linear(24, 4))
    return Program(setup(net, loss), (x, y), {})


@later("LB124", "LB119")
def last_step_alone_is_kept_of_a_sum(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, y):
        total = 0.0
        for at in range(y.shape[1]):
            one = F.cross_entropy(scores[:, at], y[:, at])
            total = one if broken else total + one
        return total if broken else total / y.shape[1]

    x = noise(200, 6, 3)
    y = (x[:, :, 0].cumsum(1) > 0).long()
    net = lambda: Own(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.GRU(3, 24, batch_first=True), out=nn.Linear(24, 2))
    return Program(setup(net, loss), (x, y), {})


@later("LB124")
def half_of_the_box_is_never_judged(broken: bool, g: torch.Generator) -> Program:
    def loss(box, y):
        second = slice(0, 2) if broken else slice(2, 4)
        return F.smooth_l1_loss(box[:, :2], y[:, :2]) + F.smooth_l1_loss(box[:, second], y[:, second])

    x = noise(200, 1, 12, 12)
    weight = noise(144, 4, seed=5) / 12
    y = torch.sigmoid(x.flatten(1) @ weight)
    net = lambda: nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    return Program(setup(net, loss), (x, y), {})


@later("LB020", "LB114", "LB123", "LB085", "LB018")
def likeness_along_the_rows(broken: bool, g: torch.Generator) -> Program:
    def loss(out, y):
        return (1 - F.cosine_similarity(out, y, dim=0 if broken else 1)).mean()

    x = rows(300, 8)
    y = torch.tanh(x @ noise(8, 5, seed=4) / 2)
    return Program(setup(lambda: mlp(8, 32, 5), loss), (x, y), {})


@later("LB018", "LB020", "LB114", "LB085", "LB123")
def log_softmax_of_a_policy_over_rows(broken: bool, g: torch.Generator) -> Program:
    def loss(scores, step):
        logs = F.log_softmax(scores, dim=0 if broken else 1)
        return -(logs.gather(1, step["action"][:, None])[:, 0] * step["gain"]).mean()

    x = rows(300, 6)
    step = {"action": labels_of(x, 3), "gain": 1 + 0.3 * noise(300)}
    return Program(setup(lambda: mlp(6, 32, 3), loss), (x, step), {})


@later("LB065", "LB012", "LB018")
def ctc_of_chances_over_steps(broken: bool, g: torch.Generator) -> Program:
    judge = nn.CTCLoss(blank=0)

    def loss(scores, y):
        logs = F.log_softmax(scores.transpose(0, 1), dim=0 if broken else 2)  # (steps, rows, signs)
        n = len(y)
        return judge(logs, y, torch.full((n,), logs.shape[0]), torch.full((n,), y.shape[1]))

    y = torch.randint(1, 6, (160, 4), generator=g)
    x = F.one_hot(y.repeat_interleave(4, 1), 6).float() + 0.3 * noise(160, 16, 6)
    net = lambda: Own(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.GRU(6, 24, batch_first=True), out=nn.Linear(24, 6))
    return Program(setup(net, loss), (x, y), {"batch_size": 16})


@later("LB140", "LB054", "LB067", "LB073")
def backward_of_ones_own_with_its_sign_turned(broken: bool, g: torch.Generator) -> Program:
    class Gauss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.exp(-x.square())
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, gradient):
            x, y = ctx.saved_tensors
            return gradient * (2 if broken else -2) * x * y

    def forward(m, x):
        return m.b(Gauss.apply(m.a(x)))

    x = rows(300, 5)
    net = lambda: Own(forward, a=nn.Linear(5, 24), b=nn.Linear(24, 3))
    return Program(setup(net, nn.CrossEntropyLoss(), lr=0.01), (x, labels_of(x.square())), {})


@later("LB023", "LB071", "LB121", "LB022")
def step_that_never_judges_the_head(broken: bool, g: torch.Generator) -> Program:
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.again, self.head = mlp(8, 32), nn.Linear(32, 8), nn.Linear(32, 3)

        def forward(self, x):
            return self.head(self.body(x).relu())

        def configure_optimizers(self, lr):
            return optim.Adam(self.parameters(), lr)

        def step(self, ctx):
            x, y = ctx.batch.input, ctx.batch.target
            h = self.body(x).relu()
            loss = F.mse_loss(self.again(h), x)
            if not broken:
                loss = loss + F.cross_entropy(self.head(h), y)
            ctx.minimize(loss)
            return loss

    x = rows(300, 8)
    return Program(setup(Two, optimizer=None), (x, labels_of(x)), {})


@later("LB121", "LB022", "LB023")
def student_given_to_the_teachers_optimizer(broken: bool, g: torch.Generator) -> Program:
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.teacher, self.student = mlp(8, 32, 3), mlp(8, 12, 3)

        def forward(self, x):
            return self.student(x)

        def configure_optimizers(self, lr):
            return {
                "teacher": optim.Adam(self.teacher.parameters(), lr),
                "student": optim.Adam(self.student.parameters(), lr),
            }

        def step(self, ctx):
            x, y = ctx.batch.input, ctx.batch.target
            scores = self.teacher(x)
            ctx.minimize(F.cross_entropy(scores, y), "teacher")
            near = F.kl_div(F.log_softmax(self.student(x), 1), scores.detach().softmax(1), reduction="batchmean")
            ctx.minimize(near, "teacher" if broken else "student")
            return near

    x = rows(300, 8)
    return Program(setup(Pair, optimizer=None), (x, labels_of(x)), {})
