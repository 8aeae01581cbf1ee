"""A model for programs without lumbre: ONNX, or a program of torch.export; each is tried before its file is there."""

import copy
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lumbre.base import (
    ArchiveError,
    DataError,
    Nested,
    OptionError,
    caller,
    import_extra,
    leaves,
    map_leaves,
    written_beside,
)
from lumbre.run import Session

_KINDS = (".onnx", ".pt2")
# An ONNX file itself cannot hold 2 GB; beyond this the weights go into a file beside it.
_LARGEST_IN_ONE_BYTES = 1_500_000_000
_TOLERANCE = 1e-4


def export(session: Session, path: Path, example: Nested) -> None:
    """Write what `predict()` computes to `path`, in the format of its suffix.

    Args:
        session: the model.
        path: where to.
        example: an input of two rows or more, on any device.
    """
    if path.suffix not in _KINDS:
        raise OptionError(
            f"export({str(path)!r})", "a name that ends in .onnx or .pt2", f"export({path.stem + '.onnx'!r})"
        )
    if not os.access(path.parent, os.W_OK):
        raise ArchiveError(f"{path}, in no folder that can be written", "a folder that is there", "another path")
    model = copy.deepcopy(session.model).cpu().eval()
    function: Any = getattr(model, "predict", model)
    given = map_leaves(lambda leaf: leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf, example)
    tensors = [leaf for leaf in leaves(given) if isinstance(leaf, Tensor)]
    call = caller(function, given)
    module = model if call is model else _Predict(model, call, given)
    names = ["input"] if len(tensors) == 1 else [f"input_{i}" for i in range(len(tensors))]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # One row and two would be taken for all that there can be; the check uses one more.
        other = [torch.cat([tensor, tensor[:1]]) for tensor in tensors]
        expected = [leaf for leaf in leaves(module(*other)) if isinstance(leaf, Tensor)]
        program = _program(module, tensors, path)
        write = _write_onnx if path.suffix == ".onnx" else _write_program
        try:
            with written_beside(path) as temporary:
                found = write(program, module, temporary, names, other)
                _compare(path, found, expected)
        except OSError as error:
            raise ArchiveError(
                f"{path}, which cannot be written: {error}",
                "a path in a folder that is there and writable",
                "another path",
            ) from error


def example_input(session: Session) -> Nested:
    """Two rows of the types and shapes of the training data, of chance, whole numbers 0.

    Raises:
        DataError: nothing is known of the training data.
    """
    record = session.record.data.get("train")
    if record is None or record.input is None:
        raise DataError(
            "a model of whose training data no shapes are known",
            "rows that show what goes in",
            "fitted.export(path, data), with data as for predict()",
        )
    generator = torch.Generator().manual_seed(0)

    def made(text: Any) -> Any:
        kind, _, sizes = str(text).partition(" (rows")
        dtype = getattr(torch, kind, None)
        if not isinstance(dtype, torch.dtype) or not sizes.endswith(")"):
            raise DataError(f"an input of the type {text!r}", "tensors", "fitted.export(path, data)")
        shape = [2, *(int(size) for size in sizes[:-1].split(",") if size.strip())]
        if dtype.is_floating_point:
            return torch.rand(shape, generator=generator).to(dtype)
        return torch.zeros(shape, dtype=dtype)

    return map_leaves(lambda text: None if text is None else made(text), record.input)


class _Predict(nn.Module):
    """A module of tensors one after the other, around one that takes a structure of them, or has a `predict`."""

    def __init__(self, model: nn.Module, call: Callable[[Nested], Nested], given: Nested) -> None:
        super().__init__()
        self.model = model
        self._call = call
        self._given = given

    def forward(self, *tensors: Tensor) -> Nested:
        rest: Iterator[Tensor] = iter(tensors)
        return self._call(map_leaves(lambda leaf: next(rest) if isinstance(leaf, Tensor) else leaf, self._given))


def _program(module: nn.Module, tensors: list[Tensor], path: Path) -> Any:
    import torch.export

    if path.suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            import_extra(package, "onnx", "write ONNX files and try them")
    shapes: Any = tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)
    try:
        return torch.export.export(
            module, tuple(tensors), dynamic_shapes=(shapes,) if isinstance(module, _Predict) else shapes
        )
    except Exception as error:  # torch.export refuses in many ways, all of them the module's
        raise ArchiveError(
            f"{type(module).__name__}, which torch.export cannot follow: {str(error)[:300]}",
            "a forward without decisions on values, for any number of rows",
            "see the cause above; torch.cond and torch.where express decisions",
        ) from error


def _write_program(
    program: Any, module: nn.Module, path: Path, names: list[str], inputs: list[Tensor]
) -> list[np.ndarray[Any, Any]]:
    torch.export.save(program, path)
    # What was just written by this process, and nobody else, is read back.
    found = torch.export.load(path).module()(*inputs)
    return [leaf.numpy() for leaf in leaves(found) if isinstance(leaf, Tensor)]


def _write_onnx(
    program: Any, module: nn.Module, path: Path, names: list[str], inputs: list[Tensor]
) -> list[np.ndarray[Any, Any]]:
    runtime: Any = import_extra("onnxruntime", "onnx", "try ONNX files")
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > _LARGEST_IN_ONE_BYTES:
        raise ArchiveError(
            f"a model of {size:,} bytes", "one that fits into an ONNX file, 1.5 GB", 'fitted.export("m.pt2")'
        )
    torch.onnx.export(program, tuple(inputs), path, dynamo=True, input_names=names, external_data=False, verbose=False)
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    running = runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    wanted = {slot.name for slot in running.get_inputs()}
    fed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True) if name in wanted}
    return list(running.run(None, fed))


def _compare(path: Path, found: list[np.ndarray[Any, Any]], expected: list[Tensor]) -> None:
    for ours, theirs in zip(expected, found, strict=True):
        mine = ours.numpy().astype(np.float64)
        scale = max(1.0, float(np.abs(mine).max(initial=0.0)))
        gap = float(np.abs(mine - theirs).max(initial=0.0)) if mine.shape == theirs.shape else np.inf
        if not gap <= _TOLERANCE * scale:
            raise ArchiveError(
                f"{path}, whose program gives other numbers than the model: {gap:.3g} apart at {scale:.3g}",
                f"the same within {_TOLERANCE:g}",
                "report it, with the module, to the makers of the format's exporter",
            )
