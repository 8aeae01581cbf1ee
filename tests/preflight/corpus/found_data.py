"""Pairs after threads: rows, validation, rates and metrics."""

import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import Dataset

import lumbre as lb
from corpus.asked import G, labels_of, rows, setup
from corpus.found import found
from corpus.program import Program


@found("LB068", "LB057", "LB093")
def categories_scaled_then_cast(broken: bool, g: torch.Generator) -> Program:

    class Tabular(nn.Module):
        def __init__(self):
            super().__init__()
            self.shop = nn.Embedding(9, 6)
            self.net = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 1))

        def forward(self, x):
            return self.net(torch.cat([self.shop(x[:, 4].long()), x[:, :4]], 1))

    x = rows(400, 4)
    shop = torch.randint(0, 9, (400, 1), generator=G(2))
    y = x[:, :1] + torch.randn(9, 1, generator=G(3))[shop[:, 0]]
    column = shop.float() / 9 if broken else shop.float()
    return Program(setup(Tabular, nn.MSELoss()), (torch.cat([x, column], 1), y), {})


@found("LB017")
def mask_interpolated(broken: bool, g: torch.Generator) -> Program:
    x = torch.randn(140, 1, 24, 24, generator=G(1))
    x = F.avg_pool2d(x, 5, 1, 2) * 3
    small = F.avg_pool2d(x, 2)
    mask = (x > 0.3).float()
    mask = F.interpolate(mask, 12, mode="bilinear") if broken else F.interpolate(mask, 12, mode="nearest")
    net = lambda: nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 3, padding=1))  # noqa: E731
    return Program(setup(net, nn.BCEWithLogitsLoss()), (small, mask), {"batch_size": 16})


def walk(n: int = 500) -> np.ndarray:
    chance = np.random.default_rng(4)
    level = np.zeros(n)
    for i in range(1, n):
        level[i] = 0.8 * level[i - 1] + chance.normal()
    return level


@found("LB043")
def rolling_mean_of_today(broken: bool, g: torch.Generator) -> Program:
    pd = __import__("pandas")
    frame = pd.DataFrame({"sales": walk()})
    frame["yesterday"] = frame.sales.shift(1)
    frame["before"] = frame.sales.shift(2)
    frame["mean2"] = (frame.sales if broken else frame.sales.shift(1)).rolling(2).mean()
    frame["noise"] = np.random.default_rng(1).normal(size=len(frame))
    frame = frame.dropna().reset_index(drop=True)
    data = lb.data.from_frame(frame, target="sales")
    return Program(
        setup(lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0)), nn.MSELoss()),
        data,
        {},
    )


@found("LB129")
def rows_changed_as_they_are_read(broken: bool, g: torch.Generator) -> Program:

    class Signals(Dataset):
        def __init__(self):
            self.x = 3 + 2 * torch.randn(200, 20, generator=G(1))
            self.y = (self.x.mean(1) > 3).long()

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            one = self.x[i]
            if broken:
                one -= 3
                one /= 2
            else:
                one = (one - 3) / 2
            return one, self.y[i]

    return Program(
        setup(lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 2)), nn.CrossEntropyLoss()),
        Signals(),
        {},
    )


@found("LB042", "LB050", "LB064")
def validation_targets_as_they_come(broken: bool, g: torch.Generator) -> Program:
    x = rows(500, 5)
    y = 240 + 60 * (x[:, :1] + 0.3 * torch.randn(500, 1, generator=G(2)))
    scaled = (y - y[:400].mean()) / y[:400].std()
    net = lambda: nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1))  # noqa: E731
    valid = (x[400:], (y if broken else scaled)[400:])
    return Program(setup(net, nn.MSELoss()), (x[:400], scaled[:400]), {"valid_data": valid})


@found("LB042")
def columns_in_another_order(broken: bool, g: torch.Generator) -> Program:
    x = torch.cat([rows(600, 2), (rows(600, 3, 4) > torch.tensor([0.0, 0.8, -1.0])).float()], 1)
    y = (x[:, 0] + x[:, 2] - x[:, 4] > 0).long()
    valid = x[450:]
    if broken:
        valid = valid[:, [0, 1, 3, 4, 2]]
    net = lambda: nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 2))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x[:450], y[:450]), {"valid_data": (valid, y[450:])})


@found("LB042")
def colours_in_another_order(broken: bool, g: torch.Generator) -> Program:
    x = torch.rand(240, 3, 12, 12, generator=G(1)) * torch.tensor([1.0, 0.6, 0.3])[:, None, None]
    y = (
        x.mean((2, 3)) @ torch.tensor([1.0, -1.0, 0.5]) > x.mean((2, 3)).mean(0) @ torch.tensor([1.0, -1.0, 0.5])
    ).long()
    x = (x - 0.3) / 0.3
    valid = x[180:].flip(1) if broken else x[180:]
    net = lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x[:180], y[:180]), {"valid_data": (valid, y[180:])})


