"""Answers among the questions, and what is left from the batch before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

G = torch.Generator().manual_seed(0)
N, T = 240, 8
X = torch.randn(N, 6, generator=G)
SCORE = X @ torch.randn(6, generator=G) + 0.1 * torch.randn(N, generator=G)
LABEL = (SCORE.median() < SCORE).long()
SERIES = torch.randn(N, T + 1, 3, generator=G).cumsum(1) / 3
WORDS = torch.randint(0, 12, (N, T + 1), generator=G)

Made = Callable[[], nn.Module]


def codes(net: Made, data: Any, loss: Any, **options: Any) -> list[str]:
    torch.manual_seed(0)
    found = lb.setup(net, loss=loss, optimizer=optim.Adam).check(data, batch_size=32, **options)
    return [one.code for one in found if one.severity != "hint"]


def beside(*columns: Tensor) -> Tensor:
    return torch.cat([X, *(one[:, None].float() for one in columns)], 1)


def table(outputs: int) -> Made:
    return lambda: nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.Linear(16, outputs))


def of_classes(x: Tensor, y: Tensor = LABEL) -> list[str]:
    return codes(table(int(y.max()) + 1), (x, y), nn.CrossEntropyLoss())


def of_numbers(x: Tensor, y: Tensor = SCORE) -> list[str]:
    y = y[:, None] if y.ndim == 1 else y
    return codes(table(y.shape[1]), (x, y), nn.MSELoss())


def test_a_function_of_the_target_in_a_table() -> None:
    for leak in (SCORE, 2 - 3 * SCORE, torch.sigmoid(SCORE), -(SCORE**3), torch.exp(SCORE).log1p()):
        assert of_numbers(beside(leak / leak.std())) == ["LB043"]
    for sound in (SCORE.abs(), SCORE.round(), SCORE + 0.05 * torch.randn(N, generator=G), SCORE.roll(1)):
        assert of_numbers(beside(sound)) == []
    both = torch.stack([SCORE, X[:, 0] + X[:, 1]], 1)
    assert of_numbers(beside(SCORE), both) == ["LB043"]
    assert of_numbers(X, both) == []
    assert codes(lambda: nn.Linear(6, 6), (X, X), nn.MSELoss()) == []  # an auto-encoder


def test_many_pictures_are_looked_at_without_a_warning_of_torch() -> None:
    labels = torch.randint(0, 4, (1_200,), generator=G)
    pictures = torch.randn(1_200, 1, 6, 6, generator=G) + labels[:, None, None, None]
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    torch.set_warn_always(True)  # torch warns once in a process otherwise, and another test may have had it
    try:
        assert str(recipe.check((pictures, labels))) == "No findings."  # and nothing that was not looked at
    finally:
        torch.set_warn_always(False)


def test_a_column_that_parts_the_classes() -> None:
    positive = torch.rand(N, generator=G) + 0.1
    since = torch.where(LABEL == 1, positive, torch.zeros(N))  # days since something that follows from the target
    assert of_classes(beside(since)) == ["LB043"]
    assert of_classes(beside(LABEL * 2 - 1)) == ["LB043"]
    odd = SCORE.argsort().argsort() / N  # a rank, cut at a third
    third = (odd > 0.3).long()
    assert of_classes(beside(odd), third) == ["LB043"]
    assert of_classes(X) == []
    assert of_classes(X, (X[:, 0] > 0).long()) == []  # as small programs make their targets
    assert of_classes(X + 8 * LABEL[:, None] - 4) == []  # clouds that lie far apart
    assert of_classes(X, torch.bucketize(X[:, 0].contiguous(), torch.tensor([-0.5, 0.5]))) == []


class Recurrent(nn.Module):
    def __init__(self, outputs: int, *, words: int = 0, both: bool = False, steps: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(words, 3) if words else nn.Identity()
        self.rnn = nn.GRU(3, 8, batch_first=True, bidirectional=both)
        self.head, self.steps = nn.Linear(16 if both else 8, outputs), steps

    def forward(self, x: Tensor) -> Tensor:
        h = self.rnn(self.table(x))[0]
        return self.head(h if self.steps else h[:, -1])


def test_the_last_step_of_a_window() -> None:
    def found(x: Tensor, y: Tensor) -> list[str]:
        return codes(lambda: Recurrent(1), (x, y), nn.MSELoss())

    assert found(SERIES[:, 1:], SERIES[:, -1, :1]) == ["LB043"]
    assert found(SERIES[:, :-1], SERIES[:, -1, :1]) == []
    assert found(SERIES[:, :-1], SERIES[:, 0, :1]) == []  # to be remembered

    def word(x: Tensor) -> list[str]:
        return codes(lambda: Recurrent(12, words=12), (x, WORDS[:, -1]), nn.CrossEntropyLoss())

    assert word(WORDS[:, 1:]) == ["LB043"]
    assert word(WORDS[:, :-1]) == []


def by_step(pred: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(pred.flatten(0, 1), target.flatten())


def shifting(pred: Tensor, target: Tensor) -> Tensor:
    return by_step(pred[:, :-1], target[:, 1:])


class Attending(nn.Module):
    """A net of language: tokens, places, one block of attention, with or without a causal mask."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(12, 8), nn.Embedding(T, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.head, self.causal = nn.Linear(8, 12), causal

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(T).to(x.device) if self.causal else None
        return self.head(self.block(self.words(x) + self.places.weight, src_mask=mask))


