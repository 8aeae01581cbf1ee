"""The third tutorial, complete: from the derivative of one function to a convolutional net that generalises.

You learn: how autograd differentiates, how optimizers find minima, what a net consists of, how it is trained by hand,
how data is loaded, how a run is declared, and how to keep a net from memorising pictures.

Intended differences from the original, each with a comment in the code:

- Its convolutional net squeezed every dimension of size 1, also the batch dimension of a single picture.
- It wrote `w1 <- w1$sub_(...)`, which is right only because `sub_` works in place; any other update would have
  disconnected the weights from their gradients.
- The code that draws its training data is missing, so its losses can be reproduced only approximately.
- Training the convolutional net, and making it generalise, was only a list of headings. Here it is done.

    python workshop.py --quick    # drawn pictures and a narrow net, in seconds, without network
    python workshop.py            # MNIST and Tiny ImageNet (237 MB), which needs a GPU
"""

# S2-01  Installation: `pip install "lumbre[data,vision,plots]"` installs everything, without a server
import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import plotnine as p9
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lumbre as lb
from lumbre import vision

BLUE, ORANGE, BLACK = "#0072B2", "#D55E00", "#000000"


def numbers(values: Iterable[float]) -> str:
    """Numbers in one line, with up to seven digits."""
    return " ".join(f"{value:.7g}" for value in values)


