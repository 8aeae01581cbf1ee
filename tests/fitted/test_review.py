"""Checks after training: each speaks of a clear fault, not of its cure. `make judge` measures how often it is wrong."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.trials._review import unstable


def trained(x: Tensor, y: Tensor, width: int = 0, lr: float = 0.03, **options) -> lb.Fitted:
    out = 1 if y.is_floating_point() else int(y.max()) + 1
    loss = nn.MSELoss() if y.is_floating_point() else nn.CrossEntropyLoss()
    hidden = nn.Linear(x.shape[1], width or out)
    net = nn.Sequential(hidden, nn.Tanh(), nn.Linear(width, out)) if width else hidden
    recipe = lb.setup(net, loss=loss, optimizer=optim.Adam).set_opt_hparams(lr=lr)
    return recipe.fit((x, y), **{"epochs": 10, "verbose": False, "preflight": False} | options)


class Line(nn.Module):
    """One number for each row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, 0]


def table(rows: int, share: float = 0.6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator)
    y = share**0.5 * x.sum(1, keepdim=True) / 2 + (1 - share) ** 0.5 * torch.randn(rows, 1, generator=generator)
    return x, y


def codes(findings) -> set[str]:
    return {one.code for one in findings}


def test_a_sound_model_has_none() -> None:
    x, y = table(600)
    fitted = trained(x[:400], y[:400], valid_data=0.2)
    found = fitted.review((x[400:], y[400:]))
    assert not found
    assert "No findings." in repr(found)


def test_over_fitting_and_its_cure() -> None:
    x, y = table(260)
    valid = x[60:], y[60:]
    options = {"width": 64, "epochs": 120, "lr": 0.02, "valid_data": valid}
    found = trained(x[:60], y[:60], **options).review(valid)
    assert "LB131" in codes(found)
    assert next(one for one in found if one.code == "LB131").severity == "warning"
    stop = lb.callbacks.EarlyStopping(patience=5, restore_best=True)
    assert not codes(trained(x[:60], y[:60], **options, callbacks=stop).review(valid))
    assert "LB131, which needs valid_data" in repr(trained(x, y).review(valid))


def test_no_better_than_a_constant() -> None:
    x, y = table(700, 0.0)
    (finding,) = trained(x[:500], y[:500], width=16, lr=0.02).review((x[500:], y[500:]))
    assert finding.code == "LB132"
    assert "95 % interval" in finding.received
    x, y = table(700)
    labels = (y[:, 0] > 0).long()
    assert codes(trained(x[:500], 1 - labels[:500]).review((x[500:], labels[500:]))) == {"LB132"}
    assert not trained(x[:500], labels[:500]).review((x[500:], labels[500:]))


@pytest.mark.parametrize("loss", [nn.L1Loss(), nn.PoissonNLLLoss(), lambda pred, y: (pred - y).clamp(min=0).mean()])
def test_the_constant_is_the_best_in_the_eyes_of_the_loss(loss) -> None:
    x = torch.randn(300, 2)
    y = torch.poisson((0.5 + x[:, :1]).exp())
    recipe = lb.setup(lambda: nn.Linear(2, 1), loss=loss, optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    found = recipe.fit((x, y), epochs=20, verbose=False, preflight=False).review((x, y))
    assert not codes(found)
    assert ("does not say which constant" in repr(found)) == (not isinstance(loss, nn.Module))


def test_what_a_loss_does_not_estimate_is_not_held_against_the_net() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator)
    sign = 2 * torch.randint(0, 2, (400,), generator=generator) - 1
    either = sign * (1 + x[:, 0].exp())  # the mean knows nothing, and the distribution much
    skewed = (0.9 * x[:, 0] + 1.2 * torch.randn(400, generator=generator)).exp()
    for loss, outputs, y in (
        (lb.losses.MixtureDensity(2), 6, either),
        (lb.losses.Quantiles(), 3, skewed),  # the median has larger squares than the mean
        (lb.losses.Quantiles((0.9,)), 1, skewed),
    ):
        recipe = lb.setup(lambda outputs=outputs: nn.Linear(2, outputs), loss=loss, optimizer=optim.Adam)
        fitted = recipe.set_opt_hparams(lr=0.03).fit((x, y), epochs=60, verbose=False, preflight=False)
        found = fitted.review((x, y))
        assert "LB132" not in codes(found)
        assert ("does not say which constant" in repr(found)) == (outputs != 3)


