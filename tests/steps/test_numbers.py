"""Numbers of a compiled step are computed once, not in the loops over the parameters."""

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from lumbre.steps._numbers import _set_apart, numbers_apart


def traced(function, *arguments: Tensor) -> fx.GraphModule:
    return make_fx(function, tracing_mode="fake")(*arguments)


def calls(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


def test_a_number_that_larger_tensors_need_has_a_place_of_its_own() -> None:
    def update(step: Tensor, weight: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
        correction = 1 - 0.9**step
        return weight / correction, moment * correction

    arguments = torch.tensor(3.0, dtype=torch.float64), torch.randn(5), torch.randn(7)
    module = traced(update, *arguments)
    _set_apart(module.graph)
    module.recompile()
    assert calls(module).count("aten.as_strided.default") == 1
    for found, expected in zip(module(*arguments), update(*arguments), strict=True):
        assert torch.equal(found, expected)


def test_lists_of_numbers_are_taken_apart_and_what_is_given_is_left() -> None:
    def update(step: Tensor, rate: Tensor, weight: Tensor, moment: Tensor) -> tuple[Tensor, ...]:
        corrections = torch._foreach_pow(0.9, [step, step + 1])
        given = rate * weight  # a number that is an input has its place already
        return (given, *torch._foreach_div([weight, moment], list(corrections)))

    arguments = torch.tensor(3.0), torch.tensor(0.1), torch.randn(5), torch.randn(7)
    module = traced(update, *arguments)
    _set_apart(module.graph)
    module.recompile()
    assert calls(module).count("aten.as_strided.default") == 2
    for found, expected in zip(module(*arguments), update(*arguments), strict=True):
        assert torch.equal(found, expected)


def test_the_pass_is_one_for_all_and_has_a_name_for_the_cache() -> None:
    assert numbers_apart() is numbers_apart()
    assert numbers_apart().uuid()
