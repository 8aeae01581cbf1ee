"""Mistakes between the last layer, the loss and the metric."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

import lumbre as lb
from corpus.program import (
    Program,
    binary,
    blobs,
    case,
    classify,
    cnn,
    mlp,
    pictures,
    plane,
    program,
    regress,
    sequences,
    texts,
)

G = torch.Generator


class Applied(nn.Module):
    """A net with a function of torch at its end, as `forward` would call it."""

    def __init__(self, net: nn.Module, function: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, *args: Tensor) -> Tensor:
        return self.function(self.net(*args))


def softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, 1)


def same(x: Tensor) -> Tensor:
    return x


@case("CGES-1", "LB007")
def softmax_in_a_small_net(broken: bool, g: G) -> Program:
    return classify(lambda: cnn(1, 4, last=nn.Softmax(1) if broken else None), pictures(g))


@case("SciCo-2", "LB007")
def probabilities_into_cross_entropy(broken: bool, g: G) -> Program:
    return classify(lambda: Applied(mlp(4, 32, 16, 3), softmax if broken else same), blobs(g), valid_data=0.2)


@case("DLAR-10", "LB007")
def functional_softmax_over_last_dimension(broken: bool, g: G) -> Program:
    x, y = sequences(g, classes=3)
    net = lambda: Applied(  # noqa: E731
        nn.Sequential(nn.Flatten(), mlp(36, 32, 3)), (lambda z: F.softmax(z, dim=-1)) if broken else same
    )
    return classify(net, (x, y), optimizer=optim.SGD, lr=0.05)


@case("MatchingNetworks-5", "LB007")
def softmax_before_the_function(broken: bool, g: G) -> Program:
    return program(lambda: Applied(mlp(6, 24, 5), softmax if broken else same), F.cross_entropy, blobs(g, 300, 6, 5))


@case("bolts-654", "LB007")
def softmax_in_a_logistic_regression(broken: bool, g: G) -> Program:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(F.log_softmax(pred, 1), target)

    return program(lambda: Applied(nn.Linear(4, 3), softmax if broken else same), loss, blobs(g), lr=0.01)


class Reader(nn.Module):
    """An encoder of words with a score for each class."""

    def __init__(self, at_the_end: Callable[[Tensor], Tensor], classes: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, classes)
        self.at_the_end = at_the_end

    def forward(self, x: Tensor) -> Tensor:
        return self.at_the_end(self.head(self.layer(self.words(x)).mean(1)))


@case("GCNQA-32", "LB007")
def softmax_in_a_transformer(broken: bool, g: G) -> Program:
    return classify(lambda: Reader(softmax if broken else same), texts(g))


@case("tutorial-softmax", "LB007")
def softmax_as_in_the_tutorial(broken: bool, g: G) -> Program:
    return classify(
        lambda: mlp(4, 30, 3, last=nn.Softmax(dim=1) if broken else None), blobs(g), metrics=lb.metrics.Accuracy()
    )


@case("runebook-ce", "LB007", "LB015")
def sigmoid_before_cross_entropy(broken: bool, g: G) -> Program:
    return classify(lambda: mlp(4, 30, 3, last=nn.Sigmoid() if broken else None), blobs(g))


@case("focal-5", "LB011")
def sigmoid_before_the_function_with_logits(broken: bool, g: G) -> Program:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        p = torch.sigmoid(pred) if broken else pred
        each = F.binary_cross_entropy_with_logits(p, target, reduction="none")
        return ((1 - torch.exp(-each)) ** 2 * each).mean()

    return program(lambda: mlp(4, 16, 1), loss, binary(g))


class Factors(nn.Module):
    """Users and things as vectors, whose product says how well they go together."""

    def __init__(self, sigmoid: bool) -> None:
        super().__init__()
        self.users, self.things, self.sigmoid = nn.Embedding(30, 8), nn.Embedding(40, 8), sigmoid

    def forward(self, user: Tensor, thing: Tensor) -> Tensor:
        score = (self.users(user) * self.things(thing)).sum(1)
        return score.sigmoid() if self.sigmoid else score


@case("daisyRec-15", "LB011")
def sigmoid_in_a_recommender(broken: bool, g: G) -> Program:
    user, thing = torch.randint(0, 30, (300,), generator=g), torch.randint(0, 40, (300,), generator=g)
    liked = ((user + thing) % 2).float()
    return program(lambda: Factors(broken), nn.BCEWithLogitsLoss(), ((user, thing), liked), lr=0.01)


@case("lanedet-32", "LB011")
def sigmoid_before_many_labels(broken: bool, g: G) -> Program:
    x, y = pictures(g)
    labels = torch.stack([y == 0, y >= 2, y % 2 == 1], 1).float()
    return program(lambda: cnn(1, 3, last=nn.Sigmoid() if broken else None), nn.BCEWithLogitsLoss(), (x, labels))


class SmallUNet(nn.Module):
    """Down, across and up again, for masks of one channel."""

    def __init__(self, channels: int = 1, at_the_end: Callable[[Tensor], Tensor] = same, out: int = 1) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, out, 1)
        self.at_the_end = at_the_end

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu(self.down(x))
        deep = F.relu(self.deep(F.max_pool2d(wide, 2)))
        return self.at_the_end(self.out(torch.cat([wide, F.relu(self.up(deep))], 1)))


def masks(g: G) -> tuple[Tensor, Tensor]:
    x, _ = pictures(g, 60)
    return x, (x > 0.45).float()


@case("UNet3plus-23", "LB011")
def unet_that_ends_in_a_sigmoid(broken: bool, g: G) -> Program:
    return program(lambda: SmallUNet(1, torch.sigmoid if broken else same), nn.BCEWithLogitsLoss(), masks(g))


@case("lightning-18272", "LB011")
def sigmoid_on_a_new_head(broken: bool, g: G) -> Program:
    def net() -> nn.Module:
        body = cnn(3, 16)
        for parameter in body.parameters():
            parameter.requires_grad_(False)
        return nn.Sequential(body, nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid() if broken else nn.Identity())

    x, y = pictures(g, classes=2, channels=3)
    return program(net, F.binary_cross_entropy_with_logits, (x, y[:, None].float()))


@case("TextClassification-9", "LB012")
def nll_after_softmax_in_a_transformer(broken: bool, g: G) -> Program:
    return program(lambda: Reader(softmax if broken else (lambda z: F.log_softmax(z, 1))), nn.NLLLoss(), texts(g))


@case("ACGAN-4", "LB012")
def nll_after_a_softmax_layer(broken: bool, g: G) -> Program:
    last = nn.Softmax(1) if broken else nn.LogSoftmax(1)
    return program(lambda: cnn(1, 4, last=last), nn.NLLLoss(), pictures(g))


@case("pointnet-30", "LB012")
def nll_of_raw_scores(broken: bool, g: G) -> Program:
    end = same if broken else (lambda z: z.log_softmax(1))
    return program(lambda: Applied(mlp(4, 24, 3), end), F.nll_loss, blobs(g))


@case("pytorch-12703", "LB012")
def nll_after_a_convolution(broken: bool, g: G) -> Program:
    x, _ = pictures(g, 60)
    y = (x[:, 0] > 0.45).long()
    end = same if broken else (lambda z: F.log_softmax(z, 1))
    return program(lambda: SmallUNet(1, end, out=2), nn.NLLLoss(), (x, y))


@case("mansf-2", "LB012")
def nll_after_softmax(broken: bool, g: G) -> Program:
    end = (lambda z: F.softmax(z, 1)) if broken else (lambda z: F.log_softmax(z, 1))
    return program(lambda: Applied(mlp(8, 16, 2), end), F.nll_loss, blobs(g, 200, 8, 2), valid_data=0.2)


@case("FARM-229", "LB006")
def flat_predictions_against_a_column(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: Applied(mlp(5, 16, 1), lambda z: z.squeeze(1)), (x, y if broken else y[:, 0]))


@case("CoNet-3", "LB006")
def pictures_without_their_channel(broken: bool, g: G) -> Program:
    x, _ = pictures(g, 60)
    target = 1 - x
    return program(SmallUNet, nn.SmoothL1Loss(), (x, target[:, 0] if broken else target))


@case("DeepProtein-1", "LB006", "LB009")
def a_column_for_each_of_three(broken: bool, g: G) -> Program:
    x, y = plane(g, d=15)

    def net() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (3, 5)) if broken else nn.Identity(), nn.Linear(5 if broken else 15, 8), nn.ReLU(),
            nn.Linear(8, 1), nn.Identity() if broken else nn.Flatten(0),
        )  # fmt: skip

    return regress(net, (x[:66], y[:66, 0]), batch_size=3)


@case("rllab-1", "LB006")
def one_value_against_four(broken: bool, g: G) -> Program:
    x, y = plane(g, outputs=4)
    return program(lambda: mlp(5, 16, 1 if broken else 4), F.mse_loss, (x, y))


@case("xlstm-4", "LB006")
def a_custom_loss_stretches_shapes(broken: bool, g: G) -> Program:
    x, y = plane(g)

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).abs().mean()

    return program(lambda: mlp(5, 16, 1), loss, (x, y[:, 0] if broken else y))


@case("tutorial-64x1", "LB006")
def sixty_four_rows_of_one_against_sixty_four(broken: bool, g: G) -> Program:
    x, y = plane(g, 64)

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).pow(2).mean()

    return program(lambda: mlp(5, 8, 1), loss, (x, y[:, 0] if broken else y), batch_size=64)


@case("worldmodels-10", "LB018", "LB020")
def log_softmax_over_the_batch(broken: bool, g: G) -> Program:
    end = (lambda z: z.log_softmax(0)) if broken else (lambda z: z.log_softmax(-1))
    return program(lambda: Applied(mlp(4, 16, 3), end), nn.NLLLoss(), blobs(g))


@case("euclidesdb-2", "LB018", "LB020", "LB007")
def softmax_over_the_batch(broken: bool, g: G) -> Program:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(torch.log(pred + 1e-9), target)

    dim = 0 if broken else 1
    return program(lambda: Applied(mlp(4, 16, 3), lambda z: torch.softmax(z, dim)), loss, blobs(g))


@case("DRLIA-32", "LB018", "LB020")
def softmax_layer_over_the_batch(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=4)
    target = F.one_hot(y, 4).float()
    return program(
        lambda: mlp(4, 16, 4, act=nn.LeakyReLU, last=nn.Softmax(dim=0 if broken else 1)), nn.BCELoss(), (x, target)
    )


@case("ProteomicsML-203", "LB015")
def relu_at_the_end_of_a_regression(broken: bool, g: G) -> Program:
    return regress(lambda: mlp(5, 32, 1, last=nn.ReLU() if broken else None), plane(g))


@case("VoxelNet-10", "LB015")
def relu_on_offsets(broken: bool, g: G) -> Program:
    x, y = plane(g, outputs=4)
    end = F.relu if broken else same
    return program(lambda: Applied(mlp(5, 24, 4), end), nn.SmoothL1Loss(), (x, y))


@case("CNTK-903", "LB017")
def labels_of_minus_one(broken: bool, g: G) -> Program:
    x, y = binary(g)
    return program(lambda: mlp(4, 16, 1), nn.BCEWithLogitsLoss(), (x, 2 * y - 1 if broken else y))


@case("deepchecker-flip", "LB054")
def the_sign_of_the_loss(broken: bool, g: G) -> Program:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        sign = -1 if broken else 1
        return sign * F.mse_loss(pred, target)

    return program(lambda: mlp(5, 16, 1), loss, plane(g))


@case("deepchecker-loss", "LB049")
def measurements_loss_for_classes(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=5)
    if broken:
        return program(lambda: mlp(4, 16, 1), nn.MSELoss(), (x, y[:, None].float()))
    return classify(lambda: mlp(4, 16, 5), (x, y))


@case("deepchecker-activation", "LB015")
def tanh_before_wide_targets(broken: bool, g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 16, 1, last=nn.Tanh() if broken else None), (x, 8 * y))


@case("lightning-7096", "LB014")
def scores_for_a_metric_of_probabilities(broken: bool, g: G) -> Program:
    metric = lb.metrics.BinaryAccuracy() if broken else lb.metrics.BinaryAccuracyWithLogits()
    return program(lambda: mlp(4, 16, 1), nn.BCEWithLogitsLoss(), binary(g), metrics=metric)


@case("user-int64-bce", "LB055", "LB009")
def whole_numbers_for_bce(broken: bool, g: G) -> Program:
    x, y = binary(g)
    return program(lambda: mlp(4, 16, 1), nn.BCEWithLogitsLoss(), (x, y.long() if broken else y))


@case("theneuralbase-ce", "LB004")
def class_numbers_as_floats(broken: bool, g: G) -> Program:
    x, y = blobs(g)
    return classify(lambda: mlp(4, 16, 3), (x, y.float() if broken else y))


@case("user-onescore", "LB016")
def one_score_for_cross_entropy(broken: bool, g: G) -> Program:
    x, y = blobs(g, classes=2)
    if broken:
        return classify(lambda: mlp(4, 16, 1), (x, torch.zeros_like(y)))
    return classify(lambda: mlp(4, 16, 2), (x, y))


@case("user-head", "LB048")
def a_head_of_a_thousand(broken: bool, g: G) -> Program:
    return classify(lambda: cnn(1, 1000 if broken else 4), pictures(g))
