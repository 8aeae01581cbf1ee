"""`lumbre demo`: the whole way from data to a model, on the penguins."""

from pathlib import Path

import torch
from torch import Tensor, nn, optim

import lumbre as lb

FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


class Net(nn.Module):
    """A small classifier of `d_in` numbers."""

    def __init__(self, d_in: int, d_hidden: int, n_class: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, n_class))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of shape (rows, n_class) for measurements of shape (rows, d_in)."""
        return self.layers(x)


def run(out: Path) -> None:
    """Train, judge, draw, save, load, predict; the picture and the model go to the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    penguins = lb.datasets.penguins(drop_missing=True)
    train, test = lb.split(lb.data.from_frame(penguins, target="species", features=FEATURES), 0.8, 0.2)
    recipe = (
        lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
        .set_hparams(d_in=4, d_hidden=32, n_class=3)
        .set_opt_hparams(lr=1e-2)
    )
    print(
        f"{len(penguins)} penguins: {len(train)} to learn from (a fifth of them to validate on), {len(test)} to test.\n"
    )
    fitted = recipe.fit(train, epochs=15, valid_data=0.2)

    print("\nOn penguins it has never seen:")
    print(fitted.evaluate(test))

    picture, file = out / "penguins.png", out / "penguins.lumbre"
    try:
        fitted.plot().save(picture, dpi=150, verbose=False)
        print(f"\nLoss and accuracy by epoch: {picture}")
    except lb.MissingExtraError as error:
        print(f"\nNo picture. {error}")
    fitted.save(file)
    print(f"The model: {file}")

    again = lb.load(file, Net)
    assert torch.equal(again.predict(test), fitted.predict(test))
    rows = penguins.iloc[[0, 150, 300]]
    print("\nLoaded again, it says of three penguins:")
    for truth, guess in zip(rows["species"], again.predict_classes(rows), strict=True):
        print(f"  {guess:<10} (truth: {truth})")