class Convolved(nn.Module):
    """Scores (rows, words, steps); padded on both sides, or on the left alone."""

    def __init__(self, left: bool) -> None:
        super().__init__()
        self.words, self.pad = nn.Embedding(12, 8), nn.ConstantPad1d((2, 0) if left else (1, 1), 0.0)
        self.conv, self.head = nn.Conv1d(8, 16, 3), nn.Conv1d(16, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(self.pad(self.words(x).transpose(1, 2)))))


NEXT, SAME = (WORDS[:, :-1], WORDS[:, 1:]), (WORDS[:, :-1], WORDS[:, :-1])


@pytest.mark.parametrize(
    ("net", "data", "loss"),
    [
        (lambda: Attending(False), NEXT, by_step),
        (lambda: Recurrent(12, words=12, both=True, steps=True), NEXT, by_step),
        (lambda: Convolved(False), NEXT, nn.CrossEntropyLoss()),
        (lambda: Recurrent(1, both=True, steps=True), (SERIES[:, :-1], SERIES[:, 1:, :1]), nn.MSELoss()),
        (lambda: Recurrent(3, both=True, steps=True), (SERIES[:, :-1], SERIES[:, 1:]), nn.MSELoss()),
        (lambda: Attending(True), SAME, by_step),
        (lambda: Recurrent(12, words=12, steps=True), SAME, by_step),
    ],
)
def test_steps_that_see_their_answer(net: Made, data: Any, loss: Any) -> None:
    assert codes(net, data, loss) == ["LB077"]


def hidden_words() -> tuple[Tensor, Tensor]:
    hidden = torch.rand(N, T, generator=torch.Generator().manual_seed(1)) < 0.15
    words = WORDS[:, :-1]
    return words.masked_fill(hidden, 0), words.masked_fill(~hidden, -100)


