"""Classify dogs and cats with a net that was trained on other images: a frozen body and a new head.

`lb.freeze` keeps the body as it is; `lb.summary` shows what is trained. The original replaced AlexNet's classifier by
three layers; here there are two, on the maximum of each filter. `--body` takes AlexNet's weights: a lumbre archive, or
torchvision's .pth. `--quick` draws animals, and shapes on which a narrower body is trained first.
"""

import argparse

import torch
from torch import Tensor, nn, optim

import lumbre as lb


class AlexNet(nn.Module):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, with a small classifier."""

    def __init__(self, n_class: int = 1, width: int = 64) -> None:
        super().__init__()
        a, b, c, d = width, 3 * width, 6 * width, 4 * width
        stem = nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)
        middle = nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(b, c, 3, padding=1), nn.ReLU()
        top = nn.Conv2d(c, d, 3, padding=1), nn.ReLU(), nn.Conv2d(d, d, 3, padding=1), nn.ReLU()
        self.features = nn.Sequential(*stem, *middle, *top)
        head = nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, n_class)
        self.classifier = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), *head)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (rows, n_class), or (rows,) for one class, of images (rows, 3, height, width) in [0, 1]."""
        x = lb.vision.normalize(x, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        return self.classifier(self.features(x)).squeeze(1)


def with_new_head(path: str) -> AlexNet:
    """A new AlexNet with frozen features from a lumbre archive or torchvision's file."""
    theirs = torch.load(path, weights_only=True) if path.endswith(".pth") else lb.load(path, AlexNet).model.state_dict()
    net = AlexNet(width=len(theirs["features.0.bias"]))
    net.load_state_dict({name: theirs[name] for name in theirs if name.startswith("features")}, strict=False)
    return lb.freeze(net, "features")


def drawn(rows: int, seed: int, animals: bool) -> tuple[Tensor, Tensor]:
    """Cats and dogs, or shapes, of any colour: images (rows, 3, 64, 64), classes (rows,)."""
    generator = torch.Generator().manual_seed(seed)
    ink, paper, place = torch.rand(3, rows, 3, 1, 1, generator=generator)
    u, v = ((torch.arange(64) - 28 - 8 * at) / (18 + 6 * place[:, 2]) for at in (place[:, 0], place[:, 1]))
    v, side = v.mT, u.abs()
    disc, square, diamond = u**2 + v**2 < 0.7, torch.maximum(side, v.abs()) < 0.8, side + v.abs() < 1.1
    cross, peak = square & (torch.minimum(side, v.abs()) < 0.3), square & (side < v / 2 + 0.4)
    shapes = [disc, square, diamond, cross, peak, disc & (u**2 + v**2 > 0.3)]
    cat = disc | ((v < 0) & ((side - 0.5).abs() < (v + 1.2) / 2.5))  # a head with pointed ears
    dog = disc | (((side - 0.8) / 0.25) ** 2 + ((v - 0.1) / 0.6) ** 2 < 1)  # a head with hanging ears
    masks = torch.stack([cat, dog] if animals else shapes)
    target = torch.arange(rows) % len(masks)
    return torch.where(masks[target, torch.arange(rows)].unsqueeze(1), 0.6 + 0.4 * ink, 0.4 * paper), target


def main() -> None:
    """Load a body, add a head, train the head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="drawn animals: seconds")
    parser.add_argument("--body", default="body.lumbre", help="weights of AlexNet, .lumbre or .pth")
    parser.add_argument("--root", help="folder that holds (or will hold) dogs_vs_cats/")
    given = parser.parse_args()
    if given.quick:
        recipe = lb.setup(AlexNet, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.003)
        recipe.set_hparams(n_class=6, width=8).fit(drawn(480, 0, False), epochs=6, verbose=False).save(given.body)
        data, options = drawn(120, 1, True), {"epochs": 20, "batch_size": 10, "valid_data": drawn(200, 2, True)}
    else:
        data, options = lb.datasets.dogs_vs_cats(root=given.root), {"epochs": 3, "num_workers": 4, "valid_data": 0.2}
    bce, metric = nn.BCEWithLogitsLoss(), lb.metrics.BinaryAccuracyWithLogits()
    recipe = lb.setup(with_new_head, loss=lambda pred, y: bce(pred, y.float()), optimizer=optim.Adam, metrics=metric)
    recipe = recipe.set_hparams(path=given.body).set_opt_hparams(lr=0.01 if given.quick else 0.001)
    print(lb.summary(recipe.fit(data, **options), torch.zeros(1, 3, 64, 64)))


if __name__ == "__main__":
    main()
