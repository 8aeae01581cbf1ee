"""Numbers of any kind as a tensor from which rows can be taken."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError

_MOST_DENSE = 1 << 26  # numbers of a sparse tensor or matrix that is made dense at once


_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def _in_rows(tensor: Tensor) -> Tensor:
    """A tensor from which rows can be taken: dense, and without what autograd knows of it.

    Raises:
        DataError: its rows differ in length, are masked or not there, or it is sparse and too large.
    """
    kind = type(tensor).__name__
    if tensor.is_nested or kind == "MaskedTensor" or tensor.is_meta:
        kind = "nested tensor" if tensor.is_nested else "tensor on the device meta" if tensor.is_meta else kind
        raise DataError(
            f"a {kind}",
            "a tensor with a row of the same shape for each example, whose numbers are all there",
            "torch.nested.to_padded_tensor(x, 0.0), which fills the rows up; tensor.get_data() or tensor.to_tensor(0.0)"
            " for one with a mask",
        )
    if tensor.layout != torch.strided:
        if tensor.numel() > _MOST_DENSE:
            raise DataError(
                f"a sparse tensor of shape {tuple(tensor.shape)}",
                f"one of up to {_MOST_DENSE} numbers, which is made dense, or one of SciPy",
                "scipy.sparse.csr_matrix, of which the rows of a batch are made dense when they are asked for",
            )
        tensor = tensor.to_dense()
    return tensor.detach() if tensor.requires_grad else tensor


def _short(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Floats of more than 64 bits, which torch has not, as float64."""
    with np.errstate(over="ignore"):
        found = array.astype(np.float64)
    beyond = np.isinf(found) & ~np.isinf(array)
    if beyond.any():
        raise DataError(
            f"an array with {array[beyond][0]}, beyond float64",
            f"numbers up to {np.finfo(np.float64).max:.2g}",
            "look at these rows: they may be marks for missing values; or take the logarithm",
        )
    return found


def refuse_masked(value: Any) -> None:
    """See that nothing is missing in an array with a mask.

    Raises:
        DataError: something is.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(
            f"a masked array with {int(np.ma.count_masked(value))} masked values",
            "numbers without gaps: the mask would be lost, and what lies under it taken for values",
            "value.filled(...), or leave these rows out",
        )


def as_tensor(value: Any) -> Tensor:
    """An array or sequence of numbers as a tensor: float32 and 64 in torch's default dtype, small integers widened.

    Raises:
        DataError: the values are no numbers, or too large for that type.
    """
    if isinstance(value, Tensor):
        rows = _in_rows(value)
        if rows.dtype not in _UNSIGNED:
            return rows
        value = rows.cpu().numpy()  # torch can't take rows of these types
    try:
        array = np.asanyarray(value)  # variables of netCDF4 give masked arrays, too
    except ValueError as error:
        raise DataError(
            f"a {type(value).__name__} whose parts differ in shape: {error}",
            "rows of the same length",
            "pad or cut them to one length; or a torch Dataset of rows, and a DataLoader that puts them together",
        ) from error
    except (TypeError, RuntimeError) as error:  # of arrays on a device, or sparse ones, that do not become NumPy's
        raise DataError(
            f"a {type(value).__name__} that gives no NumPy array: {error}",
            "numbers that NumPy can take",
            "numpy.asarray(...) of it, by way of its own library: .get() for CuPy, .todense() for sparse",
        ) from error
    refuse_masked(array)
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"values of type {array.dtype}, such as {array.reshape(-1).tolist()[0]!r}" if array.size else "no values",
            "numbers",
            "encode them first; lumbre.data.from_frame(df, target=...) does it for data frames",
        )
    if array.dtype == np.uint64 and array.size and array.max() >= 2**63:
        raise DataError(
            f"whole numbers beyond int64, such as {array.max()}",
            "numbers up to 2**63 - 1",
            "array.astype(float) for measurements",
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = _short(array)
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64, copy=False)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    # A module has weights of the default dtype, whatever NumPy made of a file.
    made = tensor.to(torch.get_default_dtype()) if tensor.dtype in (torch.float32, torch.float64) else tensor
    if made.dtype != tensor.dtype and int(made.isinf().sum()) > int(tensor.isinf().sum()):
        kind = str(made.dtype).removeprefix("torch.")
        raise DataError(
            f"an array with {tensor[made.isinf() & ~tensor.isinf()][0]:g}, beyond {kind}",
            f"numbers up to {torch.finfo(made.dtype).max:.2g}",
            "look at these rows: they may be marks for missing values; or take the logarithm",
        )
    return made
