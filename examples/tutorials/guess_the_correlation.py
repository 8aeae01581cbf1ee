"""The fourth tutorial, complete: a net sees scatterplots and predicts the correlation of x and y.

You learn: how pictures become a data set and batches, how a convolutional net ends in one number instead of classes,
why shapes of prediction and target must agree, and how a regression is evaluated on new plots.

Intended differences from the original, each with a comment in the code:

- It validated and evaluated on the test plots; the validation plots were never used.
- Its text spoke of two convolutions and its code had three. There are three.
- A prediction of shape (64, 1) with a target of shape (64) silently trains on all 64 x 64 pairs. The original had to
  know that; here `fit()` refuses it, and the program shows the error.
- Its crop counted from one and lost a pixel at zero: the same four numbers in Python give 131 x 130 pixels.
- Paper is 0 and ink 1 here; the original had the opposite. So a convolution's padding equals an empty pixel.
- It downloaded its plots. Here similar ones are drawn; `--downloaded` uses the original ones.

    python guess_the_correlation.py --quick    # a few hundred plots and a narrow net, in seconds
    python guess_the_correlation.py            # 10,000 plots, ten epochs; --precision bfloat16 halves the time
"""

import argparse
from pathlib import Path

import pandas as pd
import plotnine as p9
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lumbre as lb
from lumbre import vision

BATCH = 64
SIZES = (10_000, 5_000, 5_000)
"""Plots to train on, to validate on and to test on."""


# S3-01  Is torch installed?
def smoke_test() -> None:
    """The smallest tensor there is."""
    print("a tensor:", torch.tensor([1.0]))


# S3-05  The plot without its axes
def plot_alone(images: Tensor) -> Tensor:
    """Bytes of shape (rows, 1, 150, 150) as floats of shape (rows, 1, 130, 130), paper 0 and ink 1.

    Mended: the original asks for top 0, left 21, height 131 and width 130. In R, where rows count from one and
    row 0 does not exist, that is this crop.
    """
    return 1 - vision.crop(images, top=0, left=20, height=130, width=130).float() / 255


# S3-02  The data
def plots(sizes: tuple[int, ...], given: argparse.Namespace) -> list[lb.data.InMemoryDataset]:
    """One data set after the other, so that no plot is in two of them."""
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [
        lb.datasets.guess_the_correlation(
            indexes=range(end - size, end), synthetic=not given.downloaded, root=given.root, transform=plot_alone
        )
        for size, end in zip(sizes, ends, strict=True)
    ]


# S3-03  How many there are     S3-04  One of them
def look_at(train: lb.data.InMemoryDataset, valid: lb.data.InMemoryDataset, test: lb.data.InMemoryDataset) -> None:
    """Lengths, and one plot with its correlation."""
    print("plots:", len(train), len(valid), len(test))
    image, correlation = train[0]
    print("one plot:", tuple(image.shape), image.dtype, f"correlation {correlation:.5f}")


# S3-06  Batches     S3-07  The first batch
def batches(train: lb.data.InMemoryDataset) -> tuple[Tensor, Tensor]:
    """The number of batches in the original data sets, and one batch."""
    # The length of a loader depends only on the number of rows: row numbers are enough.
    print("batches of 64:", *(len(DataLoader(range(size), batch_size=BATCH)) for size in SIZES))
    images, correlations = next(iter(DataLoader(train, batch_size=BATCH)))
    print("first batch:", tuple(images.shape), tuple(correlations.shape))
    return images, correlations


# S3-08  Sixty-four plots, and their correlations
def draw_plots(images: Tensor, correlations: Tensor, folder: Path) -> None:
    """A grid of eight times eight plots; the correlations are printed in the same places."""
    # Grey between the plots, and black ink on white paper again.
    grid = vision.image_grid(1 - images, columns=8, padding=3, fill=0.6)
    vision.to_pillow(grid).save(folder / "S3-08_plots.png")
    for row in correlations.reshape(8, 8).tolist():
        print("correlations:", *(f"{correlation:5.2f}" for correlation in row))


