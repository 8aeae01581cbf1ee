"""Gradual unfreezing."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import GradualUnfreezing


class Deep(nn.Module):
    """A body of two parts with BatchNorm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict(
            {
                "one": nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()),
                "two": nn.Sequential(nn.Linear(8, 8), nn.ReLU()),
            }
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body["two"](self.body["one"](x)))


class Watch(lb.Callback):
    """The model after each epoch, and before the first."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_fit_begin(self, ctx: lb.Context) -> None:
        self.states = [copy.deepcopy(ctx.model.state_dict())]

    def on_epoch_end(self, ctx: lb.Context) -> None:
        self.states.append(copy.deepcopy(ctx.model.state_dict()))


def moved(watch: Watch) -> list[set[str]]:
    """The parts that changed in each epoch."""
    parts = {"head": "head.weight", "two": "body.two.0.weight", "one": "body.one.0.weight", "norm": "body.one.1.weight"}
    parts["statistics"] = "body.one.1.running_mean"
    return [
        {part for part, name in parts.items() if not torch.equal(before[name], after[name])}
        for before, after in zip(watch.states, watch.states[1:], strict=False)
    ]


OPTIMIZERS = {
    "fused Adam": (optim.Adam, {"lr": 0.01}),
    "AdamW with decay": (optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "momentum with decay": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
}


def recipe(name: str = "fused Adam", module: object = Deep) -> lb.Recipe:
    optimizer, options = OPTIMIZERS[name]
    return lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optimizer).set_opt_hparams(**options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_join_in_their_epochs(name: str) -> None:
    watch = Watch()
    plan = GradualUnfreezing({"head": 0, "body.two": 1, "body.one": 3})
    fitted = recipe(name).fit(blobs(), epochs=4, callbacks=[watch, plan], verbose=False)
    assert "fused" in fitted.engine
    assert moved(watch) == [{"head"}, {"head", "two"}, {"head", "two"}, {"head", "two", "one", "norm", "statistics"}]


def test_a_list_frees_one_more_every_n_epochs_and_the_rest_stays() -> None:
    watch = Watch()
    plan = GradualUnfreezing(["head", "*.two.*"], every=2)
    recipe().fit(blobs(), epochs=4, callbacks=[plan, watch], verbose=False)
    assert moved(watch) == [{"head"}, {"head"}, {"head", "two"}, {"head", "two"}]


def test_the_pattern_that_frees_first_holds() -> None:
    watch = Watch()
    recipe().fit(blobs(), epochs=2, callbacks=[GradualUnfreezing({"*": 1, "head": 0}), watch], verbose=False)
    assert [len(parts) for parts in moved(watch)] == [1, 5]


def test_the_module_is_left_as_free_as_it_was() -> None:
    module = Deep()
    module.body["one"].requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    recipe(module=module).fit(blobs(), epochs=1, callbacks=GradualUnfreezing(["head"]), verbose=False)
    assert {name: parameter.requires_grad for name, parameter in module.named_parameters()} == before


@settings(max_examples=8, deadline=None)
@given(epochs=st.integers(0, 2), name=st.sampled_from(sorted(OPTIMIZERS)))
def test_held_still_equals_a_smaller_optimizer(epochs: int, name: str) -> None:
    """What is held still is as if the optimizer had never known it: no state gathers, nothing decays."""
    x, y = blobs(30)
    ours, theirs = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), None
    theirs = copy.deepcopy(ours)
    plan = GradualUnfreezing({"2": 0, "0": epochs})
    recipe(name, ours).fit((x, y), epochs=3, batch_size=30, shuffle=False, callbacks=plan, verbose=False)
    optimizer_class, options = OPTIMIZERS[name]
    head = optimizer_class(theirs[2].parameters(), **options)
    body = optimizer_class(theirs[0].parameters(), **options)
    for epoch in range(3):
        theirs.zero_grad()
        nn.functional.cross_entropy(theirs(x), y).backward()
        head.step()
        if epoch >= epochs:
            body.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GradualUnfreezing("head"), "a list of patterns"),
        (lambda: GradualUnfreezing([]), "at least one pattern"),
        (lambda: GradualUnfreezing({"head": -1}), "0 epochs or more"),
        (lambda: GradualUnfreezing(["head"], every=0), "a whole number from 1"),
        (lambda: GradualUnfreezing({"head": 0}, every=2), "one of the two"),
    ],
)
def test_impossible_plans_are_refused_at_once(make, words: str) -> None:
    with pytest.raises(lb.OptionError, match=words):
        make()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"heat": 0}, "Did you mean 'head'"),
        ({"head": 0, "bod": 2}, "'bod'"),
        ({"head": 1}, "nothing in the first epoch"),
    ],
)
def test_wrong_plans_are_refused_when_the_run_starts(plan: dict[str, int], words: str) -> None:
    with pytest.raises(lb.OptionError, match=words):
        recipe().fit(blobs(), epochs=1, callbacks=GradualUnfreezing(plan), verbose=False)