# S2-02  Autograd
def autograd() -> None:
    """f = 0.2 x1^2 + 0.2 x2^2 - 5 at (2, 2), and its derivative with respect to each number in it."""
    x1, x2 = torch.tensor([2.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    steps = {"x1": x1, "x2": x2, "x3": x1.square(), "x4": x2.square()}
    steps |= {"x5": 0.2 * steps["x3"], "x6": 0.2 * steps["x4"]}
    steps |= {"x7": steps["x5"] + steps["x6"] - 5}
    for step in steps.values():
        # Intermediate tensors (everything but x1 and x2) keep their gradient only after retain_grad().
        step.retain_grad()
    steps["x7"].backward()
    print(f"S2-02 value {steps['x7'].item():.4f}")
    for name, step in steps.items():
        assert step.grad is not None
        print(f"S2-02 df/d{name} = {step.grad.item():.4f}" + ("" if step.is_leaf else "  (on the way)"))


# S2-03  A minimum by gradient descent
def rosenbrock(x: Tensor, a: float = 1.0, b: float = 5.0) -> Tensor:
    """Rosenbrock's valley (The Computer Journal 3, 1960); it is 0 at (1, 1) and nowhere else."""
    return (a - x[0]) ** 2 + b * (x[1] - x[0] ** 2) ** 2


def gradient_descent() -> pd.DataFrame:
    """A thousand steps against the gradient, by hand: position and value before each step."""
    x, walked = torch.tensor([-1.0, 1.0], requires_grad=True), list[tuple[float, ...]]()
    for step in range(1001):
        value = rosenbrock(x)
        (slope,) = torch.autograd.grad(value, x)
        walked.append((step, *x.tolist(), value.item()))
        with torch.no_grad():
            x -= 0.01 * slope
    frame = pd.DataFrame(walked, columns=["step", "x1", "x2", "value"])
    for step in range(100, 1001, 100):
        print(f"S2-03 {step}: {frame['value'][step - 1]:.7g}")
    print(f"S2-03 x: {frame['x1'][1000]:.4f} {frame['x2'][1000]:.4f}")
    return frame


# S2-15  Other optimizers
OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], dict[str, Any]]] = {
    "SGD": (optim.SGD, {"lr": 0.01}),
    "SGD with momentum": (optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "RMSprop": (optim.RMSprop, {"lr": 0.01}),
    "Adadelta": (optim.Adadelta, {"lr": 1.0}),
    "Adagrad": (optim.Adagrad, {"lr": 0.1}),
    "Adam": (optim.Adam, {"lr": 0.1}),
    # L-BFGS searches its direction for a good step and evaluates the function several times; so it is given the
    # function instead of one gradient. To show its path a step is one iteration, with enough evaluations for a search.
    "L-BFGS": (optim.LBFGS, {"line_search_fn": "strong_wolfe", "max_iter": 1, "max_eval": 25}),
}


def walk(optimizer: Callable[..., optim.Optimizer], steps: int, **options: Any) -> pd.DataFrame:
    """Minimise from (-1, 1): position and value before each step, and the number of evaluations so far."""
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    taken, evaluations, walked = optimizer([x], **options), 0, list[tuple[float, ...]]()

    def closure() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        taken.zero_grad()
        value = rosenbrock(x)
        value.backward()
        return value

    for step in range(steps + 1):
        with torch.no_grad():
            walked.append((step, *x.tolist(), rosenbrock(x).item(), evaluations))
        taken.step(closure)  # type: ignore[arg-type]
    return pd.DataFrame(walked, columns=["step", "x1", "x2", "value", "evaluations"])


def compare_optimizers(descent: pd.DataFrame, folder: Path) -> None:
    """The lowest value of each in a hundred steps, and the paths of gradient descent and of L-BFGS."""
    walks = {name: walk(make, 100, **options) for name, (make, options) in OPTIMIZERS.items()}
    for name, walked in walks.items():
        print(f"S2-15 {name}: {walked['value'][100]:.3g} after {walked['evaluations'][100]} evaluations")
    # As low as gradient descent gets in its thousand steps:
    newton = walks["L-BFGS"][: int((walks["L-BFGS"]["value"] < descent["value"].iloc[-1]).idxmax()) + 1]
    print(f"S2-15 L-BFGS is as low after {len(newton) - 1} steps and {newton['evaluations'].iloc[-1]} evaluations")
    draw_paths(descent, newton, folder / "S2-15_paths.png")

    # In a recipe L-BFGS is an optimizer like any other: fit() gives it the closure that it needs.
    x, y = regression_data(100, 0)
    recipe = lb.setup(MLP, loss=nn.MSELoss(), optimizer=optim.LBFGS).set_hparams(d_in=3, d_hidden=8, d_out=1)
    fitted = recipe.set_opt_hparams(line_search_fn="strong_wolfe").fit((x, y), epochs=5, batch_size=100, verbose=False)
    print("S2-15 L-BFGS in a recipe:", numbers(fitted.history["value"].round(4)))


def draw_paths(descent: pd.DataFrame, newton: pd.DataFrame, path: Path) -> None:
    """The valley from above, both paths (of descent with a mark every fifty steps), and the minimum."""
    line = torch.arange(-60, 61, dtype=torch.float64) / 40
    places = torch.cartesian_prod(line, line)
    height = (rosenbrock(places.T) + 1e-3).log10()
    plane = pd.DataFrame({"x1": places[:, 0], "x2": places[:, 1], "height": height})
    names = {f"gradient descent, {len(descent) - 1} steps": descent, f"L-BFGS, {len(newton) - 1} steps": newton}
    paths = pd.concat([walked.assign(by=name) for name, walked in names.items()])
    marks = pd.concat([paths[: len(descent) : 50], paths[len(descent) :]])
    ticks = [-1, -0.5, 0, 0.5, 1]
    chart = (
        p9.ggplot(paths, p9.aes("x1", "x2"))
        + p9.geom_raster(p9.aes(fill="height"), plane)
        + p9.geom_path(p9.aes(colour="by"), size=0.9)
        + p9.geom_point(p9.aes(colour="by", shape="by"), marks)
        + p9.annotate("point", x=1, y=1, shape="*", size=6, colour=BLACK)
        + p9.scale_fill_gradient(low="#888888", high="#ffffff")
        + p9.scale_colour_manual(values=dict(zip(names, (BLUE, ORANGE), strict=True)))
        + p9.scale_shape_manual(values=dict(zip(names, ("o", "^"), strict=True)))
        + p9.scale_x_continuous(breaks=ticks)
        + p9.scale_y_continuous(breaks=ticks)
        + p9.coord_equal(expand=False)
        + p9.labs(x="x1", y="x2", colour="", shape="", fill="height (log10)")
        + p9.theme_minimal()
        + p9.theme(figure_size=(6, 5.4), legend_position="top", legend_box="vertical")
    )
    chart.save(path, dpi=130, verbose=False)


def what_a_net_is_made_of() -> None:
    """Linear layers, the function between them, and the loss."""
    generator = torch.Generator().manual_seed(0)
    # S2-04  Multiple linear regression
    x, w, b = torch.randn(100, 3, generator=generator), torch.randn(3, 1, requires_grad=True), torch.zeros(1, 1)
    y = x @ w + b
    print("S2-04", tuple(y.shape), type(y.grad_fn).__name__)
    # S2-05  Two linear layers are one: without a nonlinearity between them, depth is useless
    w1, w2 = torch.randn(3, 8, generator=generator), torch.randn(8, 1, generator=generator)
    print("S2-05 the same:", torch.allclose(x @ w1 @ w2, x @ (w1 @ w2), atol=1e-5))
    # S2-06  relu
    print("S2-06", numbers(F.relu(torch.tensor([-1.0, 1, 5, -7])).tolist()))
    # S2-07  The mean squared error of being wrong by 0.01. It is not quite 0.0001: added to a number near 1, float32
    # keeps only five digits of 0.01.
    truth = torch.tensor([0.2, -1.3, -0.5, 0.7, 1.9])
    print(f"S2-07 {F.mse_loss(truth + 0.01, truth).item():.6g}")


def regression_data(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three random columns and a linear function of them: x (rows, 3), y (rows, 1), with a noise of 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    y = x @ torch.tensor([[0.2], [-1.3], [-0.5]]) + torch.randn(rows, 1, generator=generator)
    return x, y


# S2-08  A net from scratch     S2-12  The same with an optimizer
def train_from_scratch(seed: int, optimizer: type[optim.Optimizer] | None) -> list[float]:
    """Two hundred updates of four tensors, by hand or by an optimizer; the loss at every tenth."""
    x, y = regression_data(100, seed)
    generator = torch.Generator().manual_seed(seed)
    d_in, d_hidden, d_out, learning_rate = 3, 32, 1, 1e-4
    w1, w2 = torch.randn(d_in, d_hidden, generator=generator), torch.randn(d_hidden, d_out, generator=generator)
    weights = [weight.requires_grad_() for weight in (w1, torch.zeros(1, d_hidden), w2, torch.zeros(1, d_out))]
    taken = None if optimizer is None else optimizer(weights, lr=learning_rate)  # type: ignore[call-arg]
    losses = list[float]()
    for i in range(1, 201):
        w1, b1, w2, b2 = weights
        loss = ((x @ w1 + b1).relu() @ w2 + b2 - y).square().mean()
        loss.backward()
        if i % 10 == 0:
            losses.append(loss.item())
        with torch.no_grad():
            if taken is not None:
                taken.step()
            else:
                for weight in weights:
                    assert weight.grad is not None
                    # Mended: in place, without assignment. `weight = weight - ...` would be a new tensor without a
                    # gradient; the original assigned the result of sub_(), which happened to be right.
                    weight -= learning_rate * weight.grad
            for weight in weights:
                weight.grad = None
    return losses


def net_from_scratch(seed: int) -> None:
    """By hand and with an optimizer, which must give the same."""
    by_hand, by_sgd = train_from_scratch(seed, None), train_from_scratch(seed, optim.SGD)
    print("S2-08", numbers(by_hand))
    furthest = max(abs(one - other) / one for one, other in zip(by_hand, by_sgd, strict=True))
    print(f"S2-12 with an optimizer: largest difference {furthest:.1g} of the loss")


class MLP(nn.Module):
    """A net with a hidden layer."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_out))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (rows, d_out) for (rows, d_in)."""
        return self.layers(x)


def modules(seed: int) -> None:
    """Layers of torch.nn."""
    torch.manual_seed(seed)
    # S2-09  A linear layer
    layer = nn.Linear(5, 16)
    print("S2-09 parameters", sum(parameter.numel() for parameter in layer.parameters()), end=" | ")
    print(*(f"{name} {tuple(parameter.shape)}" for name, parameter in layer.named_parameters()), end=" | ")
    print("output", tuple(layer(torch.randn(50, 5)).shape))
    # S2-10  Layers in a row
    mlp = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1))
    print("S2-10", tuple(mlp(torch.randn(100, 3)).shape))
    # S2-11  Others, for sequences, pictures, volumes, texts
    print("S2-11 conv1d", tuple(nn.Conv1d(2, 4, 3)(torch.randn(8, 2, 20)).shape))
    print("S2-11 conv2d", tuple(nn.Conv2d(3, 16, 3)(torch.randn(8, 3, 28, 28)).shape))
    print("S2-11 conv3d", tuple(nn.Conv3d(1, 2, 3)(torch.randn(8, 1, 9, 9, 9)).shape))
    print("S2-11 lstm", tuple(nn.LSTM(6, 10, batch_first=True)(torch.randn(8, 20, 6))[0].shape))
    print("S2-11 gru", tuple(nn.GRU(6, 10, batch_first=True)(torch.randn(8, 20, 6))[0].shape))
    print("S2-11 embedding", tuple(nn.Embedding(1000, 12)(torch.randint(1000, (8, 20))).shape))


