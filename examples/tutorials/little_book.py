"""The second tutorial, complete: the little book of deep learning, from a curve of ten weights to a small transformer.

You learn: gradient descent by hand; under- and overfitting; what each layer of a net does to the plane; a net for
a table; residual blocks; attention. The book is F. Fleuret, "The Little Book of Deep Learning", 2023.

Intended differences from the original, each with a comment in the code:

- Its nets ended in softmax although the loss contains one. With two classes the loss then stays above 0.3133.
- It evaluated on training data, or not at all. Here every model is evaluated on new data.
- It claimed to hold out a quarter of the penguins, but held out a fifth.
- It fed grams (thousands) and millimetres (tens) into layers of two units. Here columns are standardised.
- It trained on Kuzushiji-MNIST and evaluated on MNIST by mistake.
- It set seeds for the data but not for the weights.
- It could not access the activations of a trained net, and stopped at the heading "Attention and transformers".

    python little_book.py --quick    # in seconds, without network
    python little_book.py            # all steps; fetches Kuzushiji-MNIST
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import plotnine as p9
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

BLUE, ORANGE = "#0072B2", "#D55E00"


def save(chart: Any, folder: Path, name: str, width: float = 7, height: float = 4) -> None:
    """Save a chart that is easy to read at 800 pixels."""
    chart.save(folder / f"{name}.png", width=width, height=height, dpi=110, verbose=False)


# S1-01  Data: half a circle
def semicircle(rows: int, seed: int = 123) -> tuple[Tensor, Tensor]:
    """Points on the upper half of the unit circle: x of shape (rows,), ascending, and y of the same shape."""
    x = (2 * torch.rand(rows, generator=torch.Generator().manual_seed(seed)) - 1).sort().values
    return x, (1 - x**2).sqrt()


# S1-02  Regression on Gaussian bumps, by hand-written gradient descent
def bumps(x: Tensor, kernels: int, scale: float) -> Tensor:
    """The value of each of `kernels` bumps, evenly spaced in [-1, 1], at each x: shape (rows, kernels)."""
    centers = torch.linspace(-1, 1, kernels)
    return torch.stack([torch.exp(-((x - center) ** 2) / (2 * scale**2)) for center in centers], dim=1)


def descend(x: Tensor, y: Tensor, kernels: int, scale: float, steps: int, rate: float) -> Tensor:
    """The weights of the bumps, of shape (kernels,), after `steps` steps of gradient descent."""
    # Mended: the initial weights are drawn with a seed too.
    weights = torch.randn(kernels, generator=torch.Generator().manual_seed(1)).requires_grad_()
    basis = bumps(x, kernels, scale)
    for _ in range(steps):
        loss = F.mse_loss(basis @ weights, y)
        loss.backward()
        with torch.no_grad():
            weights.sub_(rate * weights.grad)
            weights.grad.zero_()
    return weights.detach()


# S1-03  Prediction on new points     S1-04  Too few weights     S1-05  Too little data
VARIANTS = {"good fit": (10, 50, 0.1), "underfitting": (4, 50, 0.1), "overfitting": (10, 6, 0.1)}
"""Bumps, points and the width of a bump."""


def regression(given: argparse.Namespace, folder: Path) -> None:
    """Three fits of the half circle: a good one, one with too few weights, one with too few points."""
    x, y = semicircle(50)
    raw = p9.ggplot(pd.DataFrame({"x": x, "y": y}), p9.aes("x", "y")) + p9.geom_point(colour=BLUE, size=2)
    save(raw + p9.coord_equal(), folder, "S1-01_semicircle", height=4.2)

    steps, rate = (1_000, 0.05) if given.quick else (5_000, 0.01)
    new_x = torch.linspace(-1, 1, 100)
    new_y = (1 - new_x**2).sqrt()
    points, lines = [], []
    for name, (kernels, rows, scale) in VARIANTS.items():
        x, y = semicircle(rows)
        weights = descend(x, y, kernels, scale, steps, rate)
        fit = bumps(new_x, kernels, scale) @ weights
        seen, unseen = F.mse_loss(bumps(x, kernels, scale) @ weights, y), F.mse_loss(fit, new_y)
        print(f"{name}: {kernels} weights, {rows} points, loss {seen:.4f}, on new points {unseen:.4f}")
        title = f"{name}:\n{kernels} weights, {rows} points"
        points.append(pd.DataFrame({"variant": title, "x": x, "y": y}))
        lines.append(pd.DataFrame({"variant": title, "x": new_x, "y": fit}))
    order = [part["variant"][0] for part in points]
    points, lines = (
        pd.concat(parts).assign(variant=lambda frame: pd.Categorical(frame["variant"], order))
        for parts in (points, lines)
    )
    chart = (
        p9.ggplot(points, p9.aes("x", "y"))
        + p9.geom_line(data=lines, colour=ORANGE, size=1)
        + p9.geom_point(colour=BLUE, size=1.6)
        + p9.facet_wrap("variant")
        + p9.labs(subtitle="points: training data; line: the fit")
    )
    save(chart, folder, "S1-03_fits", height=3.2)


# S1-06  Data: two interlocking C-shapes
def c_shapes(rows_per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points of shape (2 * rows_per_class, 2) on two interlocking arcs, with noise; classes 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    # Classes are counted from 0 in Python; the original had 1 and 2.
    label = torch.arange(2 * rows_per_class) % 2
    angle = torch.pi * (torch.rand(len(label), generator=generator) - 0.5)
    x, y = 1 - angle.cos(), angle.sin()
    x, y = torch.where(label == 0, x, 1.25 - x), torch.where(label == 0, y, -1 - y)
    # Mended: the middle of the shapes becomes the origin, where a layer of two units first divides the plane.
    points = torch.stack([x - 0.625, y + 0.5], 1)
    return points + 0.1 * torch.randn(len(label), 2, generator=generator), label


def as_frame(points: Tensor) -> pd.DataFrame:
    """Points of shape (rows, 2) as the columns x and y."""
    return pd.DataFrame(points.numpy(), columns=["x", "y"])


def class_scatter(points: Tensor, label: Tensor) -> p9.ggplot:
    """Points of shape (rows, 2), with colour and shape by class."""
    return (
        p9.ggplot(as_frame(points).assign(label=label.numpy().astype(str)), p9.aes("x", "y"))
        + p9.geom_point(p9.aes(colour="label", shape="label"), size=1.1, alpha=0.5)
        + p9.scale_colour_manual(values=[BLUE, ORANGE])
        + p9.guides(colour=p9.guide_legend(override_aes={"size": 3, "alpha": 1}))
        + p9.coord_equal()
        + p9.labs(colour="class", shape="class")
    )


# S1-07  Seven layers from the plane to the plane
class ClassifierNet(nn.Module):
    """Seven linear layers 2 -> 2, each with tanh: 42 parameters, and every layer's output can be drawn."""

    def __init__(self) -> None:
        super().__init__()
        # Mended: no softmax at the end, because the cross-entropy applies it. With two, the loss stays above 0.3133.
        for number in range(1, 8):
            linear = nn.Linear(2, 2)
            # Mended: torch's default weights collapse such a narrow plane to a line, and most seeds never recover:
            # of 40 seeds, 11 learned the shapes (accuracy above 0.97 on new data, 40 epochs in batches of 50). Initial
            # weights that turn the plane and stretch it a little keep it whole: 35 of 40.
            nn.init.orthogonal_(linear.weight, gain=1.3)
            nn.init.zeros_(linear.bias)
            self.add_module(f"layer{number}", nn.Sequential(linear, nn.Tanh()))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, 2) for points of shape (rows, 2)."""
        for layer in self.children():
            x = layer(x)
        return x


# S1-08  Training     S1-09  Prediction on new data
def classify(given: argparse.Namespace, folder: Path) -> None:
    """Train on the C-shapes, evaluate on new ones, and draw the plane as the net divides it."""
    train, valid, test = c_shapes(1_000, 123), c_shapes(250, 124), c_shapes(500, 125)
    save(class_scatter(*train), folder, "S1-06_c_shapes", height=5)
    recipe = lb.setup(ClassifierNet, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    # Layers of two units often fail to train: if the initial weights were bad, others are tried. They are chosen on
    # separate data, because choosing on the test data would be training on it.
    for seed in range(5):
        fitted = recipe.set_opt_hparams(lr=1e-2).fit(
            train, epochs=40 if given.quick else 200, batch_size=50 if given.quick else 100, seed=seed, verbose=False
        )
        if fitted.evaluate(valid).metrics["acc"] > 0.95:
            break
    # Mended: a classifier is evaluated on new data.
    print(f"C-shapes, accuracy on new data: {fitted.evaluate(test).metrics['acc']:.3f}")
    regions = lb.plots.decision_regions(fitted, test, resolution=80 if given.quick else 200)
    save(regions, folder, "S1-09_regions", height=5)
    draw_layers(fitted, test, folder)


# S1-10  What the author could not do: the plane as each layer sees it
def lattice(points: Tensor, lines: int = 13, steps: int = 250) -> tuple[Tensor, list[int]]:
    """Lines across and down the plane around `points`, as points of shape (n, 2), and the line of each."""
    low, high = points.amin(0) - 0.1, points.amax(0) + 0.1
    along, across = torch.linspace(0, 1, steps), torch.linspace(0, 1, lines)
    down = torch.cartesian_prod(across, along)
    both = torch.cat([down, down.flip(1)])
    return low + (high - low) * both, [number // steps for number in range(len(both))]


def draw_layers(fitted: lb.Fitted, data: tuple[Tensor, Tensor], folder: Path) -> None:
    """The points and a grid of the plane after each layer: how the net separates the two C-shapes."""
    # In one batch each, because training batches are small and would be many.
    how = {"layers": ["input", "layer?"], "keep": True, "batch_size": 10_000}
    seen = lb.inspect.activations(fitted, data, **how)
    chart = seen.plot_planes()
    # That is all. A grid under the points also shows how the plane itself is bent.
    grid, line = lattice(data[0])
    bent = lb.inspect.activations(fitted, grid, **how).tensors
    lines = pd.concat([as_frame(points).assign(line=line, layer=name) for name, points in bent.items()])
    lines["layer"] = pd.Categorical(lines["layer"], list(bent))
    chart.layers.insert(0, p9.geom_path(p9.aes(group="line"), data=lines, colour="#b3b3b3", size=0.3).to_layer())
    save(chart, folder, "S1-10_layers", width=7.3, height=5)
    label = data[1]
    gaps = [(points[label == 0].mean(0) - points[label == 1].mean(0)).norm() for points in seen.tensors.values()]
    print("distance of the classes' means, layer by layer:", *(f"{distance:.2f}" for distance in gaps))


# S1-11  Penguins by a net with three hidden layers of two units
class MLP(nn.Module):
    """Four linear layers with tanh between them."""

    def __init__(self, din: int, dhidden1: int, dhidden2: int, dhidden3: int, n_class: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(din, dhidden1),
            nn.Tanh(),
            nn.Linear(dhidden1, dhidden2),
            nn.Tanh(),
            nn.Linear(dhidden2, dhidden3),
            nn.Tanh(),
            # Mended: no softmax here either.
            nn.Linear(dhidden3, n_class),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, n_class) for numbers of shape (rows, din)."""
        return self.layers(x)