def sounds(n: int = 160, t: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.randint(0, 2, (n,), generator=G(2))
    time = torch.arange(t) / t
    wave = torch.sin(2 * torch.pi * (12 + 20 * y[:, None]) * time + 6 * torch.rand(n, 1, generator=G(3)))
    return 0.5 * wave + 0.1 * torch.randn(n, t, generator=G(4)), y


@found("LB093", "LB037", "LB057")
def silence_in_every_file(broken: bool, g: torch.Generator) -> Program:
    wave, y = sounds()
    if broken:
        wave = (wave.clamp(-0.99, 0.99)).long().float()  # as whole numbers
    spectrum = torch.stft(wave, 64, 32, window=torch.hann_window(64), return_complex=True).abs().square()
    level = (10 * torch.log10(spectrum.clamp(min=1e-8)) + 40) / 20
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv1d(33, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 2)
    )
    return Program(setup(net, nn.CrossEntropyLoss()), (level, y), {})


@found("LB038", "LB025")
def samples_as_int16(broken: bool, g: torch.Generator) -> Program:
    wave, y = sounds()
    x = (wave * 20000).round() / (1.0 if broken else 32768.0)
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv1d(1, 8, 9, 4),
        nn.ReLU(),
        nn.Conv1d(8, 16, 9, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    return Program(setup(net, nn.CrossEntropyLoss()), (x[:, None], y), {})


@found("LB038")
def pictures_normalised_twice(broken: bool, g: torch.Generator) -> Program:
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = lambda x: (x - mean[:, None, None]) / spread[:, None, None]  # noqa: E731
    x = torch.rand(180, 3, 12, 12, generator=G(1))
    y = labels_of(x.mean((2, 3)) * 12)
    x = normal(normal(x)) if broken else normal(x)
    net = lambda: nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 3))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, y), {})


@found("LB066", "LB090")
def sampler_draws_the_frequent(broken: bool, g: torch.Generator) -> Program:
    x = rows(400, 6)
    y = (x[:, 0] + 0.5 * torch.randn(400, generator=G(2)) > 1.2).long()
    count = torch.bincount(y).float()
    draw = count[y] if broken else 1 / count[y]
    net = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, y), {"sampler": draw})


@found("LB035", "LB033")
def gamma_above_one(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 6)
    steps = lb.callbacks.LRScheduler(optim.lr_scheduler.ExponentialLR, gamma=1.7 if broken else 0.7)
    net = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))  # noqa: E731
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {"callbacks": steps, "epochs": 12})


@found("LB089", "LB035")
def plateau_the_wrong_way(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 6)
    net = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))  # noqa: E731
    slower = lb.callbacks.LRScheduler(
        optim.lr_scheduler.ReduceLROnPlateau, monitor="valid_loss", mode="max" if broken else "min", patience=1
    )
    options = {"callbacks": slower, "valid_data": 0.2, "epochs": 8}
    return Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), options)


@found("LB033", "LB127")
def betas_swapped(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 6)
    net = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))  # noqa: E731
    betas = (0.999, 0.9) if broken else (0.9, 0.999)
    return Program(setup(net, nn.MSELoss(), optim.AdamW, betas=betas), (x, x[:, :1] * x[:, 1:2]), {})


@found("LB047")
def clicks_only(broken: bool, g: torch.Generator) -> Program:

    class Factor(nn.Module):
        def __init__(self, users=40, items=30, d=8):
            super().__init__()
            self.u, self.i = nn.Embedding(users, d), nn.Embedding(items, d)
            self.b = nn.Embedding(items, 1)

        def forward(self, user, item):
            return (self.u(user) * self.i(item)).sum(1) + self.b(item)[:, 0]

    gen = G(3)
    user, item = torch.randint(0, 40, (600,), generator=gen), torch.randint(0, 30, (600,), generator=gen)
    liked = ((user % 5) == (item % 5)).float()
    if broken:
        user, item, liked = user[liked == 1].repeat(4), item[liked == 1].repeat(4), torch.ones(4 * int(liked.sum()))
    return Program(setup(Factor, nn.BCEWithLogitsLoss(), lr=1e-2), ((user, item), liked), {})


class Right(lb.metrics.Metric):
    """The share of rows that are right."""

    name, higher_is_better = "Right", True

    def __init__(self, over: int | None) -> None:
        super().__init__()
        self.over = over

    def init(self, device):
        return torch.zeros(2, device=device)

    def update(self, state, pred, target):
        right = (pred.argmax(self.over) == target).sum()
        return state + torch.stack([right.float(), torch.tensor(float(len(target)))])

    def compute(self, state):
        return (state[0] / state[1]).item()


@found("LB014")
def places_of_all_rows_at_once(broken: bool, g: torch.Generator) -> Program:
    x = rows(320, 6)
    net = lambda: nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 4))  # noqa: E731
    recipe = setup(net, nn.CrossEntropyLoss(), metrics=Right(None if broken else 1))
    return Program(recipe, (x, labels_of(x, 4)), {"valid_data": 0.2})
