"""Further pairs after threads: rows, optimizers, schedules, adversaries."""

import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import Dataset

import lumbre as lb
from corpus.asked import G, labels_of, rows, setup
from corpus.found_sound import Own, mlp, noise
from corpus.more import more
from corpus.program import Program, cnn, pictures

CE = nn.CrossEntropyLoss


@more("LB043")
def difference_of_tomorrow(broken: bool, g: torch.Generator) -> Program:
    price = 50 + noise(420, seed=3).cumsum(0)
    change = price[1:] - price[:-1]
    at = torch.arange(20, 400)
    y = change[at]
    moves = change[at] if broken else change[at - 1]
    level = (price[at] - price[at - 10]) / 3
    volume = noise(len(at), seed=8)
    x = torch.stack([level, moves, volume, change[at - 2]], 1)
    return Program(setup(lambda: mlp(4, 24, 1), nn.MSELoss()), (x, y[:, None]), {})


@more("LB043")
def last_day_of_the_window_is_asked_for(broken: bool, g: torch.Generator) -> Program:
    series = torch.sin(torch.arange(420) / 7)[:, None] + 0.2 * noise(420, 3)
    windows = torch.stack([series[at : at + 15] for at in range(400)])
    y = windows[:, -1, 0] if broken else series[15:415, 0]

    def forward(m, x):
        return m.out(m.rnn(x)[0][:, -1]).squeeze(-1)

    net = lambda: Own(forward, rnn=nn.LSTM(3, 24, batch_first=True), out=nn.Linear(24, 1))  # noqa: E731
    return Program(setup(net, nn.MSELoss()), (windows, y), {})


@more()
def columns_of_pixels_scaled_for_channels(broken: bool, g: torch.Generator) -> Program:
    x, y = pictures(G(1), 160, channels=3)
    mean, std = (0.48, 0.45, 0.40), (0.23, 0.22, 0.22)
    x = x.clone()
    for i in range(3):
        part = x[:, :, :, i] if broken else x[:, i]
        part.sub_(mean[i]).div_(std[i])
    return Program(setup(lambda: cnn(3, 4), CE()), (x, y), {})


