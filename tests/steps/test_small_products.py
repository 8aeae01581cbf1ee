"""Products of small matrices in a compiled step by oneDNN's kernels, and by torch where they do not suit."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.base import mkl_is_slow
from lumbre.graphs import _compile, obstacle
from lumbre.graphs import _small_products as small
from lumbre.steps import unproved

pytestmark = [
    pytest.mark.skipif(obstacle(torch.device("cpu")) is not None, reason=str(obstacle(torch.device("cpu")))),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]
_UNPROVED = unproved("our own products")
here = pytest.mark.skipif(
    not mkl_is_slow() or _UNPROVED is not None, reason=_UNPROVED or "no AMD processor with AVX-512 and bfloat16"
)
MARK = 12345.0


def traced(function: Callable[..., Any], *arguments: Any) -> Any:
    torch._dynamo.reset()
    with _compile._tracing(_compile._options(torch.device("cpu")) | small.small_products()):
        return torch.compile(function, fullgraph=True, dynamic=False)(*arguments)


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that is made here says so in its first number."""
    source = small._source().replace("  return true;\n}", f"  o.data[0] = {MARK};\n  return true;\n}}")
    monkeypatch.setattr(small, "_source", lambda: source)
    monkeypatch.setattr(small, "_MOST_MULTIPLICATIONS", 1_000_000 * torch.get_num_threads() ** 2)


def linear(x: Tensor, weight: Tensor, bias: Tensor, upstream: Tensor) -> tuple[Tensor, ...]:
    """The four forms in which the products of a layer come: with a bias, and with transposed factors."""
    return torch.addmm(bias, x, weight.t()), upstream @ weight, upstream.t() @ x, x @ weight.t()


def every(layers: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """All layers in one graph: a graph of its own for each would take seconds to compile."""
    return [linear(*layer) for layer in layers]


@here
@pytest.mark.usefixtures("marked")
def test_products_of_layers_are_made_here_and_large_ones_are_not() -> None:
    shapes = [(17, 5, 3), (32, 20, 64), (128, 64, 2), (600, 5, 33), (40, 700, 4), (200, 100, 60)]
    layers = [
        (torch.randn(rows, deep), torch.randn(columns, deep), torch.randn(columns), torch.randn(rows, columns))
        for rows, deep, columns in shapes
    ]
    for (rows, deep, columns), layer, products in zip(shapes, layers, traced(every, layers), strict=True):
        large = rows * deep * columns > 1_000_000
        assert large == (rows == 200)
        exact = linear(*(part.double() for part in layer))
        for found, wanted in zip(products, exact, strict=True):
            assert (found.flatten()[0] == MARK) == (not large)
            torch.testing.assert_close(found.double().flatten()[1:], wanted.flatten()[1:], rtol=1e-4, atol=1e-4)


@here
def test_single_rows_and_columns_and_a_bias_that_is_spread_come_out_right() -> None:
    """Where memory beyond a factor is no part of it."""
    layers: list[tuple[Tensor, ...]] = []
    for rows, deep, columns in [(1, 1, 1), (1, 300, 17), (9, 700, 1), (20, 1, 30), (64, 8, 8)]:
        for size in sorted({1, columns}):
            x, weight, upstream = torch.randn(rows, deep), torch.randn(columns, deep), torch.randn(rows, columns)
            bias = torch.full((2 * columns,), 1e9)[:size].copy_(torch.randn(size))
            layers.append((x, weight, bias, upstream))
    for layer, products in zip(layers, traced(every, layers), strict=True):
        exact = linear(*(part.double() for part in layer))
        for found, wanted in zip(products, exact, strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


@here
@pytest.mark.usefixtures("marked")
def test_parts_of_matrices_suit_and_other_numbers_are_left_to_torch() -> None:
    def times(pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return [left @ right for left, right in pairs]

    left, right = torch.randn(12, 20), torch.randn(20, 8)
    narrow = torch.randn(20, 30)[:, 3:11]
    pairs = [(left, right), (left, narrow), (left.double(), right.double()), (left.bfloat16(), right.bfloat16())]
    here_made = [True, True, False, False]
    for (a, b), made, found in zip(pairs, here_made, traced(times, pairs), strict=True):
        assert (found.flatten()[0] == MARK) == made
        torch.testing.assert_close(found.flatten()[1:], (a @ b).flatten()[1:], rtol=1e-2, atol=1e-4)


@here
def test_a_sum_with_factors_comes_out_right() -> None:
    def weighted(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return torch.addmm(bias, left, right, beta=0.5, alpha=2.0)

    arguments = torch.randn(30), torch.randn(40, 20), torch.randn(20, 30)
    torch.testing.assert_close(traced(weighted, *arguments), weighted(*arguments), rtol=1e-4, atol=1e-4)


@here
@pytest.mark.slow
def test_a_torch_that_does_not_take_the_code_compiles_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "_source", lambda: "int nothing(")
    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = recipe.fit(blobs(60), epochs=2, batch_size=10, engine="compiled", verbose=False)
    assert fitted.engine.startswith("compiled"), fitted.engine


@here
@pytest.mark.slow
def test_a_onednn_that_may_not_use_the_whole_processor_gives_the_same_numbers() -> None:
    code = (
        "import torch; from test_small_products import linear, traced;"
        "given = torch.randn(64, 20), torch.randn(32, 20), torch.randn(32), torch.randn(64, 32);"
        "[torch.testing.assert_close(a, b) for a, b in zip(traced(linear, *given), linear(*given))]"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=True, timeout=300)


def test_other_processors_keep_the_products_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "mkl_is_slow", lambda: False)
    assert small.small_products() == {}