# S3-09  The net
class CorrelationNet(nn.Module):
    """Three convolutions and two linear layers: 3,304,193 parameters at its full width."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3)
        self.conv2 = nn.Conv2d(width, 2 * width, 3)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3)
        self.fc1 = nn.Linear(14 * 14 * 4 * width, 128)
        self.fc2 = nn.Linear(128, 1)
        # Channels last: the same numbers, and convolutions on a CPU take half the time.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scores(self, x: Tensor) -> Tensor:
        """Shape (rows, 1), as the last layer gives it."""
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = F.avg_pool2d(F.relu(convolution(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))

    def forward(self, x: Tensor) -> Tensor:
        """Correlations of shape (rows,) for plots of shape (rows, 1, 130, 130)."""
        # Mended: the target is (rows,), so the prediction is. Only dimension 1 is removed: squeeze() alone would
        # remove the first one too if a batch holds a single plot.
        return self.scores(x).squeeze(1)


def untrained(images: Tensor) -> None:
    """The untrained net predicts nearly the same for every plot."""
    torch.manual_seed(0)
    net = CorrelationNet()
    print(f"parameters: {sum(parameter.numel() for parameter in net.parameters()):,}")
    with torch.no_grad():
        scores, said = net.scores(images), net(images)
    print("untrained net:", tuple(scores.shape), "squeezed", tuple(said.shape))
    print(f"untrained net says {said.mean():.3f} on average, with a spread of {said.std():.3f}")


# S3-10  What a step does
def four_steps(images: Tensor, correlations: Tensor) -> None:
    """The loop in four lines, for one batch: predict, loss, gradients, update. From here on `fit()` does it."""
    torch.manual_seed(0)
    net = CorrelationNet(width=4)
    optimizer = optim.Adam(net.parameters())
    losses = list[float]()
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.mse_loss(net(images), correlations)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("five steps by hand:", " ".join(f"{loss:.4f}" for loss in losses))


class Unsqueezed(CorrelationNet):
    """The net whose prediction has one dimension more than the target."""

    def forward(self, x: Tensor) -> Tensor:
        """Correlations of shape (rows, 1)."""
        return self.scores(x)


def recipe(net: type[nn.Module], width: int) -> lb.Recipe:
    """Squared error and Adam, as in the original; R2 is the share of the variance that is explained."""
    return lb.setup(net, loss=nn.MSELoss(), optimizer=optim.Adam, metrics=lb.metrics.R2()).set_hparams(width=width)


# S3-11  Training
def train_net(train: lb.data.InMemoryDataset, valid: lb.data.InMemoryDataset, given: argparse.Namespace) -> lb.Fitted:
    """Ten epochs with Adam, after showing the mistake that the original had to avoid by hand."""
    width = 4 if given.quick else 32
    print("a net without squeeze(1):", recipe(Unsqueezed, width).check(train, batch_size=BATCH))
    return recipe(CorrelationNet, width).fit(
        train,
        # Mended: validation uses its own plots, and the test plots are seen once, at the end.
        valid_data=valid,
        epochs=given.epochs or (5 if given.quick else 10),
        batch_size=16 if given.quick else BATCH,
        precision=given.precision,
        seed=given.seed,
    )


# S3-12  Target and prediction
def judge(fitted: lb.Fitted, test: lb.data.InMemoryDataset, folder: Path) -> None:
    """Loss and R2 on new plots, and predictions against targets."""
    print(fitted.evaluate(test))
    frame = pd.DataFrame({"truth": test.target.numpy(), "guess": fitted.predict(test).numpy()})
    chart = (
        p9.ggplot(frame, p9.aes("truth", "guess"))
        + p9.geom_abline(intercept=0, slope=1, colour="#D55E00", linetype="dashed", size=0.8)
        + p9.geom_point(colour="#0072B2", alpha=0.5 if len(frame) < 1000 else 0.15, size=1.2, stroke=0)
        + p9.coord_equal(xlim=(-1, 1), ylim=(min(-1, frame["guess"].min()), max(1, frame["guess"].max())))
        + p9.labs(x="true correlation", y="guessed correlation", subtitle=f"{len(frame):,} plots never seen")
        + p9.theme_minimal()
        + p9.theme(figure_size=(5, 5))
    )
    chart.save(folder / "S3-12_truth_and_guess.png", dpi=150, verbose=False)
    fitted.plot().save(folder / "S3-11_curves.png", dpi=110, verbose=False)


def main() -> None:
    """The sections, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few hundred plots and a narrow net, in seconds")
    parser.add_argument("--downloaded", action="store_true", help="the original plots instead of drawn ones")
    parser.add_argument("--root", help="folder that holds (or will hold) guess_the_correlation/")
    parser.add_argument("--epochs", type=int, help="10 where not given, 5 with --quick")
    parser.add_argument("--precision", default="float32", help="bfloat16 is faster where the processor has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", default="guess_the_correlation", help="folder for the pictures")
    given = parser.parse_args()
    folder = Path(given.pictures)
    folder.mkdir(parents=True, exist_ok=True)

    smoke_test()
    train, valid, test = plots((340, 60, 120) if given.quick else SIZES, given)
    look_at(train, valid, test)
    images, correlations = batches(train)
    draw_plots(images, correlations, folder)
    untrained(images)
    four_steps(images, correlations)
    judge(train_net(train, valid, given), test, folder)


if __name__ == "__main__":
    main()
