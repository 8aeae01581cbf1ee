"""A model for programs without lumbre: ONNX, or a program of torch.export; each is tried before its file is there."""

import copy
import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lumbre.base import (
    ArchiveError,
    DataError,
    LumbreError,
    Nested,
    OptionError,
    caller,
    cloned,
    describe,
    import_extra,
    is_batch,
    leaves,
    map_leaves,
    own_method,
    written_beside,
)
from lumbre.data import Column, FrameEncoding
from lumbre.run import Session

_KINDS = (".onnx", ".pt2")
# An ONNX file itself cannot hold 2 GB; beyond this the weights go into a file beside it.
_LARGEST_IN_ONE_BYTES = 1_500_000_000
_TOLERANCE = 1e-4
_MANY_ROWS = 35  # more than a batch of 32, at which a module may branch
_TRIED_ROWS = 100_000
# The name under which a file says how its columns are encoded: of a file in ".pt2", of metadata in ".onnx".
METADATA = "lumbre.json"


def export(session: Session, path: Path, example: Nested, tell: Callable[[str], None]) -> None:
    """Write what `predict()` computes to `path`, in the format of its suffix.

    Args:
        session: the model.
        path: where to.
        example: an input of a row or more, on any device, encoded.
        tell: is told of the columns that the file takes, where the model was trained on those of a frame; and of the
            most rows that it takes, where there is such a number.
    """
    if path.suffix not in _KINDS:
        raise OptionError(
            f"export({str(path)!r})", "a name that ends in .onnx or .pt2", f"export({path.stem + '.onnx'!r})"
        )
    if not os.access(path.parent, os.W_OK):
        raise ArchiveError(f"{path}, in no folder that can be written", "a folder that is there", "another path")
    module, tensors = _module(session, example)
    names = ["input"] if len(tensors) == 1 else [f"input_{i}" for i in range(len(tensors))]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # What is a branch for one row, or what is traced for as many rows as there were, shows with other numbers.
        trials = [[_repeated(tensor, rows) for tensor in tensors] for rows in (len(tensors[0]) + 2, 1, 2, _MANY_ROWS)]
        expected = [_said(module, f"run for {_rows(inputs)}", _outputs, module, inputs) for inputs in trials]
        program = _program(module, [_repeated(tensor, max(3, len(tensor))) for tensor in tensors], path)
        most = _most_rows(program)
        # A file of ONNX takes more rows all the same: they must be right.
        if path.suffix == ".onnx" and most is not None and _MANY_ROWS <= most < _TRIED_ROWS:
            trials.append([_repeated(tensor, most + 1) for tensor in tensors])
            expected.append(_said(module, f"run for {_rows(trials[-1])}", _outputs, module, trials[-1]))
        write = _write_onnx if path.suffix == ".onnx" else _write_program
        try:
            with written_beside(path) as temporary:
                run = _said(module, "written", write, program, module, temporary, names, _metadata(session))
                for inputs, wanted in zip(trials, expected, strict=True):
                    found = _said(module, f"run from its file for {_rows(inputs)}", run, inputs)
                    _compare(path, len(inputs[0]), found, wanted)
        except OSError as error:
            raise ArchiveError(
                f"{path}, which cannot be written: {error}",
                "a path in a folder that is there and writable",
                "another path",
            ) from error
    if path.suffix == ".pt2" and most is not None:
        tell(f"{path.name} takes at most {most} rows at a time: the module decides on the number of rows there.")
    if session.encoding is not None:
        tell(_sentence(path, session.encoding))


def _most_rows(program: Any) -> int | None:
    """The most rows that a program takes, where a module branches on their number; None for any number."""
    sizes = [one for name, one in program.range_constraints.items() if str(name).startswith("s")]
    limits = [int(str(one.upper)) for one in sizes if str(one.upper).isdigit()]  # or "int_oo", without an end
    return min(limits, default=None)


def example_input(session: Session) -> Nested:
    """Three rows of the types and shapes of the training data, of chance, for which the model gives finite numbers.

    Raises:
        DataError: nothing is known of the training data, or there are no such rows.
    """
    record = session.record.data.get("train")
    if record is None or record.input is None:
        raise DataError(
            "a model of whose training data no shapes are known",
            "rows that show what goes in",
            "fitted.export(path, data), with data as for predict()",
        )
    # Zero is the one whole number that surely is in range, and the one that most often stands for padding.
    tables = [
        part.num_embeddings for part in session.model.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag))
    ]
    for limit in (min(tables, default=2), 2, 1):
        generator = torch.Generator().manual_seed(0)
        made = map_leaves(lambda text: None if text is None else _made(text, limit, generator), record.input)  # noqa: B023
        try:
            given = map_leaves(lambda leaf: leaf.to(session.device) if isinstance(leaf, Tensor) else leaf, made)
            found = [leaf for leaf in leaves(session.predict_step(given)) if isinstance(leaf, Tensor)]
        except Exception:  # a number out of range, for example
            continue
        if all(not leaf.isnan().any() for leaf in found):
            return made
    raise DataError(
        "a model that gives no numbers for rows of chance in the shape of its training data",
        "rows that show what goes in",
        "fitted.export(path, data), with data as for predict()",
    )