def test_a_fix_that_fits_the_loss() -> None:
    x, y = table(400)
    labels = (y > 0).float()
    net = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    recipe = lb.setup(net, loss=nn.BCELoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    fitted = recipe.fit((x, labels), epochs=20, verbose=False, preflight=False)
    fitted.model[0].weight.data.mul_(6)
    (finding,) = fitted.review((x, labels))
    assert finding.code == "LB138"
    assert "calibrate" not in finding.fix, "it takes scores"


def test_several_outputs_count_alike() -> None:
    x, y = table(300)
    two = torch.cat([y, 1000 * torch.randn(300, 1)], 1)
    recipe = lb.setup(lambda: nn.Linear(4, 2), loss=nn.MSELoss(), optimizer=optim.LBFGS)
    fitted = recipe.fit((x, two), epochs=5, batch_size=300, verbose=False, preflight=False)
    assert not fitted.review((x, two))


def test_a_golden_feature_by_its_name() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(600, 3)), columns=["a", "b", "c"])
    frame["price"] = frame["a"] + frame["b"] + frame["c"] + generator.normal(size=600)
    frame["tax"] = 0.2 * frame["price"] + 0.005 * generator.normal(size=600)
    for features, wanted in ((["a", "b", "tax"], {"LB134"}), (["a", "b", "c"], set())):
        data = lb.data.from_frame(frame, target="price", features=features)
        train, test = lb.split(data, 0.7, 0.3)
        recipe = lb.setup(Line, loss=nn.MSELoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
        found = recipe.fit(train, epochs=30, verbose=False, preflight=False).review(test)
        assert codes(found) == wanted
        assert ("'tax'" in repr(found)) == bool(wanted)


def test_useless_features_where_importance_was_computed() -> None:
    x, y = table(900)
    noise = torch.randn(900, 2, generator=torch.Generator().manual_seed(1))
    wide = torch.cat([x, noise], 1)
    fitted = trained(wide[:500], y[:500], epochs=20)
    test = wide[500:], y[500:]
    assert "LB135, which needs importance(data) before" in repr(fitted.review(test))
    fitted.importance(test)
    (finding,) = fitted.review(test)
    assert (finding.code, finding.severity) == ("LB135", "hint")
    assert {"4", "5"} == set(finding.received.rpartition(": ")[2].split(", "))
    sound = trained(x[:500], y[:500], epochs=20)
    sound.importance((x[500:], y[500:]))
    assert not sound.review((x[500:], y[500:]))


def test_steps_and_patches_may_well_be_useless() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(300, 1, 8, 8, generator=generator)
    y = images[:, 0, 2:6, 2:6].mean((1, 2))[:, None]  # what is at the edge says nothing
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.LBFGS)
    fitted = recipe.fit((images, y), epochs=5, batch_size=300, verbose=False, preflight=False)
    fitted.importance((images, y))
    found = fitted.review((images, y))
    assert not found
    assert "LB135" not in repr(found)


def test_a_class_that_is_never_predicted() -> None:
    x, y = blobs(400)
    fitted = trained(x, y, epochs=20)
    assert not fitted.review((x, y))
    fitted.model.bias.data[2] = -100.0
    (finding,) = (one for one in fitted.review((x, y)) if one.code == "LB137")
    assert "'2'" in finding.received
    assert finding.severity == "warning"
    few = y.eq(2).nonzero()[:, 0][:10]
    some = torch.cat([y.ne(2).nonzero()[:, 0], few])
    assert "LB137" not in codes(fitted.review((x[some], y[some]))), "ten rows may be missed by chance"


def test_probabilities_that_are_not_what_they_say() -> None:
    x, y = table(1400)
    labels = (y[:, 0] > 0).long()
    fitted = trained(x[:600], labels[:600], epochs=20)
    test = x[1000:], labels[1000:]
    assert not fitted.review(test)
    for parameter in fitted.model.parameters():
        parameter.data.mul_(5)
    (finding,) = fitted.review(test)
    assert finding.code == "LB138"
    fitted.calibrate((x[600:1000], labels[600:1000]))
    assert not fitted.review(test)


def test_a_module_that_chooses_the_classes_itself() -> None:
    class Chooser(nn.Linear):
        def predict(self, x: Tensor) -> Tensor:
            return self(x).argmax(1)

    x, y = blobs(400)
    recipe = lb.setup(lambda: Chooser(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.03)
    fitted = recipe.fit((x, y), epochs=20, verbose=False, preflight=False)
    assert not fitted.review((x, y))
    wrong = (y + 1) % 3
    (finding,) = fitted.review((x, wrong))
    assert finding.code == "LB132"
    assert "share of wrong rows" in finding.received


def test_rows_that_are_left_out_and_few_rows() -> None:
    x, y = blobs(120)
    fitted = trained(x, y, epochs=40)
    assert "LB132, LB134, LB137 and LB138, for which 30 rows are too few" in repr(fitted.review((x[:30], y[:30])))
    assert not fitted.review((x, y))


def test_it_is_in_the_file_and_in_the_report(tmp_path) -> None:
    x, y = table(300)
    fitted = trained(x[:100], -y[:100], width=32)
    found = fitted.review((x[100:], y[100:]))
    assert codes(found) == {"LB132"}
    fitted.save(tmp_path / "one.lumbre")
    net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    loaded = lb.load(tmp_path / "one.lumbre", net)
    for one in (fitted, loaded):
        one.report(tmp_path / "one.html")
        page = (tmp_path / "one.html").read_text()
        assert "LB132" in page
        assert "Checks after training" in page


def test_folds_that_differ_by_more_than_their_rows() -> None:
    x, y = table(200)
    recipe = lb.setup(lambda: nn.Linear(4, 1), loss=nn.MSELoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.05)
    found = recipe.cross_validate((x, y), folds=4, epochs=10, verbose=False, preflight=False)
    assert not found.review((x, y))
    found.models[2].model.weight.data.zero_()
    found.models[2].model.bias.data.fill_(2.0)
    (finding,) = found.review((x, y))
    assert finding.code == "LB133"
    assert "in fold 3" in finding.received
    with pytest.raises(lb.DataError, match="50 rows"):
        found.review((x[:50], y[:50]))
    ordered = recipe.cross_validate((x, y), folds=3, epochs=1, ordered=True, verbose=False, preflight=False)
    assert "drawn by chance" in repr(ordered.review((x, y)))


def test_the_permutation_test_asks_for_size_and_chance() -> None:
    random = np.random.default_rng(0)
    assert not unstable([random.exponential(size=30) for _ in range(5)])
    assert unstable([random.exponential(size=30) + 2 * (fold == 1) for fold in range(5)])
    large = [random.normal(10, 1, 20_000) + 0.1 * (fold == 1) for fold in range(5)]
    assert not unstable(large), "what a test finds in many rows alone does not matter"
