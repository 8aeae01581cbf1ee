"""Which net, and which learning rate? A search over both, which several processes can share and which can be resumed.

The space says what to vary, and where it goes: to the net, to the optimizer, to `fit`. Every trial trains a net on the
same rows and is scored on the same validation rows; bad ones are stopped early. The study is a file: start this program
twice and both processes work on it; stop it, and the next start resumes. The winner is evaluated once, on test rows
that no trial has seen. `--quick` runs fewer and shorter trials.
"""

import argparse
import tempfile
from pathlib import Path

from torch import Tensor, nn, optim

import lumbre as lb


class Net(nn.Module):
    """Scores of the three species from embeddings and measurements."""

    def __init__(self, d_in: int, d_hidden: int, n_layer: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(n_layer):
            layers += [nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Dropout(dropout)]
            d_in = d_hidden
        self.layers = nn.Sequential(*layers, nn.Linear(d_in, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (rows, 3) for measurements (rows, d_in)."""
        return self.layers(x)


def main() -> None:
    """Search, print the results, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="twelve short trials: seconds")
    parser.add_argument("--study", help="the study's file; a temporary one where not given")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    given = parser.parse_args()

    penguins = lb.datasets.penguins(drop_missing=True)
    measures = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    data = lb.data.from_frame(penguins, target="species", features=measures)
    train, test = lb.split(data, 0.8, 0.2, stratify="species", seed=1)

    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
    recipe = recipe.set_hparams(d_in=len(measures))
    space = {
        "hparams": {"d_hidden": lb.LogRange(4, 128), "n_layer": [1, 2, 3], "dropout": (0.0, 0.5)},
        "opt_hparams": {"lr": lb.LogRange(1e-4, 1e-1)},
        "fit": {"batch_size": [16, 32, 64]},
    }
    with tempfile.TemporaryDirectory() as folder:
        tuned = lb.tune(
            recipe,
            space,
            train,
            trials=12 if given.quick else 60,
            epochs=5 if given.quick else 30,
            valid_data=0.25,
            study=given.study or Path(folder) / "tune.journal",
            workers=given.workers,
        )
        print(tuned)
        print(tuned.frame().groupby("state")[["epochs", "seconds"]].sum())
        fitted = tuned.best.fit(train, **tuned.best_options, verbose=False)
    print(fitted.evaluate(test))


if __name__ == "__main__":
    main()
