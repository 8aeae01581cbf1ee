"""A pass over a graph of torch's compiler, so that numbers are computed once and not again for every vector.

torch 2.13 puts what a step computes from single numbers, such as Adam's 1 - 0.999**step, into the loops over the
parameters, and the C++ compiler leaves it there: two calls of pow() for each 16 weights.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, fx


@cache
def hoisted_numbers() -> Any:
    """The pass, for `post_grad_custom_post_pass` of torch's compiler."""
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class NumbersApart(CustomGraphPass):
        def __call__(self, graph: fx.Graph) -> None:
            _hoisted(graph)

        def uuid(self) -> str:
            return "lumbre, numbers apart, 3"

    return NumbersApart()


def _hoisted(graph: fx.Graph) -> None:
    """Give each number that a graph computes a place in memory, where an operation on larger tensors needs it."""
    hoisted: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        value: Any = node.meta.get("val")
        if node.op != "call_function" or all(map(_is_number, value if isinstance(value, (list, tuple)) else [value])):
            continue
        for number in node.all_input_nodes:
            if number.op != "call_function" or not _is_computed(number.meta.get("val")):
                continue
            if number not in hoisted:
                with graph.inserting_after(number):
                    # What is viewed must have a place in memory; the view itself costs nothing.
                    hoisted[number] = graph.call_function(torch.ops.aten.as_strided.default, (number, [], []))
                hoisted[number].meta.update(number.meta)
            node.replace_input_with(number, hoisted[number])


def _is_computed(value: Any) -> bool:
    """A number with memory of its own. One that is read out of a larger tensor, as x[1, 0] is, has its place there.

    A view of it would be another number: torch 2.11 forgets where in the larger tensor it lies.
    """
    return _is_number(value) and value.untyped_storage().nbytes() == value.element_size()


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()