class Again(nn.Module):
    """Reads a whole sequence, and gives it again from one state."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.read = nn.Embedding(12, 8), nn.GRU(8, 8, batch_first=True)
        self.write, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        state = self.read(self.words(x))[1]
        return self.head(self.write(state[0][:, None].expand(-1, x.shape[1], -1))[0])


class Translated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.read = nn.Embedding(13, 8), nn.GRU(8, 8, batch_first=True)
        self.write, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 12)

    def forward(self, source: Tensor, before: Tensor) -> Tensor:
        return self.head(self.write(self.words(before), self.read(self.words(source))[1])[0])


BEFORE = torch.cat([torch.full((N, 1), 12), WORDS[:, :-2]], 1)


@pytest.mark.parametrize(
    ("net", "data", "loss"),
    [
        (lambda: Attending(True), NEXT, by_step),
        (lambda: Recurrent(12, words=12, steps=True), NEXT, by_step),
        (lambda: Convolved(True), NEXT, nn.CrossEntropyLoss()),
        (lambda: Recurrent(3, steps=True), (SERIES[:, :-1], SERIES[:, 1:]), nn.MSELoss()),
        (lambda: Recurrent(1, steps=True), (SERIES[:, :-1], SERIES[:, 1:, :1]), nn.MSELoss()),
        (lambda: Attending(True), SAME, shifting),
        (lambda: Attending(False), hidden_words(), by_step),
        (Again, SAME, by_step),
        (Translated, ((WORDS[:, :-1], BEFORE), WORDS[:, :-1]), by_step),
        (lambda: Recurrent(12, words=12, both=True, steps=True), (WORDS[:, :-1], WORDS[:, :-1].flip(1)), by_step),
    ],
)
def test_sound_sequences(net: Made, data: Any, loss: Any) -> None:
    assert codes(net, data, loss) == []


class Stateful(nn.Module):
    """A cell whose state is kept: with its graph, without it, or begun anew in each batch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell, self.head, self.kind, self.state = nn.GRUCell(6, 8), nn.Linear(8, 2), kind, None

    def forward(self, x: Tensor) -> Tensor:
        state = None if self.kind == "anew" or self.state is None or len(self.state) != len(x) else self.state
        new = self.cell(x, state)
        self.state = new.detach() if self.kind == "detached" else new
        return self.head(new)


class Follows(nn.Module):
    """A mean of what came before, which follows the rows in training, or in evaluation too."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.layer, self.always = nn.Linear(6, 2), always

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.always:
            self.mean.lerp_(x.mean(0), 0.5)
        return self.layer(x - self.mean)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls, self.shown = nn.Linear(6, 2), 0, None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.shown = self.layer(x)
        return self.shown


def test_what_is_left_from_the_batch_before() -> None:
    def found(net: Made) -> list[str]:
        return codes(net, (X, LABEL), nn.CrossEntropyLoss())

    assert found(lambda: Stateful("kept")) == ["LB079", "LB078"]
    assert found(lambda: Stateful("detached")) == ["LB078"]
    assert found(lambda: Follows(True)) == ["LB020", "LB078"]
    for sound in (
        lambda: Stateful("anew"),
        lambda: Follows(False),
        Counting,
        lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2)),
    ):
        assert found(sound) == []


def test_a_state_and_the_one_that_follows_is_no_leak() -> None:
    state, push = torch.randn(N, 4, generator=G), torch.randn(N, 1, generator=G)
    moved = state + torch.cat([0.05 * state[:, 1:2], 0.05 * push, 0.05 * state[:, 3:], torch.zeros(N, 1)], 1)
    assert of_numbers(torch.cat([state, push], 1), moved) == []
    assert of_numbers(torch.cat([moved, push], 1), moved) == ["LB043"]  # all of them stand there


def test_a_series_that_grows_is_no_leak() -> None:
    windows = torch.rand(N + 12, generator=G).cumsum(0).unfold(0, 13, 1)
    windows = (windows - windows.mean()) / windows.std()
    past, following = windows[:, :12].contiguous(), windows[:, 12].contiguous()
    assert of_numbers(past, following) == []
    steps = past[:, :, None].expand(-1, -1, 3).contiguous()
    assert codes(lambda: Recurrent(1), (steps, following[:, None]), nn.MSELoss()) == []
    grows = torch.randn(N, 3, generator=G)[:, None] + torch.randn(N, T, 3, generator=G)
    grows[:, -1, 1] = SCORE.exp()
    assert codes(lambda: Recurrent(1), (grows, SCORE[:, None]), nn.MSELoss()) == ["LB043"]


def test_powers_of_one_number_are_no_leak() -> None:
    x = torch.rand(N, 1, generator=G) * 2 - 1
    assert of_numbers(torch.cat([x, x**2, x**3], 1), x.sin()[:, 0]) == []


def test_a_mask_of_padding_has_a_first_step() -> None:
    mask = (torch.arange(10) < torch.randint(1, 11, (N, 1), generator=G)).float()
    answer = mask.sum(1) / 5 - 1 + 0.1 * SCORE
    assert of_numbers(mask, answer) == []
    assert of_numbers(torch.cat([mask.flip(1)[:, :9], torch.ones(N, 1)], 1), answer) == ["LB037"]
