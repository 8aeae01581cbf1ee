"""Mixup and cutmix where processes share batches, some of which have no row for one of them."""

import torch
from torch import nn, optim

import lumbre as lb
from lumbre.callbacks import Accumulate, CutMix, Mixup

KINDS = {"mixup": Mixup, "cutmix": CutMix, "named": Mixup, "half": lambda: Mixup(p=0.5), "groups": Mixup}


class Named(nn.Linear):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return super().forward(first + second)


def weights(kind: str) -> list[float]:
    """Trains on three batches; of the last one only one process has a row."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(9, 1, 4, 4, generator=generator), torch.arange(9) % 3
    pictures = kind == "cutmix"
    data = (x if pictures else x.flatten(1), y) if kind != "named" else ({"first": x[:, 0, 0], "second": x[:, 0, 1]}, y)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) if kind != "named" else Named(4, 3)
    with torch.no_grad():
        for one in net.parameters():
            one.zero_()
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), optimizer=optim.SGD)
    callbacks: list[lb.Callback] = [KINDS[kind](), *([Accumulate(2)] if kind == "groups" else [])]
    fitted = recipe.set_opt_hparams(lr=0.1).fit(
        data, epochs=2, batch_size=4, device="cpu", callbacks=callbacks, preflight=False, verbose=False
    )
    return nn.utils.parameters_to_vector(fitted.model.parameters()).tolist()


def weights_of_all() -> dict[str, list[float]]:
    return {kind: weights(kind) for kind in KINDS}


def test_a_process_without_rows_takes_part() -> None:
    for kind, found in lb.launch(weights_of_all, devices=2).items():
        assert torch.tensor(found).isfinite().all(), kind
        assert torch.tensor(found).abs().sum() > 0, kind
