"""Programs without a mistake: common nets and tasks, beside the mended twins."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from corpus.loss_and_output import Reader, SmallUNet, masks
from corpus.program import (  # fmt: skip
    Program,
    binary,
    blobs,
    classify,
    cnn,
    healthy,
    mlp,
    pictures,
    plane,
    program,
    regress,
    sequences,
    texts,
)

G = torch.Generator


class Block(nn.Module):
    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(d_in, d_out, 3, padding=1, bias=False), nn.BatchNorm2d(d_out)
        self.conv2, self.norm2 = nn.Conv2d(d_out, d_out, 3, padding=1, bias=False), nn.BatchNorm2d(d_out)
        self.short = nn.Conv2d(d_in, d_out, 1) if d_in != d_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())) + self.short(x)).relu()


@healthy
def resnet(g: G) -> Program:
    def net():
        return nn.Sequential(
            Block(3, 8), Block(8, 8), Block(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
        )

    return classify(
        net,
        pictures(g, channels=3),
        optimizer=optim.SGD,
        lr=0.05,
        opt={"momentum": 0.9, "weight_decay": 5e-4},
        valid_data=0.2,
    )


@healthy
def resnet_whose_last_norms_begin_at_zero(g: G) -> Program:
    def net() -> nn.Module:
        block = Block(1, 8)
        nn.init.zeros_(block.norm2.weight)
        return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    return classify(net, pictures(g))


@healthy
def unet(g: G) -> Program:
    return program(SmallUNet, nn.BCEWithLogitsLoss(), masks(g), metrics=lb.metrics.BinaryAccuracyWithLogits())


@healthy
def unet_of_classes(g: G) -> Program:
    x, mask = masks(g)
    return classify(lambda: SmallUNet(1, out=2), (x, mask[:, 0].long()))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], head: int) -> None:
        super().__init__()
        self.rnn, self.head = kind(3, 16, batch_first=True), nn.Linear(16, head)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@healthy
def gru(g: G) -> Program:
    return classify(lambda: Recurrent(nn.GRU, 2), sequences(g), lr=5e-3)


@healthy
def lstm_of_a_value(g: G) -> Program:
    x, _ = sequences(g)
    return regress(lambda: Recurrent(nn.LSTM, 1), (x[:, :-1], x[:, -1, :1]), lr=5e-3)


@healthy
def time_first_lstm(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 8, 2, dropout=0.1), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x.transpose(0, 1))[0][-1])

    return classify(Net, sequences(g))


@healthy
def transformer(g: G) -> Program:
    return classify(lambda: Reader(lambda z: z), texts(g), optimizer=optim.AdamW, opt={"weight_decay": 0.01})


class Generating(nn.Module):
    """A language model: the next word at each place; words in and out share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(30, 16), nn.Embedding(12, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 30, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        z = self.words(x) + self.places(torch.arange(x.shape[1], device=x.device))
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.head(self.layer(z, src_mask=mask, is_causal=True)).transpose(1, 2)


@healthy
def language_model(g: G) -> Program:
    x = (torch.randint(0, 30, (200, 1), generator=g) + torch.arange(13)) % 30
    return classify(Generating, (x[:, :-1], x[:, 1:]), optimizer=optim.AdamW, lr=3e-3)


class Variational(nn.Module):
    """A VAE: its loss looks at the whole of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(256, 32, 8), mlp(4, 32, 256, last=nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = self.encoder(x.flatten(1)).chunk(2, 1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * spread)
        return self.decoder(z), mean, spread

    def loss(self, pred: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
        image, mean, spread = pred
        kl = -0.5 * (1 + spread - mean**2 - spread.exp()).sum(1).mean()
        return F.binary_cross_entropy(image, target.flatten(1), reduction="sum") / len(target) + kl


@healthy
def vae(g: G) -> Program:
    x, _ = pictures(g)
    return program(Variational, None, (x, x))


@healthy
def autoencoder(g: G) -> Program:
    x, _ = pictures(g)
    return regress(
        lambda: nn.Sequential(nn.Flatten(), mlp(256, 32, 4, 32, 256, last=nn.Sigmoid()), nn.Unflatten(1, (1, 16, 16))),
        (x, x),
    )


class Adversarial(nn.Module):
    """A GAN: two optimizers and two losses."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = mlp(4, 32, 256, last=nn.Tanh())
        self.judge = mlp(256, 32, 1, act=nn.LeakyReLU)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fake = self.generator(torch.randn(len(x), 4, device=x.device))
        return {"real": self.judge(x.flatten(1)), "fake": self.judge(fake), "fake_fixed": self.judge(fake.detach())}

    def loss_judge(self, pred: dict[str, Tensor], _: Tensor) -> Tensor:
        real, fake = pred["real"], pred["fake_fixed"]
        bce = F.binary_cross_entropy_with_logits
        return bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))

    def loss_generator(self, pred: dict[str, Tensor], _: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(pred["fake"], torch.ones_like(pred["fake"]))

    def configure_optimizers(self, lr: float = 2e-4) -> dict[str, optim.Optimizer]:
        return {
            "judge": optim.Adam(self.judge.parameters(), lr=lr, betas=(0.5, 0.999)),
            "generator": optim.Adam(self.generator.parameters(), lr=lr, betas=(0.5, 0.999)),
        }


@healthy
def gan(g: G) -> Program:
    x, y = pictures(g)
    return program(Adversarial, None, (2 * x - 1, y), optimizer=None)


class Embedded(nn.Module):
    """Three pictures to three places; the loss is of triplets."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn(1, 8)

    def forward(self, anchor: Tensor, same: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.net(anchor), self.net(same), self.net(other)

    def loss(self, pred: tuple[Tensor, Tensor, Tensor], _: Tensor) -> Tensor:
        return F.triplet_margin_loss(*pred)


@healthy
def triplets(g: G) -> Program:
    x, y = pictures(g)
    return program(Embedded, None, ((x[:100], x[10:110], x[20:]), y[:100]))


@healthy
def siamese(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = cnn(1, 8)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (self.net(a) - self.net(b)).pow(2).sum(1)

    x, y = pictures(g)
    same = (y == y.roll(1)).float()
    return program(Net, nn.BCEWithLogitsLoss(), ((x, x.roll(1, 0)), same))


@healthy
def linear_regression(g: G) -> Program:
    return regress(lambda: nn.Linear(5, 1), plane(g), optimizer=optim.SGD, lr=0.1, valid_data=0.2)


@healthy
def regression_of_positive_values(g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(5, 32, 1, last=nn.Softplus()), (x, y.exp().clamp(max=10)))


@healthy
def regression_with_relu_of_counts(g: G) -> Program:
    x, y = plane(g)
    return program(lambda: mlp(5, 32, 1), nn.PoissonNLLLoss(), (x, torch.poisson(y.exp().clamp(max=8), generator=g)))


@healthy
def gaussian_of_two_heads(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.mean, self.spread = mlp(5, 16, 16), nn.Linear(16, 1), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            z = self.body(x).relu()
            return {"mean": self.mean(z), "variance": F.softplus(self.spread(z)) + 1e-3}

        def loss(self, pred: dict[str, Tensor], target: Tensor) -> Tensor:
            return F.gaussian_nll_loss(pred["mean"], target, pred["variance"])

    return program(Net, None, plane(g))


@healthy
def quantiles(g: G) -> Program:
    shares = torch.tensor([0.1, 0.5, 0.9])

    def pinball(pred: Tensor, target: Tensor) -> Tensor:
        error = target - pred  # (rows, 1) against (rows, 3): meant
        return torch.maximum(shares * error, (shares - 1) * error).mean()

    return program(lambda: mlp(5, 32, 3), pinball, plane(g))


@healthy
def many_labels(g: G) -> Program:
    x, y = pictures(g)
    labels = torch.stack([y == 0, y >= 2, y % 2 == 1], 1).float()
    return program(lambda: cnn(1, 3), nn.BCEWithLogitsLoss(), (x, labels))


@healthy
def probabilities_and_bce(g: G) -> Program:
    return program(
        lambda: mlp(4, 16, 1, last=nn.Sigmoid()), nn.BCELoss(), binary(g), metrics=lb.metrics.BinaryAccuracy()
    )


@healthy
def soft_targets(g: G) -> Program:
    x, y = blobs(g)
    return classify(lambda: mlp(4, 16, 3), (x, 0.9 * F.one_hot(y, 3).float() + 0.1 / 3))


@healthy
def smoothed_and_weighted_classes(g: G) -> Program:
    return program(
        lambda: mlp(4, 16, 3), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 1]), label_smoothing=0.1), blobs(g)
    )


@healthy
def knowledge_distilled(g: G) -> Program:
    x, y = blobs(g)
    soft = torch.softmax(3 * F.one_hot(y, 3).float(), 1)
    return program(lambda: mlp(4, 16, 3, last=nn.LogSoftmax(1)), nn.KLDivLoss(reduction="batchmean"), (x, soft))


@healthy
def softmax_with_its_own_loss(g: G) -> Program:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return -pred.gather(1, target[:, None]).log().mean()

    return program(lambda: mlp(4, 16, 3, last=nn.Softmax(1)), loss, blobs(g))


@healthy
def brier_score(g: G) -> Program:
    x, y = blobs(g)
    return regress(lambda: mlp(4, 16, 3, last=nn.Softmax(1)), (x, F.one_hot(y, 3).float()))


@healthy
def frozen_body(g: G) -> Program:
    def net() -> nn.Module:
        body = cnn(1, 16)
        body.requires_grad_(False)
        return nn.Sequential(body, nn.ReLU(), nn.Linear(16, 4))

    return classify(net, pictures(g))


@healthy
def frozen_norms_in_evaluation(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = Block(1, 8), nn.Linear(8, 4)

        def train(self, mode: bool = True) -> "Net":
            super().train(mode)
            self.block.norm1.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(x).mean((2, 3)))

    return classify(Net, pictures(g))


@healthy
def groups_of_parameters(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = mlp(4, 16, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).relu())

        def configure_optimizers(self, lr: float) -> optim.Optimizer:
            return optim.AdamW(
                [{"params": self.body.parameters(), "lr": lr / 10}, {"params": self.head.parameters()}], lr=lr
            )

    return classify(Net, blobs(g), optimizer=None)


@healthy
def layer_norm_and_gelu(g: G) -> Program:
    net = lambda: nn.Sequential(nn.Linear(4, 32), nn.LayerNorm(32), nn.GELU(), nn.Dropout(0.2), nn.Linear(32, 3))  # noqa: E731
    return classify(net, blobs(g), valid_data=0.25)


@healthy
def low_rank_layer(g: G) -> Program:
    net = lambda: nn.Sequential(nn.Linear(40, 4, bias=False), nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 1))  # noqa: E731
    return regress(net, plane(g, d=40))


@healthy
def separable_convolutions(g: G) -> Program:
    net = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(3, 3, 3, groups=3, padding=1), nn.Conv2d(3, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 4),  # noqa: E501
    )  # fmt: skip
    return classify(net, pictures(g, channels=3))


@healthy
def categories_and_numbers(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kinds, self.net = nn.Embedding(6, 3), mlp(7, 16, 3)

        def forward(self, kind: Tensor, numbers: Tensor) -> Tensor:
            return self.net(torch.cat([self.kinds(kind), numbers], 1))

    x, y = blobs(g)
    return classify(Net, ({"kind": torch.randint(0, 6, (240,), generator=g), "numbers": x}, y))


@healthy
def one_hot_columns(g: G) -> Program:
    x, y = plane(g)
    kinds = F.one_hot(torch.randint(0, 4, (240,), generator=g), 4).float()
    return regress(lambda: mlp(9, 16, 1), (torch.cat([x, kinds], 1), y))


@healthy
def sparse_counts(g: G) -> Program:
    x = torch.poisson(torch.full((240, 30), 0.2), generator=g)
    y = (x[:, :5].sum(1) > 1).long()
    return classify(lambda: mlp(30, 16, 2), (x, y))


@healthy
def margins_of_pictures_are_constant(g: G) -> Program:
    x, y = pictures(g)
    x = F.pad(x, (4, 4, 4, 4))
    return classify(lambda: nn.Sequential(nn.Flatten(), mlp(576, 32, 4)), (x, y), valid_data=0.2)


@healthy
def bytes_that_are_divided(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = cnn(1, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x / 255)

    x, y = pictures(g)
    return classify(Net, ((255 * x).to(torch.uint8), y))


@healthy
def normalization_as_first_layer(g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: nn.Sequential(nn.BatchNorm1d(5), mlp(5, 16, 1)), (x * 300 + 1000, y))


@healthy
def standardized_pictures(g: G) -> Program:
    x, y = pictures(g, channels=3)
    return classify(lambda: cnn(3, 4), ((x - x.mean()) / x.std(), y), valid_data=0.25)


@healthy
def mild_imbalance(g: G) -> Program:
    x, y = blobs(g, 400, 4, 2)
    keep = (y == 0) | (torch.arange(400) % 4 == 0)
    return classify(lambda: mlp(4, 16, 2), (x[keep], y[keep]), metrics=lb.metrics.Accuracy())


@healthy
def few_rows(g: G) -> Program:
    return classify(lambda: mlp(4, 64, 3), blobs(g, 24), valid_data=0.25, batch_size=6)


@healthy
def ordered_in_time(g: G) -> Program:
    x, _ = sequences(g, 200)
    return regress(lambda: Recurrent(nn.GRU, 1), (x[:, :-1], x[:, -1, :1]), shuffle=False)


@healthy
def repeated_values_are_no_leak(g: G) -> Program:
    x = torch.randint(0, 3, (300, 3), generator=g).float()
    y = ((x.sum(1) + torch.randint(0, 2, (300,), generator=g)) > 3).long()
    return classify(lambda: mlp(3, 16, 2), (x, y), valid_data=0.2)


@healthy
def a_strong_feature_is_no_leak(g: G) -> Program:
    x, y = plane(g)
    return regress(lambda: mlp(6, 16, 1), (torch.cat([x, y + 0.15 * torch.randn(240, 1, generator=g)], 1), y))


@healthy
def cosine_over_the_run(g: G) -> Program:
    return classify(
        lambda: mlp(4, 16, 3), blobs(g), callbacks=lb.callbacks.LearningRate(lb.schedules.cosine()), epochs=5
    )


@healthy
def one_cycle(g: G) -> Program:
    cycle = lb.callbacks.LRScheduler(lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.05)
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=cycle, epochs=4, optimizer=optim.SGD, lr=0.01)


@healthy
def warm_restarts(g: G) -> Program:
    cycle = lb.callbacks.LRScheduler(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3)
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=cycle, epochs=9)


@healthy
def lower_on_a_plateau(g: G) -> Program:
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=lb.schedules.plateau(patience=2), valid_data=0.2)


@healthy
def summed_loss(g: G) -> Program:
    return program(lambda: mlp(5, 16, 1), nn.MSELoss(reduction="sum"), plane(g), lr=1e-4)


@healthy
def accumulated_means(g: G) -> Program:
    return classify(lambda: mlp(4, 16, 3), blobs(g), callbacks=lb.callbacks.Accumulate(4), batch_size=8)


@healthy
def mixed_pictures(g: G) -> Program:
    return classify(lambda: cnn(1, 4), pictures(g), callbacks=lb.callbacks.Mixup())


@healthy
def contrast_between_rows(g: G) -> Program:
    def loss(pred: Tensor, _: Tensor) -> Tensor:  # every row against every other: meant
        z = F.normalize(pred, dim=1)
        return F.cross_entropy(z @ z.T / 0.5, torch.arange(len(z)).roll(1))

    return program(lambda: cnn(1, 8), loss, pictures(g), drop_last=True)


@healthy
def plain_sgd_with_a_high_rate(g: G) -> Program:
    return classify(lambda: mlp(4, 16, 3), blobs(g), optimizer=optim.SGD, lr=0.5)


@healthy
def lbfgs(g: G) -> Program:
    return regress(lambda: mlp(5, 8, 1, act=nn.Tanh), plane(g), optimizer=optim.LBFGS, lr=1.0, batch_size=240)


@healthy
def actor_with_zero_head(g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(4, 32, 3)
        nn.init.zeros_(made[-1].weight)
        nn.init.zeros_(made[-1].bias)
        return made

    return classify(net, blobs(g))


@healthy
def deep_with_tanh(g: G) -> Program:
    def net() -> nn.Module:
        made = mlp(4, 32, 32, 32, 32, 3, act=nn.Tanh)
        for part in made:
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
        return made

    return classify(net, blobs(g))


@healthy
def ordinal_targets_by_measure(g: G) -> Program:
    x, y = plane(g)
    stars = (y * 1.2 + 3).round().clamp(1, 5)
    return regress(lambda: mlp(5, 16, 1), (x, stars))


@healthy
def dropout2d_of_pictures(g: G) -> Program:
    net = lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(8 * 196, 4))  # noqa: E731
    return classify(net, pictures(g))


@healthy
def deep_supervision(g: G) -> Program:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = mlp(4, 16, 3), mlp(7, 16, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            early = self.first(x)
            return self.second(torch.cat([x, early.softmax(1)], 1)), early

        def loss(self, pred: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
            return F.cross_entropy(pred[0], target) + 0.3 * F.cross_entropy(pred[1], target)

    return program(Net, None, blobs(g))