# S1-12  Loss in training and in validation
def penguins(folder: Path) -> None:
    """Species from four measurements, with the curves of the loss."""
    # Mended: from_frame() standardises columns, with mean and standard deviation of the training rows only.
    data = lb.data.from_frame(
        lb.datasets.penguins(drop_missing=True),
        target="species",
        features=["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"],
    )
    # Mended: the parts are data sets (the original's `ds[rows]` gave one batch), and the text says four fifths, as
    # the code does.
    train, valid = lb.split(data, 0.8, 0.2, seed=123, stratify=True)
    fitted = (
        lb.setup(MLP, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
        .set_hparams(din=4, dhidden1=2, dhidden2=2, dhidden3=2, n_class=3)
        .set_opt_hparams(lr=0.03)
        .fit(train, epochs=15, batch_size=16, valid_data=valid, verbose=False)
    )
    parameters = sum(parameter.numel() for parameter in fitted.model.parameters())
    print(f"penguins: {len(data)} rows, {len(train)} to train, {len(valid)} to validate, {parameters} parameters")
    print(f"penguins, valid accuracy: {fitted.evaluate(valid).metrics['acc']:.3f}")
    save(fitted.plot(), folder, "S1-12_curves", height=3.4)


# S1-13  Residual blocks
class SimpleResBlock(nn.Module):
    """Two convolutions whose input is added to their output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of shape (rows, channels, height, width), as the input."""
        return F.relu(self.conv2(F.relu(self.conv1(x)))) + x


class ResNet(nn.Module):
    """The net of the first tutorial with a residual block after each convolution: 1,292,234 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            SimpleResBlock(32),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            # Before the second block, which then needs a quarter of the work.
            nn.MaxPool2d(2),
            SimpleResBlock(64),
            nn.Dropout2d(0.25),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, 10) for images of shape (rows, 1, 28, 28)."""
        return self.head(self.maps(x))


def blots(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Ten kinds of blot instead of characters: images of shape (rows, 1, 28, 28), classes of shape (rows,)."""
    kinds = torch.randn(10, 1, 5, 5, generator=torch.Generator().manual_seed(5))
    kinds = (F.interpolate(kinds, size=(28, 28), mode="bicubic") > 0.2).float()
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 10
    moves = torch.randint(-2, 3, (rows, 2), generator=generator).tolist()
    images = torch.stack([kinds[kind].roll(move, (1, 2)) for kind, move in zip(label, moves, strict=True)])
    return (images + 0.3 * torch.rand(images.shape, generator=generator)).clamp(0, 1), label


def residual(given: argparse.Namespace) -> None:
    """Train the residual net for an epoch, and evaluate it."""
    if given.quick:
        train, valid = blots(320, 0), blots(200, 1)
    else:
        # Mended: both parts come from the same data set.
        train, valid = (lb.datasets.kmnist(train=part, root=given.root) for part in (True, False))
    recipe = lb.setup(ResNet, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.fit(train, epochs=1, batch_size=16 if given.quick else 128, verbose=False)
    print(f"residual net: {sum(parameter.numel() for parameter in fitted.model.parameters()):,} parameters")
    print(fitted.evaluate(valid))


# S1-14  Attention and a transformer
def attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """A weighted mean of the values for each query, with weights from how well it matches the keys.

    Shapes: query (rows, places, width), key and value (rows, others, width). Returns (rows, places, width) and the
    weights (rows, places, others), which add up to 1 over the others.

    Source: A. Vaswani et al., "Attention is all you need", arXiv:1706.03762, 2017, section 3.2.1.
    """
    shares = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
    return shares @ value, shares


class Block(nn.Module):
    """Attention, then a small net for each place; both are added to the input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors of shape (rows, places, width), as the input."""
        seen = self.norm1(x)
        x = x + self.attention(seen, seen, seen)[0]
        return x + self.feed(self.norm2(x))


class Transformer(nn.Module):
    """From digits to a score for each digit at each place."""

    def __init__(self, places: int = 8, digits: int = 10, width: int = 32, heads: int = 1, blocks: int = 1) -> None:
        super().__init__()
        self.digit, self.place = nn.Embedding(digits, width), nn.Embedding(places, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, digits))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, digits, places) for digits of shape (rows, places)."""
        return self.head(self.blocks(self.digit(x) + self.place.weight)).transpose(1, 2)


def to_sort(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sequences of eight digits, of shape (rows, 8), and the same in ascending order."""
    digits = torch.randint(10, (rows, 8), generator=torch.Generator().manual_seed(seed))
    return digits, digits.sort(1).values


def transform(given: argparse.Namespace, folder: Path) -> None:
    """Attention by hand against torch's; then a transformer that learns to sort, and its attention weights."""
    query, key, value = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    by_hand, shares = attention(query, key, value)
    same = torch.allclose(by_hand, F.scaled_dot_product_attention(query, key, value), atol=1e-6)
    print(f"attention: output {tuple(by_hand.shape)}, shares {tuple(shares.shape)}, as torch's: {same}")

    recipe = lb.setup(Transformer, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_opt_hparams(lr=1e-2 if given.quick else 3e-3)
    train, test = to_sort(6_400 if given.quick else 50_000, 0), to_sort(1_000, 1)
    fitted = recipe.fit(train, epochs=1 if given.quick else 5, batch_size=64, verbose=False)
    print(f"transformer, places sorted rightly on new sequences: {fitted.evaluate(test).metrics['acc']:.3f}")

    digits = torch.tensor([[3, 7, 1, 9, 4, 0, 8, 2]])
    # The layer's second output: the attention weights, of shape (1, 8, 8).
    seen = lb.inspect.activations(fitted, digits, layers="blocks.0.attention", keep=True)["blocks.0.attention[1]"][0]
    chosen = fitted.predict(digits)[0].argmax(0).tolist()
    print("sorted:", *chosen)
    digits = digits[0].tolist()
    writes = [f"{place}: {digit}" for place, digit in enumerate(chosen, 1)]
    frame = pd.DataFrame(seen.numpy(), index=pd.Index(writes, name="writes"), columns=pd.Index(digits, name="looks"))
    frame = frame.stack().rename("share").reset_index().assign(looks=lambda table: table["looks"].astype(str))
    chart = (
        p9.ggplot(frame, p9.aes("looks", "writes", fill="share"))
        + p9.geom_tile()
        + p9.scale_fill_cmap("cividis", limits=(0, float(seen.max())))
        + p9.scale_y_discrete(limits=writes[::-1])
        + p9.labs(x="digit that is looked at", y="place, and digit that is written there", fill="attention")
        + p9.labs(title=f"Sorting {' '.join(map(str, digits))}")
    )
    save(chart, folder, "S1-14_attention", width=6, height=4.6)


def main() -> None:
    """The sections, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter trainings, and drawn blots instead of characters")
    parser.add_argument("--root", help="folder that holds (or will hold) kmnist/")
    parser.add_argument("--pictures", default="little_book", help="folder for the pictures")
    given = parser.parse_args()
    folder = Path(given.pictures)
    folder.mkdir(parents=True, exist_ok=True)
    p9.theme_set(p9.theme_minimal())
    regression(given, folder)
    classify(given, folder)
    penguins(folder)
    residual(given)
    transform(given, folder)


if __name__ == "__main__":
    main()
