"""Later pairs: what is wrong in the data, the targets and the split. Own programs, after questions that come again."""

from typing import Any

import torch
from torch import Tensor, nn

import lumbre as lb
from corpus.program import (
    Program,
    binary,
    blobs,
    classify,
    cnn,
    grown,
    mlp,
    pictures,
    plane,
    program,
    regress,
    sequences,
)

G = torch.Generator


def windows(g: G, steps: int = 10) -> Tensor:
    """Windows (rows, steps + 1, 2) of a walk and of noise beside it."""
    walk = torch.randn(400 + steps, generator=g).cumsum(0)
    walk = (walk - walk.mean()) / walk.std()
    both = torch.stack([walk, torch.randn(len(walk), generator=g)], 1)
    return both.unfold(0, steps + 1, 2).transpose(1, 2)


class Last(nn.Module):
    """A recurrent net that gives a number after the last step."""

    def __init__(self, d: int = 2, outputs: int = 1) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(d, 8, batch_first=True), nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@grown("LB043")
def windows_that_hold_the_step_to_predict(broken: bool, g: G) -> Program:
    every = windows(g)
    return regress(Last, (every[:, 1:] if broken else every[:, :-1], every[:, -1, :1]))


@grown("LB043")
def the_next_word_as_the_last_word(broken: bool, g: G) -> Program:
    words = torch.randint(0, 15, (200, 9), generator=g)

    class Net(Last):
        def __init__(self) -> None:
            super().__init__(8, 15)
            self.words = nn.Embedding(15, 8)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.words(x))

    return classify(Net, (words[:, 1:] if broken else words[:, :-1], words[:, -1]))


@grown("LB043")
def a_logarithm_of_the_price_among_the_features(broken: bool, g: G) -> Program:
    x, y = plane(g)
    price = torch.exp(0.5 * y)
    leak = y + 0.0 if broken else torch.randn(len(y), 1, generator=g)
    return regress(lambda: mlp(6, 16, 1), (torch.cat([x, leak], 1), (price - price.mean()) / price.std()))


@grown("LB043")
def a_refund_that_only_returned_goods_have(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=2)
    amount = torch.rand(len(y), generator=g) + 0.2
    refund = amount * y if broken else amount
    return classify(lambda: mlp(5, 16, 2), (torch.cat([x, refund[:, None]], 1), y))


@grown("LB043")
def one_of_several_targets_left_among_the_inputs(broken: bool, g: G) -> Program:
    x, y = plane(g, outputs=3)
    more = y[:, 1:2] if broken else torch.randn(len(y), 1, generator=g)
    return regress(lambda: mlp(6, 16, 3), (torch.cat([more, x], 1), y))


@grown("LB043")
def the_label_as_a_feature_of_every_step(broken: bool, g: G) -> Program:
    x, y = sequences(g)
    flag = (y if broken else torch.randint(0, 2, y.shape, generator=g))[:, None, None].expand(-1, x.shape[1], 1).float()
    return classify(lambda: Last(4, 2), (torch.cat([x, flag], 2), y))


@grown("LB005")
def labels_from_one_again(broken: bool, g: G) -> Program:
    x, y = pictures(g)
    return classify(lambda: cnn(1, 4), (x, y + 1 if broken else y))


@grown("LB004", "LB009")
def class_numbers_as_floats_again(broken: bool, g: G) -> Program:
    x, y = blobs(g)
    return classify(lambda: mlp(4, 16, 3), (x, y.float() if broken else y))


@grown("LB055", "LB006", "LB009")
def whole_numbers_for_binary_scores(broken: bool, g: G) -> Program:
    x, y = binary(g)
    return program(lambda: mlp(4, 16, 1), nn.BCEWithLogitsLoss(), (x, y.long() if broken else y))


@grown("LB017")
def labels_of_minus_one_and_one(broken: bool, g: G) -> Program:
    x, y = binary(g)
    return program(lambda: mlp(4, 16, 1), nn.BCEWithLogitsLoss(), (x, 2 * y - 1 if broken else y))


