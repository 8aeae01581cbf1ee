"""Each check finds its mistake, and is silent on the mended twin."""

from collections.abc import Callable

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from corpus import CASES, Program
from corpus.harness import checked, made
from corpus.program import Case, binary, blobs, mlp, plane, program
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.base import Batch
from lumbre.preflight import CHECKS
from lumbre.preflight._finding import SEVERITIES

Pair = tuple[Callable[[], Program], Callable[[], Program]]
G = torch.Generator


def normed(bias: bool, frozen: bool = False) -> nn.Module:
    body = nn.Sequential(nn.Linear(4, 8, bias=bias), nn.BatchNorm1d(8)).requires_grad_(not frozen)
    return nn.Sequential(body, nn.ReLU(), nn.Linear(8, 3))


class Switched(nn.Module):
    """Switches itself to evaluation, or has a part switched where it is made."""

    def __init__(self, forward: bool = False, init: bool = False, lasting: bool = False) -> None:
        super().__init__()
        self.net, self.drop, self.by_forward, self.lasting = mlp(4, 16, 3), nn.Dropout(0.2), forward, lasting
        if init:
            self.drop.eval()

    def train(self, mode: bool = True) -> "Switched":
        super().train(mode)
        if self.lasting:
            self.drop.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.by_forward:
            self.eval()
        return self.net(self.drop(x))


class Proxied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proxies = nn.Linear(8, 3)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(self.proxies(pred), target)


class Unread(nn.Module):
    """Does not read its input, or begins at zero."""

    def __init__(self, read: bool) -> None:
        super().__init__()
        self.net, self.read = mlp(4, 16, 3), read
        nn.init.zeros_(self.net[-1].weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x if self.read else torch.ones_like(x))


class Overwriting(nn.Module):
    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.first, self.head, self.in_place = nn.Linear(4, 8), nn.Linear(8, 3), in_place

    def forward(self, x: Tensor) -> Tensor:
        z = torch.sigmoid(self.first(x))
        if self.in_place:
            z += 1
        else:
            z = z + 1
        return self.head(z)


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def more_pairs() -> dict[str, Pair]:
    """Further ones: of the module and of the start."""
    g = G().manual_seed(0)
    x, y = blobs(g)
    u, v = plane(g)
    grades = torch.randint(0, 5, (240, 1), generator=g).float()
    of = lambda net, data=(x, y): program(net, nn.CrossEntropyLoss(), data)  # noqa: E731
    summed = lambda pred, target: F.cross_entropy(pred, target, reduction="sum")  # noqa: E731
    gathered = lambda loss: program(lambda: mlp(4, 8, 3), loss, (x, y), callbacks=lb.callbacks.Accumulate(2))  # noqa: E731
    proxies = nn.Linear(8, 3)
    return {
        "LB069": (
            lambda: program(lambda: mlp(4, 16, 8), lambda pred, target: F.cross_entropy(proxies(pred), target), (x, y)),
            lambda: program(lambda: mlp(4, 16, 8), Proxied(), (x, y)),
        ),
        "LB031": (lambda: of(lambda: normed(bias=True)), lambda: of(lambda: normed(bias=False))),
        "LB036": (lambda: gathered(summed), lambda: gathered(F.cross_entropy)),
        "LB049": (
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, grades)),
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, grades + 1)),
        ),
        "LB051": (
            lambda: of(lambda: mlp(4, 300, 300, 3), (x[:30], y[:30])),
            lambda: of(lambda: mlp(4, 60, 60, 3), (x[:30], y[:30])),
        ),
        "LB052": (
            lambda: of(lambda: nn.Sequential(nn.Linear(4, 4), *[nn.Tanh(), nn.Linear(4, 4)] * 2, nn.Linear(4, 3))),
            lambda: of(lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))),
        ),
        "LB056": (
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, v + 20)),
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, v + 5)),
        ),
        "LB057": (lambda: of(lambda: Unread(False)), lambda: of(lambda: Unread(True))),
        "LB058": (
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(reduction="sum"), (25 * u, 90 * v), 1e-4, optim.SGD),
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(reduction="sum"), (u, v), 1e-4, optim.SGD),
        ),
        "LB059": (lambda: of(lambda: Overwriting(True)), lambda: of(lambda: Overwriting(False))),
        "LB060": (
            lambda: of(lambda: mlp(4, 8, 3, last=nn.LogSoftmax(1))),
            lambda: program(lambda: mlp(4, 8, 3, last=nn.LogSoftmax(1)), nn.NLLLoss(), (x, y)),
        ),
        "LB061": (lambda: of(lambda: normed(bias=False, frozen=True)), lambda: of(lambda: normed(bias=False))),
    }