def _made(text: Any, limit: int, generator: torch.Generator) -> Tensor:
    kind, _, sizes = str(text).partition(" (rows")
    dtype = getattr(torch, kind, None)
    if not isinstance(dtype, torch.dtype) or not sizes.endswith(")"):
        raise DataError(f"an input of the type {text!r}", "tensors", "fitted.export(path, data)")
    shape = [3, *(int(size) for size in sizes[:-1].split(",") if size.strip())]
    if dtype.is_floating_point or dtype.is_complex:
        return torch.rand(shape, generator=generator).to(dtype)
    return torch.randint(min(1, limit - 1), limit, shape, generator=generator).to(dtype)


def _module(session: Session, example: Nested) -> tuple[nn.Module, list[Tensor]]:
    """What is exported, a module of tensors one after the other, and these tensors."""
    model: nn.Module = _said(session.model, "copied", copy.deepcopy, session.model).cpu()
    model.eval()
    given = map_leaves(_on_cpu, example)
    tensors = [one for leaf in leaves(given) for one in tree_leaves(leaf) if isinstance(one, Tensor)]
    if not tensors:
        raise ArchiveError(
            f"an input that is a {describe(given)}, in which no tensors are seen",
            "tensors, in tuples, lists and dicts, or in objects that torch.utils._pytree knows",
            "a dict of tensors, to train on and to export; most modules take it like the object",
        )
    function: Any = model.predict if own_method(model, "predict") else model
    call = caller(function, given)
    with torch.no_grad():
        plain = not _has_names(_said(model, f"run for {_rows(tensors)}", call, cloned(given)))
    module = model if call is model and isinstance(given, Tensor) and plain else _Predict(model, call, given)
    encoding = session.encoding
    if session.units is not None:
        module = _InUnits(module, session.units)
    if encoding is None or not in_graph(encoding):
        return module, tensors
    encoded = _Encoded(module, encoding)
    return encoded, [encoded.columns(tensors[0])]


