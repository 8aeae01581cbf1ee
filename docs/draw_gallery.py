"""Draw the pictures of the gallery page, light and dark, into docs/pictures/gallery.

Every public plot of `lumbre.plots` is drawn, from small nets on the penguins and on scikit-learn's
8 x 8 digits. Everything is seeded, needs no network, and takes about a minute on one core.

    python docs/draw_gallery.py                      # all
    python docs/draw_gallery.py confusion roc        # some
    python docs/draw_gallery.py --to folder --large  # as they are, to look at
"""

import argparse
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn, optim

import lumbre as lb

PICTURES = Path(__file__).parent / "pictures" / "gallery"
WIDTH, BYTES = 960, 40_000
MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


class Net(nn.Module):
    """Scores from measurements, through a layer of two units that can be drawn."""

    def __init__(self, d_in: int, n_out: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Linear(d_in, 24), nn.ReLU())
        self.plane = nn.Linear(24, 2)
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(2, n_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.plane(self.wide(x)))


class Digits(nn.Module):
    """Scores of ten digits from images of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)))


def classifier(module: Any, lr: float = 0.01, **hparams: Any) -> lb.Recipe:
    recipe = lb.setup(
        module,
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.AdamW,
        metrics=lb.metrics.Accuracy(),
    )
    return recipe.set_hparams(**hparams).set_opt_hparams(lr=lr)


@functools.cache
def penguins(features: tuple[str, ...] = tuple(MEASURES), target: str = "species"):
    """Training and test rows."""
    frame = lb.datasets.penguins(drop_missing=True)
    frame["body_mass_kg"] = frame["body_mass_g"] / 1000
    rows = lb.data.from_frame(frame, target=target, features=list(features))
    return lb.split(rows, 0.6, 0.4, seed=1)


@functools.cache
def species() -> tuple[lb.Fitted, Any, Any]:
    """A classifier of three species whose training was watched; 60 epochs."""
    train, test = penguins()
    watch = lb.inspect.Inspect(every=25, what=("activations", "updates"))
    recipe = classifier(Net, d_in=4, n_out=3)
    fitted = recipe.fit(
        train, epochs=60, valid_data=0.25, callbacks=watch, verbose=False
    )
    return fitted, test, watch


@functools.cache
def islands() -> tuple[lb.Fitted, Any]:
    """Where a penguin lives: not to be had from its measures alone."""
    train, test = penguins(target="island")
    fitted = classifier(Net, d_in=4, n_out=3).fit(train, epochs=30, verbose=False)
    return fitted, test


@functools.cache
def on_a_plane() -> tuple[lb.Fitted, Any]:
    train, test = penguins(("bill_length_mm", "bill_depth_mm"))
    fitted = classifier(Net, d_in=2, n_out=3).fit(train, epochs=60, verbose=False)
    return fitted, test


@functools.cache
def masses() -> tuple[lb.Fitted, Any]:
    """A regression with intervals."""
    train, test = penguins(
        ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "species", "sex"),
        "body_mass_kg",
    )
    rows, held = lb.split(train, 0.7, 0.3, seed=1)
    net = nn.Sequential(
        nn.Linear(rows.width, 24), nn.Tanh(), nn.Linear(24, 1), nn.Flatten(0)
    )
    recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.AdamW)
    fitted = recipe.set_opt_hparams(lr=0.02).fit(rows, epochs=60, verbose=False)
    fitted.conformal(held, 0.9)
    return fitted, test


@functools.cache
def digits() -> tuple[lb.Fitted, Any]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    rows = torch.utils.data.TensorDataset(images, torch.tensor(found.target))
    train, test = lb.split(rows, 0.5, 0.5, seed=1)
    return classifier(Digits, lr=0.003).fit(train, epochs=4, verbose=False), test


@functools.cache
def tuned() -> Any:
    train, _ = penguins()
    space = {
        "hparams": {"d_hidden": lb.LogRange(4, 64), "n_layer": [1, 2]},
        "opt_hparams": {"lr": lb.LogRange(1e-3, 1e-1)},
    }

    def net(d_hidden: int, n_layer: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Linear(4, d_hidden), nn.ReLU()]
        for _ in range(n_layer - 1):
            layers += [nn.Linear(d_hidden, d_hidden), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(d_hidden, 3))

    return lb.tune(
        classifier(net),
        space,
        train,
        trials=16,
        epochs=4,
        valid_data=0.25,
        seed=1,
        verbose=False,
    )


@functools.cache
def kept(what: str) -> Any:
    """Activations with their tensors."""
    if what == "digits":
        fitted, test = digits()
        return lb.inspect.activations(fitted, test, keep=True, max_rows=8)
    fitted, test, _ = species()
    return lb.inspect.activations(fitted, test, keep=True)


@functools.cache
def rates() -> Any:
    train, _ = penguins()
    return classifier(Net, d_in=4, n_out=3).lr_finder(train, batch_size=16)


@functools.cache
def sizes() -> Any:
    x = torch.randn(4096, 4, generator=torch.Generator().manual_seed(0))
    recipe = classifier(Net, d_in=4, n_out=3)
    return recipe.batch_size_finder(
        (x, (x[:, 0] > 0).long()), sizes=[16, 32, 64, 128, 256, 512], seconds=0.2
    )


@functools.cache
def explained(how: str) -> Any:
    fitted, test, _ = species()
    if how == "importance":
        return fitted.importance(test)
    if how == "slopes":
        return fitted.effects(test)
    if how == "effects":
        return fitted.effects(test, "flipper_length_mm")
    if how == "surface":
        return fitted.effects(test, "flipper_length_mm", "bill_length_mm")
    if how == "baselines":
        return fitted.baselines(penguins()[0], test)
    if how == "pixels":
        fitted, test = digits()
        return fitted.attribute(torch.stack([test[row][0] for row in range(4)]))
    return fitted.attribute(test, baseline=penguins()[0])


def schedule() -> Any:
    warm = lb.schedules.one_cycle()
    return classifier(Net, d_in=4, n_out=3).plot_lr(
        penguins()[0], 10, callbacks=lb.callbacks.LearningRate(warm)
    )


DRAWN: dict[str, Callable[[], Any]] = {
    "plot_history": lambda: species()[0].plot(),
    "plot_rates": schedule,
    "plot_learning_rates": lambda: rates().plot(),
    "plot_batch_sizes": lambda: sizes().plot(),
    "plot_trials": lambda: tuned().plot(),
    "plot_trial_parameter": lambda: tuned().plot("lr"),
    "confusion": lambda: lb.plots.confusion(*digits()),
    "roc": lambda: lb.plots.roc(*islands()),
    "precision_recall": lambda: lb.plots.precision_recall(*islands()),
    "calibration": lambda: lb.plots.calibration(*islands()),
    "decision_regions": lambda: lb.plots.decision_regions(*on_a_plane()),
    "predicted_vs_true": lambda: lb.plots.predicted_vs_true(*masses()),
    "residuals": lambda: lb.plots.residuals(*masses()),
    "predictions_grid": lambda: lb.plots.predictions_grid(*digits(), 16),
    "most_wrong": lambda: lb.plots.most_wrong(*digits(), 8),
    "plot_importance": lambda: explained("importance").plot(),
    "plot_slopes": lambda: explained("slopes").plot(),
    "plot_effects": lambda: explained("effects").plot(),
    "plot_effect_surface": lambda: explained("surface").plot(),
    "plot_attribution": lambda: explained("attribution").plot(0),
    "plot_attribution_maps": lambda: explained("pixels").plot(),
    "plot_baselines": lambda: explained("baselines").plot(),
    "layer_histograms": lambda: kept("digits").plot(),
    "layer_planes": lambda: kept("penguins").plot_planes(),
    "feature_maps": lambda: kept("digits").plot_maps(1),
    "training_ridges": lambda: species()[2].plot(),
    "update_ratios": lambda: species()[2].plot("updates"),
    "weight_distributions": lambda: lb.plots.weight_distributions(digits()[0]),
}
"""Each public plot by its name."""


def png(chart: Any) -> bytes:
    """A chart or a grid of images as it is saved."""
    file = io.BytesIO()
    if isinstance(chart, lb.plots.PictureGrid):
        chart.figure.savefig(file, format="png")
    else:
        chart.save(file, format="png", verbose=False)
    return file.getvalue()


def shrink(data: bytes, target: Path) -> None:
    """As wide, up to 960 pixels, and in as many colours, 64 at least, as keep its file small."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    for width in (WIDTH, 800, 640, 480, 320):
        if image.width > width:
            size = width, round(image.height * width / image.width)
            image = image.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 128, 64):
            few = image.quantize(colours, dither=Image.Dither.NONE)
            few.save(target, optimize=True)
            if target.stat().st_size <= BYTES:
                return


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of plots; all where not given")
    parser.add_argument("--to", type=Path, default=PICTURES, help="another folder")
    parser.add_argument("--large", action="store_true", help="as they are saved")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    for name in given.names or DRAWN:
        for look in ("light", "dark"):
            with lb.plots.theme(look):
                data = png(DRAWN[name]())
            target = given.to / f"{name}_{look}.png"
            if given.large:
                target.write_bytes(data)
            else:
                shrink(data, target)
            print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