def pairs() -> dict[str, Pair]:
    """Broken and sound programs for checks that no case of the corpus is meant for."""
    g = G().manual_seed(0)
    x, y = blobs(g)
    u, v = plane(g)
    a, b = binary(g)
    deep = lambda act: mlp(4, *[4] * 30, 3, act=act)  # noqa: E731
    return {
        "LB003": (
            lambda: program(lambda: mlp(7, 8, 3), nn.CrossEntropyLoss(), (x, y)),
            lambda: program(lambda: mlp(4, 8, 3), nn.CrossEntropyLoss(), (x, y)),
        ),
        "LB009": (
            lambda: program(lambda: mlp(4, 8, 3), lambda pred, target: pred @ target, (x, y)),
            lambda: program(lambda: mlp(4, 8, 3), lambda pred, target: F.cross_entropy(pred, target), (x, y)),
        ),
        "LB010": (
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(reduction="none"), (u, v)),
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, v)),
        ),
        "LB013": (
            lambda: program(lambda: mlp(4, 8, 1), nn.BCELoss(), (a, b)),
            lambda: program(lambda: mlp(4, 8, 1, last=nn.Sigmoid()), nn.BCELoss(), (a, b)),
        ),
        "LB019": (
            lambda: program(lambda: mlp(4, 8, 1, last=nn.Softmax(1)), nn.BCELoss(), (a, b)),
            lambda: program(lambda: mlp(4, 8, 1, last=nn.Sigmoid()), nn.BCELoss(), (a, b)),
        ),
        "LB024": (
            lambda: program(lambda: deep(nn.Sigmoid), nn.CrossEntropyLoss(), (x, y)),
            lambda: program(lambda: deep(nn.Identity)[-1:], nn.CrossEntropyLoss(), (x, y)),
        ),
        "LB043": (
            lambda: program(lambda: mlp(6, 8, 1), nn.MSELoss(), (torch.cat([u, -v], 1), v)),
            lambda: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, v)),
        ),
    }


PAIRS = pairs() | more_pairs()


def frame_of(names: list[str]) -> Program:
    generator = G().manual_seed(0)
    x = torch.randn(len(names), 2, generator=generator)
    frame = pd.DataFrame({"name": names, "a": x[:, 0], "b": x[:, 1], "y": x[:, 0] > 0})
    data = lb.data.from_frame(frame, target="y")
    return program(lambda: mlp(data.width, 8, 2), nn.CrossEntropyLoss(), data)


PAIRS["LB062"] = (
    lambda: frame_of([f"row {i}" for i in range(200)]),
    lambda: frame_of([f"group {i % 30}" for i in range(200)]),
)


@pytest.mark.parametrize("code", list(PAIRS))
def test_a_check_and_its_twin(code: str) -> None:
    broken, sound = PAIRS[code]
    assert code in {found for found, _ in checked(broken())}
    assert checked(sound()) == []


@pytest.mark.parametrize("broken", [{"forward": True}, {"init": True}])
def test_modes_that_are_switched_by_hand(broken: dict[str, bool]) -> None:
    x, y = blobs(G().manual_seed(0))
    assert checked(program(lambda: Switched(**broken), nn.CrossEntropyLoss(), (x, y))) == [("LB053", "warning")]
    assert checked(program(lambda: Switched(init=True, lasting=True), nn.CrossEntropyLoss(), (x, y))) == []
    assert checked(program(Switched, nn.CrossEntropyLoss(), (x, y))) == []
    assert checked(program(Switched().eval(), nn.CrossEntropyLoss(), (x, y))) == []


def test_a_layer_of_which_most_is_dead() -> None:
    def net(bias: float) -> nn.Module:
        made = mlp(4, 30, 3)
        nn.init.constant_(made[0].bias[:28], bias)
        return made

    x, y = blobs(G().manual_seed(0))
    assert checked(program(lambda: net(-50.0), nn.CrossEntropyLoss(), (x, y))) == [("LB029", "warning")]
    assert checked(program(lambda: net(0.0), nn.CrossEntropyLoss(), (x, y))) == []


def test_a_metric_of_yes_and_no_for_measurements() -> None:
    u, v = plane(G().manual_seed(0))
    make = lambda metric: program(lambda: mlp(5, 8, 1), nn.MSELoss(), (u, v), metrics=metric)  # noqa: E731
    assert checked(make(lb.metrics.BinaryAccuracyWithLogits())) == [("LB014", "warning")]
    assert checked(make(lb.metrics.RMSE())) == []


