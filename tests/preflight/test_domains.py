"""What losses are made for: each mistake, and the same program without it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

import lumbre as lb

G = torch.Generator().manual_seed(0)
X = torch.randn(96, 6, generator=G)
Y = torch.randint(0, 3, (96,), generator=G)
SHARES = torch.softmax(torch.randn(96, 3, generator=G), 1)
RARE = (torch.arange(96) < 12).long()
ONE_HOT = F.one_hot(Y, 3).float()
YES = (X[:, :1] > 0).float()
REAL = X[:, 1:2] + 0.3 * torch.randn(96, 1, generator=G)


class Net(nn.Module):
    def __init__(self, out: int, last: Any = None) -> None:
        super().__init__()
        self.layers, self.last = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, out)), last

    def forward(self, x: Tensor) -> Tensor:
        scores = self.layers(x)
        return scores if self.last is None else self.last(scores)


def codes(out: int, last: Any, loss: Any, target: Any) -> list[str]:
    recipe = lb.setup(lambda: Net(out, last), loss=loss, optimizer=optim.Adam)
    return [one.code for one in recipe.check((X, target)) if one.severity != "hint"]


def log_softmax(scores: Tensor) -> Tensor:
    return torch.log_softmax(scores, 1)


def softmax(scores: Tensor) -> Tensor:
    return torch.softmax(scores, 1)


def signed(loss: Any, halves: bool = False) -> Any:
    def of(pred: Tensor, target: Tensor) -> Tensor:
        one, two = pred.chunk(2, 1)
        return loss(one, two, target) if halves else loss(one[:, 0], two[:, 0], target)

    return of


def triplets(anchor: int) -> Any:
    def of(pred: Tensor, target: Tensor) -> Tensor:
        return F.triplet_margin_loss(pred, pred.roll(anchor, 0), pred.roll(2, 0))

    return of


def ctc(labels: Tensor, steps: int = 6, last: Any = torch.log_softmax) -> Any:
    def of(pred: Tensor, target: Tensor) -> Tensor:
        scores = last(pred.reshape(len(pred), 6, 4), 2).transpose(0, 1)
        rows = len(pred)
        wanted = labels.expand(rows, -1)
        return F.ctc_loss(scores, wanted, torch.full((rows,), steps), torch.full((rows,), labels.numel()))

    return of


def weighted(weight: Tensor) -> nn.Module:
    return nn.CrossEntropyLoss(weight=weight)


def mean_log(pred: Tensor, target: Tensor) -> Tensor:
    return torch.log_softmax(pred, 1).gather(1, target[:, None]).mean()


def dice(pred: Tensor, target: Tensor) -> Tensor:
    return 1 - (2 * (pred * target).sum() + 1) / (pred.sum() + target.sum() + 1)


def soft_dice(pred: Tensor, target: Tensor) -> Tensor:
    return dice(pred.sigmoid(), target)


def closeness(pred: Tensor, target: Tensor) -> Tensor:
    return torch.exp(-((pred - target) ** 2)).mean()


def hinge(pred: Tensor, target: Tensor) -> Tensor:
    return (1 - (2 * target - 1) * pred).clamp(min=0).mean()


def clusters(pred: Tensor, target: Tensor) -> Tensor:
    """Of an embedding, whose first columns are no scores."""
    near = torch.cdist(pred, pred)
    same = (target[:, None] == target[None]).float()
    return (near * same + (1 - near).clamp(min=0) * (1 - same)).mean()


def focal(pred: Tensor, target: Tensor) -> Tensor:
    right = torch.softmax(pred, 1).gather(1, target[:, None])
    return -((1 - right) ** 2 * right.log()).mean()


KL, LABELS, BLANK = nn.KLDivLoss(reduction="batchmean"), torch.tensor([[1, 2, 3]]), torch.tensor([[1, 0, 3]])
COUNTS = torch.tensor([84.0, 12.0])
MISTAKES: dict[str, tuple[str, tuple[Any, ...], tuple[Any, ...]]] = {
    "divergence of scores": ("LB065", (3, None, KL, SHARES), (3, log_softmax, KL, SHARES)),
    "divergence of probabilities": ("LB065", (3, softmax, KL, SHARES), (3, log_softmax, KL, SHARES)),
    "divergence turned": (
        "LB065",
        (3, softmax, lambda p, t: F.kl_div(t.log(), p.log(), reduction="batchmean"), SHARES),
        (3, softmax, lambda p, t: F.kl_div(p.log(), t, reduction="batchmean"), SHARES),
    ),
    "rates for logarithms": (
        "LB065",
        (1, torch.exp, nn.PoissonNLLLoss(), YES * 3),
        (1, torch.exp, nn.PoissonNLLLoss(log_input=False), YES * 3),
    ),
    "negative rates": (
        "LB065",
        (1, None, nn.PoissonNLLLoss(log_input=False), YES * 3),
        (1, None, nn.PoissonNLLLoss(), YES * 3),
    ),
    "labels of a cosine": (
        "LB065",
        (8, None, signed(F.cosine_embedding_loss, True), YES[:, 0]),
        (8, None, signed(F.cosine_embedding_loss, True), 2 * YES[:, 0] - 1),
    ),
    "labels of a ranking": (
        "LB065",
        (2, None, signed(F.margin_ranking_loss), YES[:, 0]),
        (2, None, signed(F.margin_ranking_loss), 2 * YES[:, 0] - 1),
    ),
    "labels of a margin": (
        "LB065",
        (1, None, nn.SoftMarginLoss(), YES),
        (1, None, nn.SoftMarginLoss(), 2 * YES - 1),
    ),
    "a triplet of two": ("LB065", (4, None, triplets(0), Y), (4, None, triplets(1), Y)),
    "a blank": ("LB065", (24, None, ctc(BLANK), Y), (24, None, ctc(LABELS), Y)),
    "too few steps": ("LB065", (24, None, ctc(LABELS, steps=2), Y), (24, None, ctc(LABELS), Y)),
    "scores for ctc": (
        "LB065",
        (24, None, ctc(LABELS, last=lambda scores, dim: scores), Y),
        (24, None, ctc(LABELS), Y),
    ),
    "several classes": (
        "LB065",
        (3, None, nn.CrossEntropyLoss(), (SHARES > 0.2).float()),
        (3, None, nn.CrossEntropyLoss(), SHARES),
    ),
    "counts for weights": (
        "LB066",
        (2, None, weighted(COUNTS / 96), RARE),
        (2, None, weighted(96 / (2 * COUNTS)), RARE),
    ),
    "positives by negatives": (
        "LB066",
        (1, None, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(12 / 84)), RARE[:, None].float()),
        (1, None, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(84 / 12)), RARE[:, None].float()),
    ),
    "a likelihood": ("LB067", (3, None, mean_log, Y), (3, None, lambda p, t: -mean_log(p, t), Y)),
    "an overlap of scores": ("LB067", (1, None, dice, YES), (1, None, soft_dice, YES)),
    "closeness": ("LB067", (1, None, closeness, REAL), (1, None, lambda p, t: 1 - closeness(p, t), REAL)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_loss_outside_its_domain(name: str) -> None:
    code, broken, sound = MISTAKES[name]
    assert code in codes(*broken)
    assert codes(*sound) == []


@pytest.mark.parametrize(
    ("out", "last", "loss", "target"),
    [
        (1, torch.sigmoid, dice, YES),
        (1, None, hinge, YES),
        (8, None, clusters, Y),
        (8, torch.tanh, clusters, Y),
        (3, None, focal, Y),
        (3, softmax, lambda p, t: -p.gather(1, t[:, None]).log().mean(), Y),
        (1, None, lambda p, t: torch.log(torch.cosh(p - t)).mean(), REAL),
        (1, None, lambda p, t: -(p * t).mean(), REAL - 3),  # a reward beside a logarithm: no distance
        (3, None, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.5])), Y),
        (3, None, nn.CrossEntropyLoss(), ONE_HOT),
        (3, log_softmax, nn.KLDivLoss(reduction="batchmean", log_target=True), SHARES.log()),
    ],
)
def test_sound_losses(out: int, last: Any, loss: Any, target: Tensor) -> None:
    assert codes(out, last, loss, target) == []