def _on_cpu(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().cpu()
    return leaf.to("cpu") if is_batch(leaf) else leaf


def in_graph(encoding: FrameEncoding) -> bool:
    """Whether all columns are numbers without gaps, so that a program can encode them itself."""
    plain = all(column.kind in ("number", "boolean") and not column.gaps for column in encoding.features)
    return plain and encoding.standardize != "robust"


class _Predict(nn.Module):
    """A module of tensors one after the other, around one that takes a structure of them, or has a `predict`."""

    def __init__(self, model: nn.Module, call: Callable[[Nested], Nested], given: Nested) -> None:
        super().__init__()
        self.model = model
        self._call = call
        self._given = given

    def forward(self, *tensors: Tensor) -> Nested:
        rest: Iterator[Tensor] = iter(tensors)
        # An object that holds rows of tensors, such as a TensorDict, is taken apart as torch does it.
        given = map_leaves(
            lambda leaf: tree_map(lambda one: next(rest) if isinstance(one, Tensor) else one, leaf), self._given
        )
        return _without_names(self._call(given))


def _has_names(value: Nested) -> bool:
    """Whether an output holds a named tuple or an object with rows of tensors, which a program is not to hold."""
    if is_batch(value):
        return True
    if isinstance(value, dict):
        return any(map(_has_names, value.values()))
    return isinstance(value, (tuple, list)) and (hasattr(value, "_fields") or any(map(_has_names, value)))


def _without_names(value: Nested) -> Nested:
    """An output with tuples in the place of named ones, and dicts or tuples in that of objects with rows of tensors."""
    if is_batch(value):
        table: Any = value
        named = isinstance(table, Mapping)
        parts: Any = {name: table[name] for name in table.keys()} if named else tuple(tree_leaves(table))  # noqa: SIM118
        return _without_names(parts)
    if isinstance(value, dict):
        return {key: _without_names(part) for key, part in value.items()} if _has_names(value) else value
    if isinstance(value, (tuple, list)):
        return (list if type(value) is list else tuple)(map(_without_names, value))
    return value


class _InUnits(nn.Module):
    """A module whose output is brought to the units of the target."""

    def __init__(self, model: nn.Module, units: Callable[[Nested], Nested]) -> None:
        super().__init__()
        self.model = model
        self._units = units

    def forward(self, *tensors: Tensor) -> Nested:
        return self._units(self.model(*tensors))


class _Encoded(nn.Module):
    """A module of columns as they were measured, shape (rows, features): it standardises them as the encoding does."""

    def __init__(self, model: nn.Module, encoding: FrameEncoding) -> None:
        super().__init__()
        self.model = model
        self.center: Tensor
        self.scale: Tensor
        pairs = iter(zip(encoding.center, encoding.scale, strict=True))
        both = [next(pairs, (0.0, 1.0)) if one.kind == "number" else (0.0, 1.0) for one in encoding.features]
        self.register_buffer("center", torch.tensor([center for center, _ in both], dtype=torch.float64))
        self.register_buffer("scale", torch.tensor([scale for _, scale in both], dtype=torch.float64))

    def forward(self, input: Tensor) -> Nested:
        # In float64, as the encoding computes: a small spread far from zero loses its digits otherwise.
        return self.model(((input.double() - self.center) / self.scale).to(input.dtype))

    def columns(self, encoded: Tensor) -> Tensor:
        """Columns that become `encoded`."""
        return (encoded.double() * self.scale + self.center).to(encoded.dtype)


def _metadata(session: Session) -> str | None:
    """What a program must know of the columns, as JSON; None for a model that was not trained on a frame."""
    encoding = session.encoding
    if encoding is None:
        return None
    return json.dumps(
        {
            "takes": "columns" if in_graph(encoding) else "encoded",
            "features": [asdict(column) | facts for column, facts in _facts(encoding)],
            "encoded": encoding.encoded,
            "categories": "one-hot" if encoding.one_hot else "codes",
            "standardize": encoding.standardize,
            "unknown": encoding.unknown,
            "missing": encoding.missing,
            "classes": session.classes,
            "targets": [column.name for column in encoding.targets],
        }
    )


def _facts(encoding: FrameEncoding) -> Iterator[tuple[Column, dict[str, Any]]]:
    """What was learned of each feature: centre and scale (of year and days of dates), median, first date."""
    pairs = iter(zip(encoding.center, encoding.scale, strict=True))
    fills, origins = iter(encoding.fill), iter(encoding.origin)
    for column in encoding.features:
        found = [next(pairs, (0.0, 1.0)) for _ in column.parts]
        center, scale = found[0] if found else (None, None)
        facts: dict[str, Any] = {"center": center, "scale": scale}
        if column.is_date:
            facts = {"center": [one for one, _ in found], "scale": [one for _, one in found]}
            facts["origin"] = next(origins, None)
        yield column, {**facts, "fill": next(fills, None) if column.measured else None}


def _sentence(path: Path, encoding: FrameEncoding) -> str:
    names = ", ".join(column.name for column in encoding.features)
    units = " Its output is in the units of the target." if encoding.units is not None else ""
    if in_graph(encoding):
        return f"{path.name} takes the columns {names} as they were measured: it encodes them itself.{units}"
    return (
        f"{path.name} takes encoded columns, not those of the frame. Names, centre, scale and categories of {names} are"
        f" in its metadata, {METADATA!r}, for the program that encodes them.{units}"
    )


def _rows(inputs: list[Tensor]) -> str:
    return f"{len(inputs[0])} row{'s' * (len(inputs[0]) > 1)}"


def _repeated(tensor: Tensor, rows: int) -> Tensor:
    return torch.cat([tensor] * -(-rows // len(tensor)))[:rows]


def _outputs(module: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    found = module(*inputs)
    tensors = [leaf for leaf in leaves(found) if isinstance(leaf, Tensor)]
    if not tensors:
        raise ArchiveError(
            f"a model that gives a {describe(found)}", "tensors", "define predict(self, x), which returns tensors"
        )
    if any(leaf.isnan().any() for leaf in tensors):
        raise DataError(
            f"rows for which the model itself gives NaN ({len(inputs[0])} of them)",
            "rows for which it gives numbers",
            "fitted.export(path, data), with such rows as data; none that are padding only",
        )
    return tensors


def _program(module: nn.Module, tensors: list[Tensor], path: Path) -> Any:
    import torch.export

    if path.suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            import_extra(package, "onnx", "write ONNX files and try them")
    shapes: Any = tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)
    gathers = any(one.kind is one.VAR_POSITIONAL for one in inspect.signature(module.forward).parameters.values())
    return _said(
        module, "followed", torch.export.export, module, tuple(tensors), dynamic_shapes=(shapes,) if gathers else shapes
    )


_HINTS = (
    ("Guard failed", "a forward that computes alike for any number of rows, without `if` on x.shape[0]"),
    ("data-dependent", "torch.where, or torch.cond, in place of `if` on values"),
    ("SymBool", "torch.where, or torch.cond, in place of `if` on values"),
    ("specialized", "x.shape[0] in place of len(x) or of a number of rows that is written down"),
    ("onstraint", "x.shape[0] in place of len(x) or of a number of rows that is written down"),
    ("ONNX", 'fitted.export("m.pt2"), as ONNX has no such operation; or another operation in the module'),
    ("onnx", 'fitted.export("m.pt2"), as ONNX has no such operation; or another operation in the module'),
)


def _said(module: nn.Module, what: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """`function` called; its failure in short, with what to change in the module."""
    try:
        return function(*arguments, **options)
    except (OSError, LumbreError):
        raise
    except Exception as error:  # exporters refuse in many ways, all of them the module's
        inner = module
        while isinstance(inner, (_Predict, _Encoded, _InUnits)):
            inner = inner.model
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ArchiveError(
            f"{type(inner).__name__}, which cannot be {what}: {type(cause).__name__}: {said[:200]}"
            if what != "followed"
            else f"{type(inner).__name__}, which torch.export cannot follow: {said[:200]}",
            "a forward without decisions on values, for any number of rows",
            next((hint for word, hint in _HINTS if word in str(cause) + type(error).__name__), _ANY_HINT),
        ) from error


_ANY_HINT = "an operation that the exporter knows; the original error stands above"


def _write_program(
    program: Any, module: nn.Module, path: Path, names: list[str], metadata: str | None
) -> Callable[[list[Tensor]], list[np.ndarray[Any, Any]]]:
    torch.export.save(program, path, extra_files=None if metadata is None else {METADATA: metadata})
    # What was just written by this process, and nobody else, is read back.
    read = torch.export.load(path).module()
    return lambda inputs: [_array(leaf) for leaf in leaves(read(*inputs)) if isinstance(leaf, Tensor)]


def _write_onnx(
    program: Any, module: nn.Module, path: Path, names: list[str], metadata: str | None
) -> Callable[[list[Tensor]], list[np.ndarray[Any, Any]]]:
    runtime: Any = import_extra("onnxruntime", "onnx", "try ONNX files")
    size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    if size > _LARGEST_IN_ONE_BYTES:
        raise ArchiveError(
            f"a model of {size:,} bytes", "one that fits into an ONNX file, 1.5 GB", 'fitted.export("m.pt2")'
        )
    made: Any = torch.onnx.export(program, (), dynamo=True, input_names=names, external_data=False, verbose=False)
    if metadata is not None:
        made.model.metadata_props[METADATA] = metadata
    made.save(path, external_data=False)
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    running = runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    wanted = {slot.name for slot in running.get_inputs()}

    def run(inputs: list[Tensor]) -> list[np.ndarray[Any, Any]]:
        fed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True) if name in wanted}
        return list(running.run(None, fed))

    return run


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Numbers as NumPy has them: bfloat16 as float32, complex ones as pairs."""
    plain = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).detach().numpy()


def _compare(path: Path, rows: int, found: list[np.ndarray[Any, Any]], expected: list[Tensor]) -> None:
    if len(found) != len(expected):
        raise ArchiveError(
            f"{path}, whose program gives {len(found)} tensors for the {len(expected)} of the model",
            "as many of both",
            "define predict(self, x) in the module, which returns what is wanted",
        )
    for ours, theirs in zip(expected, found, strict=True):
        mine = _array(ours).astype(np.float64)
        scale = max(1.0, float(np.abs(mine[np.isfinite(mine)]).max(initial=0.0)))
        gap = np.inf
        if mine.shape == theirs.shape:
            with np.errstate(invalid="ignore"):
                gap = float(np.where(mine == theirs, 0.0, np.abs(mine - theirs)).max(initial=0.0))
        close = max(_TOLERANCE, 4 * torch.finfo(ours.dtype).eps if ours.dtype.is_floating_point else 0.0)
        if not gap <= close * scale:
            raise ArchiveError(
                f"{path}, whose program gives other numbers than the model for {rows} row{'s' * (rows > 1)}:"
                f" {gap:.3g} apart at {scale:.3g}",
                f"the same within {close:g} for 1, 2 and more rows",
                "a forward that computes alike for any number of rows: a branch on x.shape[0] is written down as it was"
                " taken; for other modules report it to the makers of the exporter",
            )