def test_a_binary_loss_that_starts_far_from_chance() -> None:
    a, b = binary(G().manual_seed(0))
    net = lambda scale: nn.Sequential(mlp(4, 8, 1), Scaled(scale))  # noqa: E731
    assert ("LB025", "warning") in checked(program(lambda: net(100.0), nn.BCEWithLogitsLoss(), (a, b)))
    assert checked(program(lambda: net(1.0), nn.BCEWithLogitsLoss(), (a, b))) == []


def test_hints_are_not_printed(recwarn: pytest.WarningsRecorder) -> None:
    x, y = blobs(G().manual_seed(0))
    recipe = lb.setup(lambda: normed(bias=True), loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam)
    assert [(one.code, one.severity) for one in recipe.check((x, y))] == [("LB031", "hint")]
    recipe.fit((x, y), epochs=1, verbose=False)
    assert not [one for one in recwarn if issubclass(one.category, lb.PreflightWarning)]


def test_every_check_has_a_program_that_triggers_it() -> None:
    # In test_validation_fits.py, test_domains.py, test_influence.py, test_learning.py, test_answers.py and others.
    tested_elsewhere = {"LB053", "LB063", "LB064", "LB065", "LB066", "LB067", "LB068"}
    tested_elsewhere |= {f"LB0{number}" for number in range(70, 97)} | {f"LB{number}" for number in range(114, 131)}
    tested_elsewhere |= {"LB139", "LB140"}
    found = {code for case in CASES for code in case.codes} | set(PAIRS) | tested_elsewhere
    assert set(CHECKS) <= found


DEVELOPED = [case for case in CASES if case.half == "develop"]


@pytest.mark.parametrize("case", DEVELOPED, ids=[case.name for case in DEVELOPED])
def test_a_pair_of_the_corpus(case: Case) -> None:
    assert {code for code, _ in checked(made(case, True, 0))} & set(case.codes)
    assert checked(made(case, False, 0)) == []


@pytest.mark.parametrize("code", list(CHECKS))
def test_a_check_is_told_of(code: str) -> None:
    check = CHECKS[code]
    assert check.severity in SEVERITIES
    assert check.look.__doc__
    assert check.title[0].isupper()


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_changed(training: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop, self.head = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls = self.calls + 1
            return self.head(self.drop(self.norm(x.mul_(1.0))))

    x, y = blobs(G().manual_seed(0))
    model = Net().train(training)
    model.head.weight.grad = torch.ones(3, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, given = torch.get_rng_state(), x.clone()
    lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam).check((x, y), valid_data=0.2)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert torch.equal(model.head.weight.grad, torch.ones(3, 4))
    assert model.head.bias.grad is None
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, given)
    assert not model._forward_hooks


def test_weights_that_were_moved_for_a_look_are_put_back() -> None:
    x, y = blobs(G().manual_seed(0))
    model = Unread(read=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    recipe = lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    assert [one.code for one in recipe.check((x, y))] == ["LB057"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_bits_of_a_run_do_not_depend_on_the_checks() -> None:
    x, y = blobs(G().manual_seed(0))
    recipe = lb.setup(lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)),
                      loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam)  # fmt: skip
    fitted = [recipe.fit((x, y), epochs=2, verbose=False, preflight=on) for on in (True, False)]
    for one, other in zip(*(each.model.parameters() for each in fitted), strict=True):
        assert torch.equal(one, other)


def test_checks_can_be_ignored() -> None:
    x, y = plane(G().manual_seed(0))
    recipe = lb.setup(lambda: mlp(5, 8, 1), loss=nn.MSELoss(), optimizer=torch.optim.Adam)
    data = (1000 * x, y)
    assert [one.code for one in recipe.check(data)] == ["LB038"]
    assert not recipe.check(data, ignore=("LB038",))
    with pytest.warns(lb.PreflightWarning, match="LB038"):
        recipe.fit(data, epochs=1, verbose=False)
    recipe.fit(data, epochs=1, verbose=False, ignore="LB038")
    with pytest.raises(lb.OptionError, match="ignore"):
        recipe.check(data, ignore=("LB999",))


def test_a_quick_look_stops_when_its_time_is_over() -> None:
    from lumbre.preflight import Subject, run_checks

    nothing = nn.Linear(2, 2).requires_grad_(False)
    subject = Subject(model=nothing, call=nothing, loss=None, batch=Batch(torch.ones(2, 2), None, 2))
    quick = run_checks(subject, seconds=-1.0)
    assert [one.code for one in quick] == ["LB001"]  # errors are always looked for
    assert "LB020" in str(quick.left_out) or "more" in str(quick.left_out)
    assert run_checks(subject).left_out == ()
