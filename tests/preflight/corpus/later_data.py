"""Later pairs: rows, rates, optimizers of one's own."""

# ruff: noqa: E731
import numpy as np
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import lumbre as lb
from corpus.asked import labels_of, rows, setup
from corpus.found_sound import chance, mlp, noise
from corpus.later import later
from corpus.program import Program, pictures

CE = nn.CrossEntropyLoss


@later("LB043")
def one_hot_classes_among_the_columns(broken: bool, g: torch.Generator) -> Program:
    x = rows(400, 5)
    y = labels_of(x)
    more = F.one_hot(y if broken else torch.randint(0, 3, (400,), generator=g), 3).float()
    return Program(setup(lambda: mlp(8, 24, 3), CE()), (torch.cat([x, more], 1), y), {})


@later("LB038")
def time_in_nanoseconds(broken: bool, g: torch.Generator) -> Program:
    x = rows(400, 4)
    day = torch.arange(400.0)[torch.randperm(400, generator=g)]
    column = 1.6e18 + 8.64e13 * day if broken else (day - 200) / 115
    y = x[:, :1] + 0.002 * day[:, None]
    return Program(setup(lambda: mlp(5, 24, 1), nn.MSELoss()), (torch.cat([x, column[:, None]], 1), y), {})


@later("LB038")
def gaps_written_as_minus_999(broken: bool, g: torch.Generator) -> Program:
    x = rows(400, 5)
    gaps = chance(400, 5) < 0.06
    y = torch.tanh(x[:, :1] + x[:, 1:2])
    return Program(setup(lambda: mlp(5, 24, 1), nn.MSELoss()), (x.masked_fill(gaps, -999.0 if broken else 0.0), y), {})


@later("LB043")
def row_number_of_sorted_rows(broken: bool, g: torch.Generator) -> Program:
    x = rows(400, 5)
    y = (x[:, 0] + 0.5 * x[:, 1] + 0.3 * noise(400)).sort().values
    number = torch.arange(400.0) / 400
    number = number if broken else number[torch.randperm(400, generator=g)]
    x = x[(x[:, 0] + 0.5 * x[:, 1]).argsort()]
    return Program(setup(lambda: mlp(6, 24, 1), nn.MSELoss()), (torch.cat([x, number[:, None]], 1), y[:, None]), {})


def series(n: int = 420) -> torch.Tensor:
    drawn = np.random.default_rng(4).normal(size=n)
    level = np.zeros(n)
    for i in range(2, n):
        level[i] = 0.6 * level[i - 1] - 0.3 * level[i - 2] + drawn[i]
    return torch.tensor(level, dtype=torch.float32)


@later("LB043")
def first_of_several_steps_ahead_is_in_the_window(broken: bool, g: torch.Generator) -> Program:
    steps = series()
    begins = torch.arange(380)
    x = torch.stack([steps[at : at + 12] for at in begins])
    gap = 11 if broken else 12
    y = torch.stack([steps[at + gap : at + gap + 4] for at in begins])
    return Program(setup(lambda: mlp(12, 32, 4), nn.MSELoss()), (x, y), {})


@later("LB043")
def return_of_the_day_among_several(broken: bool, g: torch.Generator) -> Program:
    steps = series()
    x = torch.stack([steps[10:390], steps[9:389], steps[8:388], steps[11 if broken else 7 : 391 if broken else 387]], 1)
    y = (steps[11:391] > 0).long()
    return Program(setup(lambda: mlp(4, 24, 2), CE()), (x, y), {})


@later("LB038", "LB039")
def bytes_less_a_mean_of_shares(broken: bool, g: torch.Generator) -> Program:
    x, y = pictures(g, 160, channels=3)
    middle, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((255 * x if broken else x) - middle[:, None, None]) / spread[:, None, None]
    net = lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(108, 4)
    )
    return Program(setup(net, CE()), (x, y), {"batch_size": 16})


@later("LB002")
def logarithm_of_silence(broken: bool, g: torch.Generator) -> Program:
    sound = noise(160, 512) * (chance(160, 512) < 0.9)
    sound[::7, :200] = 0
    power = sound.unfold(1, 64, 32).square().mean(2)
    x = power.log() if broken else (power + 1e-5).log()
    x = x if broken else (x - x.mean()) / x.std()
    return Program(setup(lambda: mlp(15, 24, 2), CE()), (x, (power.mean(1) > power.mean()).long()), {})