@more()
def rows_scaled_for_columns(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    y = (x.mean(1) > 0).long()
    over = 1 if broken else 0
    x = (x - x.mean(over, keepdim=True)) / x.std(over, keepdim=True)
    return Program(setup(lambda: mlp(6, 24, 2), CE()), (x, y), {})


@more("LB035")
def schedule_with_a_factor_of_zero(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    steps = lb.callbacks.LRScheduler(optim.lr_scheduler.StepLR, step_size=2, gamma=0.0 if broken else 0.5)
    return Program(setup(lambda: mlp(6, 24, 3), CE()), (x, labels_of(x)), {"epochs": 8, "callbacks": steps})


@more("LB035", "LB074", "LB107", "LB033")
def whole_division_in_the_warm_up(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 6)
    rise = (lambda step: min(1, step // 20)) if broken else (lambda step: min(1.0, (step + 1) / 20))
    steps = lb.callbacks.LRScheduler(
        optim.lr_scheduler.LambdaLR, step_on="epoch" if broken else "batch", lr_lambda=rise
    )
    return Program(setup(lambda: mlp(6, 24, 3), CE()), (x, labels_of(x)), {"epochs": 5, "callbacks": steps})


class Noise(nn.Module):
    """A generator and a critic of points."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.g = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 2))
        self.d = nn.Sequential(nn.Linear(2, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))
        self.d2 = nn.Sequential(nn.Linear(2, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))

    def forward(self, x):
        return self.g(torch.randn(len(x), 4))

    def judged(self, x):
        return self.d(x) + self.d2(x)

    def configure_optimizers(self, lr):
        critics = [*self.d.parameters(), *(self.d if self.how == "twice" else self.d2).parameters()]
        makers = self.parameters() if self.how == "everything" else self.g.parameters()
        seen = list({id(one): one for one in critics}.values())
        return {"d": optim.Adam(seen, lr), "g": optim.Adam(makers, lr)}

    def loss_d(self, x, y):
        fake = self.g(torch.randn(len(x), 4)).detach()
        return F.softplus(-self.judged(x)).mean() + F.softplus(self.judged(fake)).mean()

    def loss_g(self, x, y):
        return F.softplus(-self.judged(self.g(torch.randn(len(x), 4)))).mean()


def points() -> tuple[torch.Tensor, torch.Tensor]:
    x = rows(320, 2) * torch.tensor([0.4, 1.0]) + 1
    return x, x


@more()
def generators_optimizer_holds_the_critic(broken: bool, g: torch.Generator) -> Program:
    return Program(setup(lambda: Noise("everything" if broken else ""), optimizer=None, lr=1e-3), points(), {})


@more("LB022")
def first_critic_listed_twice(broken: bool, g: torch.Generator) -> Program:
    return Program(setup(lambda: Noise("twice" if broken else ""), optimizer=None, lr=1e-3), points(), {})


@more("LB107", "LB121", "LB022", "LB023", "LB108")
def same_optimizer_steps_twice(broken: bool, g: torch.Generator) -> Program:
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = mlp(4, 24, 2)
            self.d = nn.Sequential(nn.Linear(2, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))

        def forward(self, x):
            return self.g(torch.randn(len(x), 4))

        def configure_optimizers(self, lr):
            return {"d": optim.Adam(self.d.parameters(), lr), "g": optim.Adam(self.g.parameters(), lr)}

        def step(self, ctx):
            x = ctx.batch.input
            fake = self(x)
            judge = F.softplus(-self.d(x)).mean() + F.softplus(self.d(fake.detach())).mean()
            ctx.minimize(judge, "g" if broken else "d")
            fool = F.softplus(-self.d(self(x))).mean()
            ctx.minimize(fool, "g")
            return {"loss": judge + fool}

    return Program(setup(Pair, optimizer=None, lr=1e-3), points(), {})


@more("LB022")
def table_of_places_in_no_group(broken: bool, g: torch.Generator) -> Program:
    class Vit(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(1, 16, 4, 4)
            self.pos_emb = nn.Parameter(0.02 * torch.randn(1, 16, 16))
            self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 16)
            self.head = nn.Linear(256, 4)

        def forward(self, x):
            h = self.patch(x).flatten(2).transpose(1, 2) + self.pos_emb
            return self.head((h + F.gelu(self.fc(self.norm(h)))).flatten(1))

        def configure_optimizers(self, lr):
            plain, decayed = [], []
            for name, one in self.named_parameters():
                if name.endswith("bias") or "norm" in name:
                    plain.append(one)
                elif name.endswith("weight") or not broken:
                    decayed.append(one)
            groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 1e-2}]
            return optim.AdamW(groups, lr)

    return Program(setup(Vit, CE(), optimizer=None), pictures(G(2), 160), {})


@more("LB072", "LB033", "LB074", "LB107", "LB108", "LB022")
def body_at_a_rate_of_zero(broken: bool, g: torch.Generator) -> Program:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Linear(6, 32), nn.ReLU()), nn.Linear(32, 3)

        def forward(self, x):
            return self.head(self.body(x))

        def configure_optimizers(self, lr):
            slow = 0.0 if broken else lr / 10
            return optim.Adam([{"params": self.body.parameters(), "lr": slow}, {"params": self.head.parameters()}], lr)

    x = rows(300, 6)
    return Program(setup(Net, CE(), optimizer=None), (x, labels_of(x)), {})


@more("LB080", "LB129")
def crops_drawn_for_validation_too(broken: bool, g: torch.Generator) -> Program:
    x, y = pictures(G(4), 200, size=20)

    class Crops(Dataset):
        def __init__(self, x, y, by_chance):
            self.x, self.y, self.by_chance = x, y, by_chance

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            top, left = (torch.randint(0, 5, (2,)) if self.by_chance else torch.tensor([2, 2])).tolist()
            return self.x[i, :, top : top + 16, left : left + 16], self.y[i]

    train, valid = Crops(x[:160], y[:160], True), Crops(x[160:], y[160:], broken)
    return Program(setup(lambda: cnn(1, 4), CE()), train, {"valid_data": valid})


@more()
def labels_of_rows_sorted_by_length(broken: bool, g: torch.Generator) -> Program:
    length = torch.randint(4, 13, (240,), generator=G(6))
    x = noise(240, 12, 3) * (torch.arange(12)[None, :, None] >= 12 - length[:, None, None])  # padded in front
    y = (x[..., 0].sum(1) > 0).long()
    order = length.argsort(descending=True)
    x, y = x[order], (y if broken else y[order])

    def forward(m, x):
        return m.out(m.rnn(x)[1][-1])

    net = lambda: Own(forward, rnn=nn.GRU(3, 16, batch_first=True), out=nn.Linear(16, 2))  # noqa: E731
    return Program(setup(net, CE()), (x, y), {})


@more("LB042", "LB064")
def validation_pictures_in_bytes(broken: bool, g: torch.Generator) -> Program:
    x, y = pictures(G(4), 200)
    valid = (x[160:] * 255 if broken else x[160:]) - 0.3
    return Program(setup(lambda: cnn(1, 4), CE()), (x[:160] - 0.3, y[:160]), {"valid_data": (valid, y[160:])})


@more("LB003", "LB038", "LB071")
def prices_cast_to_numbers_of_words(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 5).sigmoid()
    y = (x.sum(1) > 2.5).long()

    def forward(m, x):
        cells = x.long() if broken else (8 * x).long()
        return m.out(m.emb(cells).flatten(1))

    net = lambda: Own(forward, emb=nn.Embedding(8, 6), out=nn.Linear(30, 2))  # noqa: E731
    return Program(setup(net, CE()), (x, y), {})


@more("LB061")
def body_frozen_but_for_its_statistics(broken: bool, g: torch.Generator) -> Program:
    class Tuned(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
            self.head = nn.Linear(512, 4)
            for one in self.body.parameters():
                one.requires_grad_(False)

        def train(self, mode=True):
            super().train(mode)
            if not broken:
                self.body.eval()
            return self

        def forward(self, x):
            return self.head(self.body(x))

    return Program(setup(Tuned, CE()), pictures(G(5), 160), {})
