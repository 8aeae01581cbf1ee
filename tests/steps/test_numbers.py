"""Numbers of a compiled step are computed once, not in the loops over the parameters."""

import os

import pytest
import torch
import torch._dynamo
import torch._inductor.config
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from lumbre.graphs import obstacle
from lumbre.graphs._compile import _options, _tracing
from lumbre.graphs._numbers import _hoisted, hoisted_numbers


def places_for_numbers(function, *arguments: Tensor) -> int:
    """How many the pass makes in the graph of `function`, which gives what it gave before."""
    module = make_fx(function, tracing_mode="fake")(*arguments)
    _hoisted(module.graph)
    module.recompile()
    for found, expected in zip(module(*arguments), function(*arguments), strict=True):
        assert torch.equal(found, expected)
    return sum(node.target is torch.ops.aten.as_strided.default for node in module.graph.nodes)


def test_a_number_that_larger_tensors_need_has_a_place_of_its_own() -> None:
    def update(step: Tensor, weight: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
        correction = 1 - 0.9**step
        return weight / correction, moment * correction

    arguments = torch.tensor(3.0, dtype=torch.float64), torch.randn(5), torch.randn(7)
    assert places_for_numbers(update, *arguments) == 1


def test_lists_of_numbers_are_taken_apart_and_what_is_given_is_left() -> None:
    def update(step: Tensor, rate: Tensor, weight: Tensor, moment: Tensor) -> tuple[Tensor, ...]:
        corrections = torch._foreach_pow(0.9, [step, step + 1])
        given = rate * weight  # a number that is an input has its place already
        return (given, *torch._foreach_div([weight, moment], list(corrections)))

    arguments = torch.tensor(3.0), torch.tensor(0.1), torch.randn(5), torch.randn(7)
    assert places_for_numbers(update, *arguments) == 2


def test_numbers_of_a_larger_tensor_stay_where_they_are() -> None:
    def compare(x: Tensor) -> tuple[Tensor, ...]:
        second, _ = x[:, 1].unbind()
        return x * (x[0, 0] > x[1, 0]), x - x[1, 1], x + second, x / x[1:, :1].reshape(())

    assert places_for_numbers(compare, torch.tensor([[1.0, 2.0], [-3.0, 4.0]])) == 0


@pytest.mark.skipif(obstacle(torch.device("cpu")) is not None, reason=str(obstacle(torch.device("cpu"))))
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*")
@pytest.mark.skipif("ATEN_CPU_CAPABILITY" in os.environ, reason="torch's compiler writes vectors whatever that says")
def test_a_graph_reads_the_numbers_that_are_meant() -> None:
    def update(x: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        second, third = (2 * x[:, 1]).unbind()
        return x * (x[0, 0] > x[1, 0]), x - x[1, 1], x + third - second, x / x[1:, :1].reshape(()), x / (1 - 0.9**step)

    arguments = torch.tensor([[1.0, 2.0], [-3.0, 4.0]]), torch.tensor(3.0, dtype=torch.float64)
    torch._dynamo.reset()
    with _tracing(_options(torch.device("cpu"))):
        found = torch.compile(update, fullgraph=True, dynamic=False)(*arguments)
    for one, wanted in zip(found, update(*arguments), strict=True):
        torch.testing.assert_close(one, wanted)


def test_steps_are_compiled_with_the_pass_under_a_name_for_the_cache() -> None:
    assert _options(torch.device("cpu"))["post_grad_custom_post_pass"] is hoisted_numbers()
    assert hoisted_numbers().uuid()