@later("LB017")
def unknown_labels_are_minus_one(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    y = (x[:, :4] + 0.3 * noise(300, 4) > 0).float()
    y = y.masked_fill(chance(300, 4) < 0.2, -1.0 if broken else 0.5)
    return Program(setup(lambda: mlp(6, 24, 4), nn.BCEWithLogitsLoss()), (x, y), {})


@later("LB093", "LB057")
def one_buffer_for_all_rows(broken: bool, g: torch.Generator) -> Program:
    class Frames(Dataset):
        def __init__(self):
            self.seen = rows(300, 10)
            self.y = labels_of(self.seen)
            self.buffer = torch.zeros(10)

        def __len__(self):
            return 300

        def __getitem__(self, i):
            self.buffer.copy_(self.seen[i])
            return self.buffer if broken else self.buffer.clone(), self.y[i]

    return Program(setup(lambda: mlp(10, 24, 3), CE()), DataLoader(Frames(), 32, shuffle=True), {})


@later("LB041")
def indices_of_two_parts_overlap(broken: bool, g: torch.Generator) -> Program:
    class Table(Dataset):
        def __init__(self, part):
            x = rows(400, 6)
            self.x, self.y = x[part], labels_of(x)[part]

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            return {"x": self.x[i], "y": self.y[i]}

    def together(each):
        return torch.stack([one["x"] for one in each]), torch.stack([one["y"] for one in each])

    train = DataLoader(Table(range(300)), 32, shuffle=True, collate_fn=together)
    valid = DataLoader(Table(range(240 if broken else 300, 400)), 32, collate_fn=together)
    return Program(setup(lambda: mlp(6, 24, 3), CE()), train, {"valid_data": valid})


@later("LB086")
def recordings_of_a_person_on_both_sides(broken: bool, g: torch.Generator) -> Program:
    person = torch.arange(240) // 6
    time = torch.arange(48) * 0.3
    own = noise(40, 1, seed=3) + torch.sin(time * (1 + chance(40, 1, seed=4)) + 6 * chance(40, 1, seed=5))
    x = (own[person] + 0.05 * noise(240, 48))[:, None]
    y = (chance(40, seed=8) > 0.5).long()[person]
    valid = torch.arange(240) % 6 == 0 if broken else person >= 32
    net = lambda: nn.Sequential(
        nn.Conv1d(1, 12, 5, 2), nn.ReLU(), nn.Conv1d(12, 12, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)
    )
    return Program(setup(net, CE()), (x[~valid], y[~valid]), {"valid_data": (x[valid], y[valid]), "batch_size": 16})


@later("LB091", "LB080")
def pictures_mirrored_and_not_their_points(broken: bool, g: torch.Generator) -> Program:
    at = torch.randint(0, 12, (200, 2), generator=g)
    x = 0.1 * noise(200, 1, 12, 12)
    x[torch.arange(200), 0, at[:, 0], at[:, 1]] += 2
    net = lambda: nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    options = {"augment": lb.vision.RandomHorizontalFlip()} if broken else {}
    return Program(setup(net, nn.SmoothL1Loss()), (x, at / 12), {"batch_size": 16, **options})


class Plain(optim.Optimizer):
    """Gradient descent; `sign` and `last_only` say how it goes wrong."""

    def __init__(self, params, lr=0.05, sign=-1.0, last_only=False):
        super().__init__(params, {"lr": lr, "sign": sign, "last_only": last_only})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                change = group["sign"] * group["lr"] * p.grad
                if not group["last_only"]:
                    p.add_(change)
            if group["last_only"]:
                p.add_(change)


@later("LB073", "LB054", "LB067", "LB102")
def optimizer_that_adds_the_gradient(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    return Program(
        setup(lambda: mlp(6, 24, 3), CE(), Plain, lr=0.05, sign=1.0 if broken else -1.0), (x, labels_of(x)), {}
    )


@later("LB022", "LB074", "LB107", "LB072", "LB108")
def update_behind_the_loop(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    return Program(setup(lambda: mlp(6, 24, 3), CE(), Plain, lr=0.05, last_only=broken), (x, labels_of(x)), {})


@later("LB035", "LB074", "LB033")
def schedule_gives_a_rate_for_a_factor(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    by = lb.callbacks.LRScheduler(optim.lr_scheduler.LambdaLR, lr_lambda=lambda e: (1e-3 if broken else 1.0) * 0.9**e)
    return Program(setup(lambda: mlp(6, 24, 3), CE(), lr=1e-3), (x, labels_of(x)), {"callbacks": [by]})


@later("LB127", "LB074")
def eps_of_adam_that_outweighs_gradients(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    return Program(
        setup(lambda: mlp(6, 24, 3), CE(), optim.AdamW, lr=1e-3, eps=10.0 if broken else 1e-8), (x, labels_of(x)), {}
    )


@later("LB022")
def rate_of_a_group_that_was_renamed(broken: bool, g: torch.Generator) -> Program:
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.neck, self.head = mlp(6, 24), nn.Linear(24, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(F.relu(self.neck(F.relu(self.backbone(x)))))

        def configure_optimizers(self, lr):
            named = dict(self.named_parameters())
            slow = [p for name, p in named.items() if name.startswith("backbone")]
            fast = [p for name, p in named.items() if name.startswith(("classifier" if broken else "neck", "head"))]
            return optim.AdamW([{"params": slow, "lr": 0.1 * lr}, {"params": fast, "lr": lr}])

    x = rows(300, 6)
    return Program(setup(Split, CE(), None), (x, labels_of(x)), {})


@later("LB004")
def labels_divided_by_their_number(broken: bool, g: torch.Generator) -> Program:
    x = rows(300, 6)
    y = labels_of(x, 4)
    return Program(setup(lambda: mlp(6, 24, 4), CE()), (x, y / 4 if broken else y), {})


@later("LB073", "LB033", "LB102")
def rate_times_the_batch_size(broken: bool, g: torch.Generator) -> Program:
    x = rows(512, 6)
    y = torch.tanh(x @ noise(6, 1, seed=3))
    return Program(
        setup(lambda: mlp(6, 32, 1), nn.MSELoss(), optim.SGD, lr=0.05 * (64 if broken else 1), momentum=0.9),
        (x, y),
        {"batch_size": 64},
    )
