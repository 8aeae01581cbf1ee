"""What is tried before a run leaves no trace, and is said only where it is worth it."""

import copy

import pytest
import torch
from torch import nn, optim

import lumbre as lb
import lumbre.run._engine as engine
from lumbre.steps import bfloat16_gain, forward_flops


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 2))
        self.unused = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


DATA = torch.randn(64, 6), torch.arange(64) % 2


def test_a_trial_leaves_buffers_gradients_and_modes() -> None:
    net = Net().eval()
    before = copy.deepcopy(net.state_dict())

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        pred = net(DATA[0])
        return pred, nn.functional.cross_entropy(pred, DATA[1])

    assert sum(forward_flops(net, forward).values()) == 2 * 64 * (6 * 32 + 32 * 2)
    assert 0 < bfloat16_gain(net, forward, torch.device("cpu")) < 1e3
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(("gain", "options", "said"), [
    (1.84, {}, True), (1.2, {}, False), (9.0, {"precision": "bfloat16"}, False), (9.0, {"epochs": 1}, False),
])  # fmt: skip
def test_the_gain_of_bfloat16_is_said_once(
    gain: float, options: dict, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "bfloat16_gain", lambda *_: gain)
    monkeypatch.setattr(engine, "_STEPS_WORTH_A_TRIAL", 4)
    monkeypatch.setattr(engine, "_FLOPS_WORTH_A_TRIAL", 1e3)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    options = {"epochs": 2, "batch_size": 32, "device": "cpu", "preflight": False, **options}
    with_advice = recipe.fit(DATA, **options)
    printed = capsys.readouterr().out
    assert printed.count('precision="bfloat16") would be 1.8 times as fast') == said
    if said:  # and the run is the one that it would have been
        quiet = recipe.fit(DATA, **options, verbose=False)
        assert torch.equal(quiet.predict(DATA), with_advice.predict(DATA))
