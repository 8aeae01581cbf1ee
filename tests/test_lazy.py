"""Modules with lazy layers, which take their shapes from the first batch, are saved and loaded like others."""

from pathlib import Path

import pytest
import torch
from torch import nn, optim

import lumbre as lb


def convolutions(channels: int = 4, kernel: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.LazyConv1d(channels, kernel),
        nn.LazyConvTranspose1d(2, kernel),
        nn.Flatten(),
        nn.LazyBatchNorm1d(affine=False),
        nn.LazyLinear(3, bias=False),
        nn.LazyBatchNorm1d(),
        nn.LazyLinear(1),
    )


def only_buffers() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyBatchNorm1d(affine=False), nn.Linear(24, 1))


def fitted(module: object) -> lb.Fitted:
    torch.manual_seed(0)
    data = torch.randn(32, 3, 8), torch.randn(32, 1)
    return lb.setup(module, loss=nn.MSELoss(), optimizer=optim.Adam).fit(data, epochs=2, verbose=False)


@pytest.mark.parametrize("module", [convolutions, only_buffers])
def test_a_lazy_module_comes_back(module: object, tmp_path: Path) -> None:
    made = fitted(module)
    made.save(tmp_path / "a.lumbre")
    again = lb.load(tmp_path / "a.lumbre", module)
    again.save(tmp_path / "b.lumbre")  # before it has seen a batch
    twice = lb.load(tmp_path / "b.lumbre", module)
    rows = torch.randn(5, 3, 8)
    assert torch.equal(again.predict(rows), made.predict(rows))
    assert torch.equal(twice.predict(rows), made.predict(rows))
    assert again.model.state_dict().keys() == made.model.state_dict().keys()


@pytest.mark.parametrize("hparams", [{"channels": 5}, {"kernel": 5}])
def test_a_lazy_module_of_another_size_is_refused(hparams: dict[str, int], tmp_path: Path) -> None:
    fitted(convolutions).save(tmp_path / "a.lumbre")
    with pytest.raises(lb.ArchiveError, match=r"0\.weight has shape \(4, 3, 3\)"):
        lb.load(tmp_path / "a.lumbre", convolutions, **hparams)


def test_lazy_outputs_that_differ_are_refused(tmp_path: Path) -> None:
    fitted(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(1))).save(tmp_path / "a.lumbre")
    with pytest.raises(lb.ArchiveError, match="does not fit LazyLinear"):
        lb.load(tmp_path / "a.lumbre", lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(2)))


class Sized(nn.Module):
    """Parameters that are lazy by hand, and not by a layer of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.line = nn.UninitializedParameter(), nn.Linear(8, 1)
        self.register_buffer("shift", nn.UninitializedBuffer())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.scale, nn.UninitializedParameter):
            self.scale.materialize((x.shape[-1],))
            self.shift.materialize((x.shape[-1],))
            nn.init.ones_(self.scale)
            nn.init.ones_(self.shift)
        return self.line(x.mean(1) * self.scale + self.shift)


def instance_norm() -> nn.Module:
    norm = nn.LazyInstanceNorm1d(affine=True, track_running_stats=True)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(24, 1))


@pytest.mark.parametrize("module", [Sized, instance_norm])
def test_lazy_parts_of_other_kinds_come_back(module: object, tmp_path: Path) -> None:
    made, x = fitted(module), torch.randn(5, 3, 8)
    made.save(tmp_path / "a.lumbre")
    torch.testing.assert_close(lb.load(tmp_path / "a.lumbre", module).predict(x), made.predict(x))


class Unreached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line, self.late = nn.Linear(8, 1), nn.LazyLinear(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.line(x.mean(1))
        return scores if self.training else scores + self.late(x.mean(1))


def test_a_lazy_layer_without_a_shape_is_refused_before_the_training() -> None:
    with pytest.raises(lb.RecipeError, match="does not come to: late"):
        fitted(Unreached)
