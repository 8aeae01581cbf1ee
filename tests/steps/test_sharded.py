"""Which parts of a module are gathered by themselves, and what cannot be shared out. Runs are in tests/distributed."""

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from lumbre.processes._sharded import blocks, check_optimizers


def named(model: nn.Module) -> list[str]:
    names = {id(part): name for name, part in model.named_modules()}
    return [names[id(block)] for block in blocks(model)]


class Reader(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.words = nn.Embedding(50, 16)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 50, bias=False))
        if tied:
            self.head[1].weight = self.words.weight


def test_items_of_lists_are_blocks_but_not_what_is_small_or_shared() -> None:
    layers = ["encoder.layers.0", "encoder.layers.1", "encoder.layers.2"]
    assert named(Reader(tied=False)) == [*layers, "head.1"]
    assert named(Reader(tied=True)) == layers


def test_an_item_with_more_than_half_is_looked_into() -> None:
    body = Reader(tied=False)
    assert named(nn.Sequential(body, nn.Linear(50, 4))) == [
        "0.encoder.layers.0", "0.encoder.layers.1", "0.encoder.layers.2", "0.head.1", "0", "1",
    ]  # fmt: skip


def test_a_module_without_lists_is_one_block() -> None:
    assert named(nn.Linear(3, 3)) == []


@pytest.mark.parametrize("kind", [optim.Rprop, optim.Adafactor, optim.LBFGS])
def test_optimizers_that_look_at_whole_tensors_are_refused(kind: type[optim.Optimizer]) -> None:
    with pytest.raises(lb.OptionError, match=f'strategy="fsdp" with {kind.__name__}'):
        check_optimizers({"optimizer": kind(nn.Linear(2, 2).parameters())})  # type: ignore[call-arg]


def test_one_process_does_the_same_with_any_strategy() -> None:
    x = torch.linspace(-1, 1, 32)[:, None]
    recipe = lb.setup(lambda: nn.Linear(1, 1), loss=nn.MSELoss(), optimizer=optim.Adam)
    runs = [recipe.fit((x, 3 * x), epochs=2, verbose=False, strategy=one) for one in (None, "ddp", "fsdp")]
    assert all(torch.equal(run.model.weight, runs[0].model.weight) for run in runs)
    with pytest.raises(lb.OptionError, match="Did you mean 'fsdp'"):
        recipe.fit((x, x), strategy="fsdp2")