def which_loss() -> None:
    """The four losses for classes, and which are equal."""
    # S2-13  A loss as a function
    print(f"S2-13 {F.mse_loss(torch.ones(2, 2), torch.full((2, 2), 0.1)).item():.2f}")
    # S2-14  Which loss for which output
    generator = torch.Generator().manual_seed(0)
    raw, one_of_two = torch.randn(6, generator=generator), torch.tensor([0.0, 1, 1, 0, 1, 0])
    scores, one_of_three = torch.randn(6, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0, 2])
    table = pd.DataFrame(
        [
            ("BCEWithLogitsLoss", "two", "raw scores", nn.BCEWithLogitsLoss()(raw, one_of_two).item()),
            ("BCELoss", "two", "probabilities", nn.BCELoss()(raw.sigmoid(), one_of_two).item()),
            ("CrossEntropyLoss", "several", "raw scores", nn.CrossEntropyLoss()(scores, one_of_three).item()),
            ("NLLLoss", "several", "log probabilities", nn.NLLLoss()(scores.log_softmax(1), one_of_three).item()),
        ],
        columns=["loss", "classes", "the net ends in", "value"],
    )
    # In pairs they are equal; those that take raw scores stay exact where probabilities round to 0 or 1.
    print("S2-14\n" + table.round(6).to_string(index=False))


