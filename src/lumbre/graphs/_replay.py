"""A step recorded once as a CUDA graph, and replayed on batches that are copied to where it reads."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lumbre.base import Nested, cloned, leaves

Step = Callable[..., tuple[Nested, Tensor]]


class Replay:
    """A step whose kernels are started all at once: what calling torch costs for each of them is saved.

    Random numbers go on being drawn: torch hands the generator's seed of the moment to every replay.

    Args:
        step: takes the arguments, changes what it holds in place, and gives prediction and loss.
        arguments: an example of them.
    """

    def __init__(self, step: Step, arguments: tuple[Any, ...]) -> None:
        self._inputs = cloned(arguments)
        self._places = _tensors(self._inputs)
        self._start, self._outputs = recorded(step, self._inputs)

    def __call__(self, arguments: tuple[Any, ...]) -> tuple[Nested, Tensor]:
        """A step: prediction and loss, copies of their own since the next replay writes over the graph's."""
        for place, leaf in zip(self._places, _tensors(arguments), strict=True):
            place.copy_(leaf, non_blocking=True)
        self._start()
        pred, loss = self._outputs
        return cloned(pred), loss.clone()


def recorded(step: Step, inputs: tuple[Any, ...]) -> tuple[Callable[[], None], tuple[Nested, Tensor]]:
    """What starts the recorded step, and where its results will be. Recording itself computes nothing."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        outputs = step(*inputs)
    return graph.replay, outputs


def _tensors(arguments: tuple[Any, ...]) -> list[Tensor]:
    return [leaf for leaf in leaves(arguments) if isinstance(leaf, Tensor)]
