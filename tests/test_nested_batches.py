"""Batches whose rows have lengths of their own, as one nested tensor of torch."""

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

import lumbre as lb


class Means(nn.Module):
    """Scores of each row from the mean over its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.relu(self.first(x))
        return self.last(torch.stack([one.mean(0) for one in steps.unbind()]))


def joined(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.nested.nested_tensor([x for x, _ in rows], layout=torch.jagged), torch.stack([y for _, y in rows])


def test_jagged_batches_are_trained_on_and_predicted() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [(torch.randn(2 + at % 4, 5, generator=generator), torch.tensor(at % 3)) for at in range(21)]
    loader = DataLoader(rows, batch_size=8, collate_fn=joined)  # pyright: ignore[reportArgumentType]
    recipe = lb.setup(Means, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.05)
    fitted = recipe.fit(loader, epochs=2, verbose=False)
    x, y = joined(rows)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(fitted.model(x), y).item()
    assert fitted.evaluate(loader).metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert fitted.predict(loader).shape == (21, 3)