@grown("LB065")
def several_labels_at_once_for_cross_entropy(broken: bool, g: G) -> Program:
    x, _ = plane(g)
    y = (x[:, :3] + 0.3 * torch.randn(len(x), 3, generator=g) > 0).float()
    loss: Any = nn.CrossEntropyLoss() if broken else nn.BCEWithLogitsLoss()
    return program(lambda: mlp(5, 16, 3), loss, (x, y))


@grown("LB065")
def scores_for_a_divergence(broken: bool, g: G) -> Program:
    x, _ = plane(g)
    y = torch.softmax(x[:, :3], 1)
    return program(
        lambda: mlp(5, 16, 3, last=None if broken else nn.LogSoftmax(1)), nn.KLDivLoss(reduction="batchmean"), (x, y)
    )


@grown("LB016", "LB057", "LB005")
def one_output_for_two_classes(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=2)
    return classify(lambda: mlp(4, 16, 1 if broken else 2), (x, 0 * y if broken else y))


@grown("LB039", "LB038")
def grey_values_up_to_255(broken: bool, g: G) -> Program:
    x, y = pictures(g)
    return classify(lambda: cnn(1, 4), ((255 * x).round() if broken else x, y))


@grown("LB064", "LB042")
def validation_pictures_that_are_not_divided(broken: bool, g: G) -> Program:
    x, y = pictures(g, rows=160)
    held = 255 * x[120:] if broken else x[120:]
    return classify(lambda: cnn(1, 4), (x[:120], y[:120]), valid_data=(held, y[120:]))


@grown("LB038")
def a_year_and_an_income_as_they_are(broken: bool, g: G) -> Program:
    x, y = plane(g)
    year, income = 2000 + 10 * x[:, :1].round(), 40_000 + 9_000 * x[:, 1:2]
    raw = torch.cat([year, income, x[:, 2:]], 1)
    return regress(lambda: mlp(5, 16, 1), (raw if broken else (raw - raw.mean(0)) / raw.std(0), y))


@grown("LB050", "LB056")
def prices_as_targets(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 16, 1), (x, 250_000 + 60_000 * y if broken else y))


@grown("LB041")
def rows_doubled_before_the_split(broken: bool, g: G) -> Program:
    x, y = plane(g)
    more = x[:60] if broken else torch.randn(60, 5, generator=g)
    order = torch.randperm(300, generator=g)
    x, y = torch.cat([x, more])[order], torch.cat([y, y[:60]])[order]
    return regress(lambda: mlp(5, 16, 1), (x, y), valid_data=0.3)


@grown("LB045")
def rows_by_class_without_shuffling(broken: bool, g: G) -> Program:
    x, y = pictures(g)
    order = y.argsort() if broken else torch.arange(len(y))
    return classify(lambda: cnn(1, 4), (x[order], y[order]), shuffle=False)


@grown("LB040", "LB003")
def pictures_with_channels_last_again(broken: bool, g: G) -> Program:
    x, y = pictures(g, channels=16)
    if broken:
        net = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 48, 4))
        return classify(lambda: net, (x[..., :3], y))
    return classify(lambda: cnn(3, 4), (x[:, :3], y))


@grown()
def labels_shuffled_against_the_inputs(broken: bool, g: G) -> Program:
    x, y = blobs(g)
    return classify(lambda: mlp(4, 16, 3), (x, y[torch.randperm(len(y), generator=g)] if broken else y), valid_data=0.2)


@grown("LB056", "LB037")
def targets_scaled_twice(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 16, 1), (x, 3 + 0.001 * y if broken else y))


@grown("LB049")
def a_distance_for_kinds(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=5)
    if broken:
        return regress(lambda: mlp(4, 16, 1), (x, y[:, None].float()))
    return classify(lambda: mlp(4, 16, 5), (x, y))


@grown("LB044")
def accuracy_where_one_row_in_forty_is_a_yes(broken: bool, g: G) -> Program:
    x, _ = blobs(g, rows=400)
    y = (torch.arange(400) % 40 == 0).long()
    metric = lb.metrics.Accuracy() if broken else lb.metrics.F1()
    return classify(lambda: mlp(4, 16, 2), (x, y), metrics=metric)
