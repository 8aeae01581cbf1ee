"""Tensors that a safetensors file has no place for, as ones that it has: sparse ones, and types that it does not know.

Nothing is rounded: a sparse tensor is kept by its parts, and numbers of other types by their bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lumbre.base import ArchiveError

_PLAIN = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
}
# Other types are kept as bytes; each is named here, so that no name in a file is looked up.
_BY_BYTES = {
    str(dtype): dtype
    for name in ("complex128", "complex32", "float8_e8m0fnu", "float4_e2m1fn_x2", "uint16", "uint32", "uint64")
    if (dtype := getattr(torch, name, None)) is not None
}
_COMPRESSED: Mapping[torch.layout, tuple[str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Any]] = {
    torch.sparse_csr: ("csr", Tensor.crow_indices, Tensor.col_indices, torch.sparse_csr_tensor),
    torch.sparse_bsr: ("bsr", Tensor.crow_indices, Tensor.col_indices, torch.sparse_bsr_tensor),
    torch.sparse_csc: ("csc", Tensor.ccol_indices, Tensor.row_indices, torch.sparse_csc_tensor),
    torch.sparse_bsc: ("bsc", Tensor.ccol_indices, Tensor.row_indices, torch.sparse_bsc_tensor),
}
_MAKERS = {name: make for name, _, _, make in _COMPRESSED.values()}


def is_plain(tensor: Tensor) -> bool:
    """Whether a safetensors file holds it as it is."""
    return tensor.layout == torch.strided and not tensor.is_quantized and tensor.dtype in _PLAIN


def plain_parts(tensor: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors that together are `tensor`, by name, and what else must be known to make it of them.

    Raises:
        ArchiveError: it cannot be kept.
    """
    tensor = tensor.detach()
    shape = list(tensor.shape)
    if tensor.layout == torch.sparse_coo:
        parts, form = {"indices": tensor._indices(), "values": tensor._values()}, "coo"
        return _with_values(parts, {"form": form, "shape": shape, "coalesced": tensor.is_coalesced()})
    if tensor.layout in _COMPRESSED:
        form, outer, inner, _ = _COMPRESSED[tensor.layout]
        parts = {"outer": outer(tensor), "inner": inner(tensor), "values": tensor.values()}
        return _with_values(parts, {"form": form, "shape": shape})
    if tensor.layout != torch.strided or tensor.is_quantized or str(tensor.dtype) not in _BY_BYTES:
        raise ArchiveError(
            f"a tensor of layout {tensor.layout} and type {tensor.dtype}",
            "tensors that are dense or sparse, of numbers",
            "register_buffer(..., persistent=False), and make it in the module's constructor",
        )
    plain = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1)
    return {"bytes": plain.view(torch.uint8)}, {"form": "bytes", "shape": shape, "dtype": str(tensor.dtype)}


def from_parts(parts: Mapping[str, Tensor], told: Mapping[str, Any]) -> Tensor:
    """The tensor that `plain_parts` was given.

    Raises:
        ValueError, KeyError, TypeError, RuntimeError: they are nothing that it gives.
    """
    form, shape = told["form"], told["shape"]
    if form == "bytes":
        return parts["bytes"].view(_BY_BYTES[told["dtype"]]).reshape(shape)
    values = parts["values"]
    if "values" in told:
        values = from_parts({"bytes": values}, told["values"])
    with torch.sparse.check_sparse_tensor_invariants():  # as an argument, torch before 2.13 warns of it all the same
        if form != "coo":
            return _MAKERS[form](parts["outer"], parts["inner"], values, shape)
        made = torch.sparse_coo_tensor(parts["indices"], values, shape)
    return made._coalesced_(True) if told["coalesced"] is True and _ascends(parts["indices"], shape) else made


def _ascends(indices: Tensor, shape: list[int]) -> bool:
    """Whether no place comes twice or before another, so that a file that says so can be believed."""
    flat = torch.zeros(indices.shape[1], dtype=torch.int64)
    for row, size in zip(indices, shape, strict=False):
        flat = flat * size + row
    return bool((flat.diff() > 0).all())


def _with_values(parts: dict[str, Tensor], told: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if is_plain(parts["values"]):
        return parts, told
    inner, values = plain_parts(parts["values"])
    return {**parts, "values": inner["bytes"]}, {**told, "values": values}
