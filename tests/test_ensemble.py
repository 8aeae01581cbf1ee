"""Ensembles: fits as by hand, that predict together, in one file."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from several import blobs, forked, recipe, stopping, until_done


def penguins() -> lb.data.FrameData:
    table = lb.datasets.penguins(drop_missing=True)
    return lb.data.from_frame(table, target="species", features=["bill_length_mm", "body_mass_g", "sex"])


def wide() -> lb.Recipe:
    made = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return made.set_hparams(in_features=4, out_features=3).set_opt_hparams(lr=0.05)


def test_members_are_fits_by_hand() -> None:
    data = blobs()
    found = recipe().ensemble(data, n=3, seed=5, verbose=False, **stopping())
    for place, member in enumerate(found.models):
        fitted = recipe().fit(data, seed=5 + place, verbose=False, **stopping())
        assert torch.equal(member.predict(data[0]), fitted.predict(data[0]))
    each = torch.stack([member.predict(data[0]).softmax(1) for member in found.models])
    assert torch.equal(found.predict(data[0]), each.mean(0))
    assert torch.equal(found.spread(data[0]), each.std(0))
    assert torch.equal(found.predict_probabilities(data[0]), each.mean(0))
    assert found.predict_classes(data[0]).tolist() == each.mean(0).argmax(1).tolist()
    assert len(found) == 3
    assert "Ensemble of 3 Net" in repr(found)


def test_loss_and_metrics_are_those_of_the_mean_probability() -> None:
    x, y = blobs(50)
    found = recipe().ensemble((x, y), n=3, epochs=2, verbose=False)
    values, mean = found.evaluate((x, y), batch_size=7).metrics, found.predict(x)
    assert values["loss"] == pytest.approx(nn.functional.nll_loss(mean.log(), y).item(), rel=1e-5)
    assert values["acc"] == pytest.approx((mean.argmax(1) == y).float().mean().item())


LOSSES: list[tuple[Any, Any]] = [
    (nn.MSELoss(), nn.functional.mse_loss),
    (nn.BCEWithLogitsLoss(), nn.functional.binary_cross_entropy),
    (nn.PoissonNLLLoss(), lambda mean, y: nn.functional.poisson_nll_loss(mean, y, log_input=False, eps=0)),
]


@pytest.mark.parametrize(("loss", "of_mean"), LOSSES, ids=["numbers", "logits", "counts"])
def test_the_mean_is_taken_on_the_scale_of_the_target(loss: Any, of_mean: Any) -> None:
    x, y = torch.randn(40, 2), (torch.arange(40) % 2)[:, None].float()
    made = lb.setup(nn.Linear, loss=loss, optimizer=optim.SGD).set_hparams(in_features=2, out_features=1)
    found = made.ensemble((x, y), n=4, epochs=1, verbose=False, preflight=False)
    each = torch.stack([member.predict_response(x) for member in found.models])
    assert torch.equal(found.predict(x), each.mean(0))
    assert found.evaluate((x, y)).metrics["loss"] == pytest.approx(of_mean(found.predict(x), y).item(), rel=1e-4)


class Gaussian(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x)[:, :1], self.layer(x)[:, 1:].exp()


class GaussianLoss(nn.GaussianNLLLoss):
    def forward(self, pred: Any, target: Tensor) -> Tensor:
        return super().forward(pred[0], target, pred[1])


def test_two_outputs_and_two_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.layer(left + right)

    x, y = torch.randn(30, 2), torch.randn(30, 1)
    found = lb.setup(Two, loss=nn.MSELoss(), optimizer=optim.SGD).ensemble(((x, x), y), n=2, epochs=1, verbose=False)
    mean = torch.stack([member.predict(((x, x), None)) for member in found.models])
    assert torch.equal(found.predict(((x, x), None)), mean.mean(0))
    error = (mean.mean(0) - y).square().mean().item()
    assert found.evaluate(((x, x), y)).metrics["loss"] == pytest.approx(error, rel=1e-5)
    pair = lb.setup(Gaussian, loss=GaussianLoss(), optimizer=optim.SGD)
    both = pair.ensemble((x, y), n=2, epochs=1, verbose=False, preflight=False)
    means, variances = (torch.stack([one.predict(x)[place] for one in both.models]) for place in (0, 1))
    assert torch.equal(both.predict(x), means.mean(0))
    spread = variances.mean(0) + means.var(0, correction=0)  # of the mixture
    loss = nn.functional.gaussian_nll_loss(means.mean(0), y, spread).item()
    assert both.evaluate((x, y)).metrics["loss"] == pytest.approx(loss, rel=1e-4)


def test_members_of_a_frame_encode_in_their_own_way(tmp_path: Path) -> None:
    data = penguins()
    found = wide().ensemble(data, n=3, bootstrap=True, epochs=3, verbose=False)
    encodings = {tuple(member._session.encoding.center) for member in found.models}
    assert len(encodings) == 3
    mean = torch.stack([member.predict(data).softmax(1) for member in found.models]).mean(0)
    assert torch.equal(found.predict(data), mean)
    values = found.evaluate(data).metrics
    target = torch.tensor([data.classes.index(name) for name in data.column("species")])
    assert values["loss"] == pytest.approx(nn.functional.nll_loss(mean.log(), target).item(), rel=1e-5)
    assert values["acc"] == pytest.approx((mean.argmax(1) == target).float().mean().item())
    assert set(found.predict_classes(data)) <= set(data.classes)
    found.save(tmp_path / "three.lumbre")
    again = lb.load_ensemble(tmp_path / "three.lumbre", nn.Linear)
    assert again.classes == data.classes
    assert torch.equal(again.predict(data), mean)


class Seen(lb.Callback):
    def __init__(self) -> None:
        self.train: list[int] = []
        self.valid: list[int] = []

    def __deepcopy__(self, memo: Any) -> "Seen":
        return self

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        self.train += ctx.batch.input[:, 0].int().tolist()

    def on_valid_batch_end(self, ctx: lb.Context) -> None:
        self.valid += ctx.batch.input[:, 0].int().tolist()


def test_bootstrap_draws_with_replacement_from_what_is_not_held_out() -> None:
    seen, rows = Seen(), torch.arange(200.0)[:, None]
    line = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=1e-9)
    line = line.set_hparams(in_features=1, out_features=1)
    options: dict[str, Any] = {"epochs": 1, "preflight": False, "verbose": False, "callbacks": [seen]}
    line.ensemble((rows, rows), n=2, bootstrap=True, valid_data=0.25, **options)
    drawn = [seen.train[:150], seen.train[150:]]
    held_out = [seen.valid[:50], seen.valid[50:]]
    for one, valid in zip(drawn, held_out, strict=True):
        assert len(one) == 150
        assert 0.5 < len(set(one)) / 150 < 0.75  # 1 - 1/e of them
        assert not set(one) & set(valid)
    assert drawn[0] != drawn[1]


def test_one_file_holds_all_and_nothing_else(tmp_path: Path) -> None:
    data = blobs()
    found = recipe().ensemble(data, n=3, epochs=1, verbose=False)
    path = tmp_path / "three.lumbre"
    found.save(path)
    for module in (recipe(), recipe().module):
        again = lb.load_ensemble(path, module)
        assert torch.equal(again.predict(data[0]), found.predict(data[0]))
        assert torch.equal(again.spread(data[0]), found.spread(data[0]))
    assert again.models[1].history.equals(found.models[1].history)
    assert lb.load_ensemble(path, recipe()).evaluate(data).metrics == found.evaluate(data).metrics
    assert b"pickle" not in path.read_bytes()
    assert len(lb.inspect_file(path).document["members"]) == 3
    with pytest.raises(lb.ArchiveError, match="load_ensemble"):
        lb.load(path, recipe())
    found.models[0].save(tmp_path / "one.lumbre")
    with pytest.raises(lb.ArchiveError, match="holds one model"):
        lb.load_ensemble(tmp_path / "one.lumbre", recipe())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(lb.ArchiveError, match="damaged"):
        lb.load_ensemble(path, recipe())


def test_a_ready_module_and_a_loss_with_parameters(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sigma = nn.Parameter(torch.ones(()))

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return ((pred - target) / self.sigma).square().mean() + self.sigma.log()

    module, x = nn.Linear(1, 1), torch.linspace(-1, 1, 20)[:, None]
    before = module.weight.clone()
    made = lb.setup(module, loss=Scaled(), optimizer=optim.SGD)
    found = made.ensemble((x, x), n=2, epochs=1, batch_size=5, verbose=False, preflight=False)
    assert torch.equal(module.weight, before)
    found.save(tmp_path / "two.lumbre")
    again = lb.load_ensemble(tmp_path / "two.lumbre", made)
    assert [one.loss.sigma.item() for one in again.models] == [one.loss.sigma.item() for one in found.models]
    assert torch.equal(again.predict(x), found.predict(x))
    assert again.models[0].model is not again.models[1].model


@forked
def test_any_number_of_workers_gives_the_same_bits(tmp_path: Path) -> None:
    data = blobs()
    for own in ({}, {"bootstrap": True}):
        one = recipe().ensemble(data, n=3, verbose=False, **own, **stopping())
        for workers, resume in ((2, None), (3, tmp_path / str(own)), (1, tmp_path / str(own))):
            found = recipe().ensemble(data, n=3, workers=workers, resume=resume, verbose=False, **own, **stopping())
            assert torch.equal(found.predict(data[0]), one.predict(data[0]))
            assert torch.equal(found.spread(data[0]), one.spread(data[0]))


SCRIPT = """
import sys
from pathlib import Path
from several import KillsOnce, blobs, recipe, stopping
folder = Path(sys.argv[1])
options = stopping()
options["callbacks"] += [KillsOnce(folder, 5)]
found = recipe().ensemble(blobs(), n=3, bootstrap=True, resume=folder / "runs", verbose=False, **options)
found.save(folder / "found.lumbre")
"""


@forked
def test_killed_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    assert until_done(SCRIPT, [str(tmp_path)], tmp_path / "found.lumbre") == [-signal.SIGKILL, 0]
    one = recipe().ensemble(blobs(), n=3, bootstrap=True, verbose=False, **stopping())
    found = lb.load_ensemble(tmp_path / "found.lumbre", recipe())
    assert torch.equal(found.predict(blobs()[0]), one.predict(blobs()[0]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 1}, "n=1"),
        ({"n": 2.5}, "n=2.5"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"epoch": 3}, "epochs"),
        ({"bootstrap": True, "sampler": np.ones(3)}, "3 values for 60 rows"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_what_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(lb.OptionError, match=said):
        recipe().ensemble(blobs(60), **{"epochs": 1, "verbose": False, **options})


def test_what_cannot_be_averaged_is_refused() -> None:
    class Mixed(nn.Linear):
        def predict(self, x: Tensor) -> Any:
            return [str(one) for one in self(x).argmax(1).tolist()]

    made = lb.setup(Mixed, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    made = made.set_hparams(in_features=4, out_features=3)
    found = made.ensemble(blobs(30), n=2, epochs=1, verbose=False)
    with pytest.raises(lb.DataError, match="tensors"):
        found.predict(blobs(30)[0])


def test_a_line_for_each_member(capsys: pytest.CaptureFixture[str]) -> None:
    recipe().ensemble(blobs(30), n=2, epochs=1)
    assert [one.partition(":")[0] for one in capsys.readouterr().out.splitlines()] == ["Member 1 of 2", "Member 2 of 2"]
