"""Freezing, and groups of parameters with options of their own."""

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


class Tower(nn.Module):
    """A body of two layers, and a head that shares no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body[1](self.body[0](x).relu()).relu())


def trained(net: nn.Module) -> list[str]:
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("pattern", ["body", "body.*", "b*"])
def test_a_part_is_frozen_by_its_name_or_by_a_pattern(pattern: str) -> None:
    net = Tower()
    assert lb.freeze(net, pattern) is net
    assert trained(net) == ["head.weight", "head.bias"]
    assert len(trained(lb.unfreeze(net, pattern))) == 6


def test_all_and_several() -> None:
    net = lb.freeze(Tower())
    assert trained(net) == []
    assert trained(lb.unfreeze(net, "head", "body.1.bias")) == ["body.1.bias", "head.weight", "head.bias"]
    assert trained(lb.freeze(lb.unfreeze(net), "*.weight", "body.[01]")) == ["head.bias"]


def test_a_part_is_no_prefix_of_another_s_name() -> None:
    net = nn.ModuleDict({"body": nn.Linear(1, 1), "body2": nn.Linear(1, 1)})
    assert trained(lb.freeze(net, "body")) == ["body2.weight", "body2.bias"]


def test_a_shared_weight_goes_by_each_of_its_names() -> None:
    net = nn.ModuleDict({"in": nn.Linear(2, 2, bias=False), "out": nn.Linear(2, 2, bias=False)})
    net["out"].weight = net["in"].weight
    assert trained(lb.freeze(net, "out")) == []


def test_a_pattern_that_matches_nothing_is_refused_and_changes_nothing() -> None:
    net = Tower()
    with pytest.raises(lb.RecipeError, match=r"'encoder\.\*'.*\n.*its parts: body, head"):
        lb.freeze(net, "body", "encoder.*")
    assert len(trained(net)) == 6
    with pytest.raises(lb.RecipeError, match="Did you mean 'body'"):
        lb.param_groups(net, {"bdy.*": {"lr": 1.0}}, lr=0.1)


def test_what_is_frozen_does_not_move(data: tuple[Tensor, Tensor]) -> None:
    net = lb.freeze(Tower(), "body")
    before = [parameter.clone() for parameter in net.parameters()]
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW)
    recipe.set_opt_hparams(lr=0.1, weight_decay=0.5).fit(data, epochs=1, verbose=False)
    moved = [not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert moved == [False] * 4 + [True] * 2


def test_each_parameter_belongs_to_the_first_pattern_that_matches() -> None:
    net = Tower()
    groups = lb.param_groups(net, {"body.0": {"lr": 1.0}, "*.bias": {"weight_decay": 0.0}}, lr=0.1, weight_decay=0.2)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(1.0, 0.2), (0.1, 0.0), (0.1, 0.2)]
    assert [len(group["params"]) for group in groups] == [2, 2, 2]
    assert sorted(map(id, net.parameters())) == sorted(id(p) for group in groups for p in group["params"])
    assert len(lb.param_groups(net, {"body": {}, "head": {}})) == 2, "nothing is left for a group of the rest"
    with pytest.raises(lb.RecipeError, match=r"'body\.1' before the wider patterns"):
        lb.param_groups(net, {"body": {"lr": 1.0}, "body.1": {"lr": 2.0}})


class Rates(lb.Callback):
    def on_fit_begin(self, ctx: lb.Context) -> None:
        self.groups = [{**group, "params": len(group["params"])} for group in ctx.optimizer.param_groups]


def test_a_recipe_takes_groups(data: tuple[Tensor, Tensor], tmp_path) -> None:
    rates = Rates()
    recipe = lb.setup(Tower, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW)
    recipe = recipe.set_opt_hparams(lr=1e-2, groups={"body": {"lr": 1e-4}})
    fitted = recipe.fit(data, epochs=1, callbacks=rates, verbose=False)
    assert [(group["lr"], group["params"]) for group in rates.groups] == [(1e-4, 4), (1e-2, 2)]
    assert all(group["fused"] for group in rates.groups)
    fitted.save(tmp_path / "tower.lumbre")
    lb.load(tmp_path / "tower.lumbre", Tower)
    with pytest.raises(lb.RecipeError, match="Did you mean 'weight_decay'"):
        recipe.set_opt_hparams(groups={"body": {"weight_decy": 0}}).fit(data, verbose=False)
    with pytest.raises(lb.RecipeError, match="matches no parameter"):
        recipe.set_opt_hparams(groups={"tail": {"lr": 1e-4}}).fit(data, verbose=False)


def test_a_module_configures_groups_itself(data: tuple[Tensor, Tensor]) -> None:
    class Own(Tower):
        def configure_optimizers(self, lr: float) -> optim.Optimizer:
            return optim.SGD(lb.param_groups(self, {"body.*": {"lr": lr / 10}}, lr=lr))

    rates = Rates()
    recipe = lb.setup(Own, loss=nn.CrossEntropyLoss()).set_opt_hparams(lr=0.1)
    recipe.fit(data, epochs=1, callbacks=rates, verbose=False)
    assert [group["lr"] for group in rates.groups] == pytest.approx([0.01, 0.1])
