"""oneDNN's products: asked for where they are faster and exact, and nowhere else."""

import pytest
import torch
from torch import Tensor

from lumbre.base import mkl_is_slow
from lumbre.devices import _products, onednn_gains, onednn_products
from lumbre.devices._wanted import WhileWanted

CPU = torch.device("cpu")
AMD = {"cpu_name": "AMD EPYC 9B45", "avx512_bf16": True, "amx_tile": False}

here = pytest.mark.skipif(not onednn_gains(CPU), reason="no AMD processor with AVX-512 and bfloat16")


def on_a(monkeypatch: pytest.MonkeyPatch, **capabilities: object) -> bool:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**AMD, **capabilities})
    mkl_is_slow.cache_clear()
    try:
        return onednn_gains(CPU)
    finally:
        mkl_is_slow.cache_clear()


@here
def test_products_are_float32_and_torch_is_as_it_was() -> None:
    assert onednn_gains(CPU)
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.mkldnn.matmul.fp32_precision == "none"
    assert torch.backends.cuda.matmul.fp32_precision == "none"


@pytest.mark.parametrize("bits", [8, 11])  # of bfloat16, and of the TF32 of graphics processors
def test_products_that_are_rounded_are_found_out(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Tensor.__matmul__

    def rounded(value: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(value)
        return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)

    def product(left: Tensor, right: Tensor) -> Tensor:
        return exact(rounded(left), rounded(right)) if left.dtype == torch.float32 else exact(left, right)

    monkeypatch.setattr(Tensor, "__matmul__", product)
    assert not _products._is_exact.__wrapped__()


@here
def test_the_user_who_has_set_a_precision_keeps_it() -> None:
    torch.set_float32_matmul_precision("highest")
    try:
        assert not onednn_gains(CPU)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        torch.backends.cuda.matmul.fp32_precision = "none"
    with onednn_products(True):
        assert onednn_gains(CPU)  # ours does not count as the user's


def test_processors_on_which_mkl_is_fast_or_onednn_rounds_keep_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_products, "_is_exact", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert on_a(monkeypatch) == (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available())
    assert not on_a(monkeypatch, cpu_name="Intel(R) Xeon(R) Platinum 8275CL")
    assert not on_a(monkeypatch, amx_tile=True)
    assert not on_a(monkeypatch, avx512_bf16=False)
    assert not onednn_gains(torch.device("meta"))


def test_a_setting_holds_from_the_first_who_wants_it_to_the_last() -> None:
    reported: list[str] = []

    def turn_on():
        reported.append("on")
        return lambda: reported.append("off")

    wanted = WhileWanted(turn_on)
    first, second = wanted(), wanted()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # the first to enter need not leave last
    assert reported == ["on"]
    assert wanted.on
    second.__exit__(None, None, None)
    assert not wanted.on
    with pytest.raises(KeyError), wanted():
        raise KeyError
    assert reported == ["on", "off", "on", "off"]