# S2-16  The loop, with torch's loss and optimizer
def train_by_loop(seed: int) -> None:
    """Two hundred updates with Adam."""
    x, y = regression_data(100, seed)
    torch.manual_seed(seed)
    net = MLP(d_in=3, d_hidden=32, d_out=1)
    optimizer, losses = optim.Adam(net.parameters()), list[float]()
    for i in range(1, 201):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        if i % 10 == 0:
            losses.append(loss.item())
    print("S2-16", numbers(losses))


# S2-17  A custom data set
class Penguins(Dataset[tuple[Tensor, Tensor]]):
    """Bill length and depth, flipper length and body mass of a penguin, and its species, from 0."""

    def __init__(self) -> None:
        complete = lb.datasets.penguins(drop_missing=True)
        columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
        self.x = torch.tensor(complete[columns].to_numpy(), dtype=torch.float32)
        self.y = torch.tensor(complete["species"].astype("category").cat.codes.to_numpy(), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.x[row], self.y[row]


def how_data_comes_in(given: argparse.Namespace) -> None:
    """Rows, tensors together, batches."""
    data = Penguins()
    print("S2-17", len(data), "|", numbers(data[0][0].tolist()), "| species", data[0][1].item())
    # S2-18  Tensors that belong together
    pair = TensorDataset(data.x, data.y)
    print("S2-18", len(pair), "|", numbers(pair[0][0].tolist()), "| species", pair[0][1].item())
    # S2-19  Batches: drawn grey pictures, or MNIST
    drawn = TensorDataset(torch.rand(100, 1, 28, 28), torch.arange(100) % 10)
    digits = drawn if given.quick else lb.datasets.mnist(root=given.root)
    images, labels = next(iter(DataLoader(digits, batch_size=32, shuffle=True)))  # type: ignore[arg-type]
    print("S2-19", tuple(images.shape), tuple(labels.shape))


# S2-20  A declared run
def pipeline(seed: int, folder: Path) -> None:
    """The best epoch is kept in a file, and the run ends when there is no more improvement."""
    train, valid, test = lb.split(regression_data(1000, seed), 0.6, 0.2, 0.2, seed=seed)
    best = folder / "S2-20_best.lumbre"
    recipe = lb.setup(MLP, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=lb.metrics.MAE())
    recipe = recipe.set_hparams(d_in=3, d_hidden=32, d_out=1)
    callbacks = [lb.callbacks.ModelCheckpoint(best), lb.callbacks.EarlyStopping(patience=10)]
    # fit() and predict() move the net to the device, and switch dropout and the like on or off.
    fitted = recipe.fit(train, epochs=200, valid_data=valid, callbacks=callbacks, seed=seed, verbose=False)
    losses = fitted.history_wide["valid_loss"]
    print(f"S2-20 stopped after {len(losses)} of 200 epochs; the best was {losses.idxmin() + 1}", end=", ")
    print(f"{losses.min():.4f}; its file has {lb.load(best, recipe).evaluate(valid).metrics['loss']:.4f}")
    print("S2-20", repr(fitted.evaluate(test)).replace("\n", ""), "| predictions", tuple(fitted.predict(test).shape))
    fitted.plot().save(folder / "S2-20_curves.png", dpi=110, verbose=False)


# S2-21  Pictures
def around_zero(images: Tensor) -> Tensor:
    """Bytes as floats from -2 to 2: a net learns faster from inputs on both sides of 0."""
    return (images.float() / 255 - 0.5) / 0.25


def pictures(given: argparse.Namespace) -> tuple[lb.data.InMemoryDataset, lb.data.InMemoryDataset]:
    """Tiny ImageNet: 100,000 pictures for training and 10,000 for validation, in 200 classes; or drawn ones."""
    if given.quick:
        return stripes(300, 1), stripes(120, 2)
    return tuple(
        lb.datasets.tiny_imagenet(split=split, root=given.root, transform=around_zero) for split in ("train", "val")
    )  # type: ignore


WIDTHS = ("narrow", "middling", "broad")


def stripes(rows: int, seed: int, side: int = 32) -> lb.data.InMemoryDataset:
    """Colour pictures of stripes in any direction; the class is their width, which no flip or rotation changes."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(rows) % len(WIDTHS)
    period = torch.tensor([4.0, 9.0, 20.0])[kind]
    angle, phase = 2 * torch.pi * torch.rand(2, rows, 1, 1, generator=generator)
    line, column = torch.arange(side)[None, :, None], torch.arange(side)[None, None, :]
    wave = torch.sin(2 * torch.pi / period[:, None, None] * (line * angle.sin() + column * angle.cos()) + phase)
    dark, light = 0.4 * torch.rand(2, rows, 3, 1, 1, generator=generator) + torch.tensor([0, 0.6])[:, *[None] * 4]
    blend = torch.lerp(dark, light, 0.5 + 0.5 * wave[:, None])
    noisy = blend + 0.1 * torch.randn(rows, 3, side, side, generator=generator)
    return lb.data.InMemoryDataset(
        (noisy.clamp(0, 1) * 255).to(torch.uint8), kind, transform=around_zero, classes=WIDTHS
    )


# S2-22  A convolutional net
class ConvNet(nn.Module):
    """Five convolutions and three linear layers: 8,574,792 parameters for 200 classes at full width.

    With `dropout`, whole feature maps are dropped between convolutions, and single numbers between linear layers.
    """

    def __init__(self, n_class: int = 200, width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        layers, channels = list[nn.Module](), 3
        for out in (width, 2 * width, 4 * width, 8 * width):
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(dropout)]
            channels = out
        layers += [nn.Conv2d(channels, 16 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        self.features = nn.Sequential(*layers)
        hidden = 16 * width
        self.classifier = nn.Sequential(
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, n_class),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, n_class) for pictures of shape (rows, 3, height, width)."""
        # Mended: squeeze() removes every dimension of size 1, also a batch of one row; flatten(1) keeps the rows.
        return self.classifier(self.features(x).flatten(1))


def convnet(given: argparse.Namespace, folder: Path) -> None:
    """Train it plainly, then with everything that helps it generalise."""
    net = ConvNet()
    print(f"S2-22 parameters: {sum(parameter.numel() for parameter in net.parameters()):,}", end=" | ")
    print("one picture:", tuple(net(torch.zeros(1, 3, 64, 64)).shape))
    train, valid = pictures(given)
    print("S2-21", len(train), len(valid), tuple(train[0][0].shape))
    recipe = lb.setup(
        ConvNet, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy()
    ).set_hparams(n_class=len(train.classes or ()), width=8 if given.quick else 64)
    options: dict[str, Any] = {
        "batch_size": 16 if given.quick else 128,
        "precision": given.precision,
        "seed": given.seed,
    }

    # The learning rate rises with every step until the loss diverges.
    rates = recipe.lr_finder(train, start=1e-4, end=0.1, steps=120 if given.quick else 500, **options)
    rates.plot().save(folder / "S2-22_learning_rates.png", dpi=130, verbose=False)
    print(f"S2-22 learning rate {rates.suggest():.1g}")
    recipe = recipe.set_opt_hparams(lr=rates.suggest() / 2)
    epochs = given.epochs or (6 if given.quick else 20)
    plain = recipe.fit(train, epochs=epochs, valid_data=valid, verbose=not given.quick, **options)
    best = generalising(recipe, train, valid, epochs, folder, given, options)
    for name, fitted in (("plain", plain), ("with everything", best)):
        seen, unseen = (fitted.evaluate(data).metrics["acc"] for data in (train, valid))
        print(f"S2-23 {name}: accuracy {seen:.3f} on pictures seen, {unseen:.3f} on others")
    best.plot().save(folder / "S2-23_curves.png", dpi=110, verbose=False)
    print("S2-22 predictions", tuple(best.predict(valid).shape), *best.predict_classes(valid)[:4])


# S2-23  What helps the net generalise to new pictures
def generalising(
    recipe: lb.Recipe, train: Any, valid: Any, epochs: int, folder: Path, given: argparse.Namespace, options: Any
) -> lb.Fitted:
    """Augmentation, mixup, dropout, weight decay, early stopping: each a line."""
    augment = vision.Augment(
        [
            vision.RandomHorizontalFlip(),
            vision.RandomVerticalFlip(),
            vision.RandomAffine(degrees=45, translate=(0.2, 0.2)),
        ]
    )
    # Above, the first original pictures; below, as the first epoch would see them.
    images = train.fetch(range(8), 0)[0]
    both = torch.cat([images, augment(images, vision.row_seeds(range(8), epoch=1))]) * 0.25 + 0.5
    grid = vision.resize(vision.image_grid(both, columns=8, padding=2, fill=1.0)[None], (210, 818), "nearest")[0]
    vision.to_pillow(grid).save(folder / "S2-23_augmented.png")
    return (
        recipe.set_hparams(dropout=0.05 if given.quick else 0.2)
        .set_opt_hparams(weight_decay=0.01)
        .fit(
            train,
            epochs=epochs,
            valid_data=valid,
            augment=augment,
            callbacks=[
                lb.callbacks.Mixup(alpha=0.2),
                lb.callbacks.EarlyStopping(patience=5, restore_best=True),
            ],
            verbose=not given.quick,
            **options,
        )
    )


def main() -> None:
    """The sections, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="drawn pictures and a narrow net, in seconds")
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/ and tiny_imagenet/")
    parser.add_argument("--epochs", type=int, help="of the convolutional net: 20 where not given, 6 with --quick")
    parser.add_argument("--precision", default="float32", help="bfloat16 is faster where the processor has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", default="workshop", help="folder for the pictures and the best net")
    given = parser.parse_args()
    folder = Path(given.pictures)
    folder.mkdir(parents=True, exist_ok=True)

    autograd()
    descent = gradient_descent()
    what_a_net_is_made_of()
    net_from_scratch(given.seed)
    modules(given.seed)
    which_loss()
    compare_optimizers(descent, folder)
    train_by_loop(given.seed)
    how_data_comes_in(given)
    pipeline(given.seed, folder)
    convnet(given, folder)


if __name__ == "__main__":
    main()
