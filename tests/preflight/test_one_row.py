"""What needs several rows in training, and a batch, or a process's part of one, that has a single row."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from lumbre.callbacks import GradualUnfreezing, On


class Standardized(nn.Module):
    """Standardizes over the rows by hand: the spread of one row is NaN."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(0)
        return centred / (centred.square().sum(0) / (len(x) - 1)).sqrt() if self.training else x


class Frozen(nn.Module):
    """Its normalization stays in evaluation mode, whatever mode the module is put into."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)
    )


def pictured(norm: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def by_hand() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), Standardized(), nn.ReLU(), nn.Linear(8, 3))


def rows(count: int, *shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *shape, generator=generator), torch.arange(count) % 3


def recipe(module: Any) -> lb.Recipe:
    return lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)


def found(module: Any, data: Any, **options: Any) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in recipe(module).check(data, **options) if one.code == "LB008"]


ERROR, WARNING = [("LB008", "error")], [("LB008", "warning")]


@pytest.mark.parametrize(
    ("module", "shape"), [(normed, (4,)), (pooled, (1, 8, 8)), (by_hand, (4,))], ids=["a table", "pooled", "by hand"]
)
def test_what_fails_for_certain_is_an_error_before_the_first_epoch(
    module: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    begun: list[int] = []
    note = On(epoch_begin=lambda ctx: begun.append(ctx.epoch))
    data = rows(33, *shape)
    with pytest.raises(lb.PreflightError, match="LB008") as raised:
        recipe(module).fit(data, epochs=2, batch_size=16, callbacks=note, verbose=False)
    assert begun == []
    for wanted in ("drop_last=True", "another batch_size"):
        assert wanted in raised.value.fix
    with pytest.raises((ValueError, lb.NonFiniteLossError)):  # the finding is right
        recipe(module).fit(data, epochs=2, batch_size=16, preflight=False, verbose=False)
    for mended in ({"batch_size": 16, "drop_last": True}, {"batch_size": 11}):
        assert found(module, data, **mended) == []
        # What standardizes by hand in training alone is told of that, too.
        recipe(module).fit(data, epochs=1, **mended, ignore=("LB085",), verbose=False)


def test_batches_of_one_row_throughout() -> None:
    with pytest.raises(lb.PreflightError, match="more than 1 value per channel") as raised:
        recipe(normed).fit(rows(8, 4), epochs=1, batch_size=1, verbose=False)
    assert raised.value.fix.splitlines()[0] == "a larger batch_size"


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)],
    ids=lambda norm: f"{type(norm).__name__}",
)
def test_pictures_have_several_places(norm: nn.Module) -> None:
    expected = WARNING if isinstance(norm, nn.BatchNorm2d) else []
    assert found(pictured(norm), rows(17, 1, 8, 8), batch_size=16) == expected
    ignored = {"ignore": ("LB008",), "batch_size": 16, "epochs": 2, "verbose": False}
    recipe(pictured(norm)).fit(rows(17, 1, 8, 8), **ignored)


@pytest.mark.parametrize(
    "module",
    [Frozen, lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))],
    ids=["frozen", "layer"],
)
def test_what_looks_at_no_other_row_is_silent(module: Any) -> None:
    assert found(module, rows(17, 4), batch_size=16) == []
    recipe(module).fit(rows(17, 4), epochs=2, batch_size=16, verbose=False)


def test_what_a_callback_prevents_is_no_error() -> None:
    def hold_still(ctx: lb.Context) -> None:
        ctx.model[1].eval()

    for callback in (On(train_begin=hold_still), GradualUnfreezing({"3": 0, "1": 5, "0": 5})):
        options = {"batch_size": 16, "callbacks": callback, "epochs": 2}
        assert found(normed, rows(17, 4), **options) == WARNING
        recipe(normed).fit(rows(17, 4), **options, ignore=("LB008",), verbose=False)


def test_a_module_with_a_step_of_its_own_is_warned() -> None:
    class Own(nn.Sequential):
        def step(self, ctx: lb.Context) -> None:
            pass

    assert found(lambda: Own(*normed()), rows(17, 4), batch_size=16) == WARNING


def test_a_ready_loader_too() -> None:
    data = TensorDataset(*rows(17, 4))
    assert found(normed, DataLoader(data, batch_size=16, shuffle=True)) == ERROR
    assert found(normed, DataLoader(data, batch_size=16, drop_last=True)) == []
    assert found(normed, DataLoader(data, batch_size=6)) == []
    twice = DataLoader(data, batch_size=16, collate_fn=lambda part: [torch.stack(2 * one) for one in zip(*part)])  # noqa: B905
    assert found(normed, twice) == [], "a row of the data is two of the batch"


def test_a_row_alone_leaves_no_trace() -> None:
    model = normed()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    recipe(model).check(rows(17, 4), batch_size=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def _shared(counts: tuple[int, ...]) -> list[str]:
    """What a process of two says of so many rows in batches of 16."""
    said: list[str] = []
    for count in counts:
        try:
            recipe(normed).fit(rows(count, 4), epochs=2, batch_size=16, device="cpu", verbose=False)
            said.append("trained")
        except lb.PreflightError as error:
            said.append(f"{error.received} {error.fix}")
    return said


def test_a_part_of_one_row_in_any_process() -> None:
    # The last batch has a row for the second process alone, one for each, one and two, two for each.
    *short, enough = lb.launch(_shared, (17, 18, 19, 20), devices=2)
    for said in short:
        assert "(LB008) a batch of one row in a process, as 2 share each batch" in said
        assert "drop_last=True" in said
    assert enough == "trained"
