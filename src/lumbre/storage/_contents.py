"""What is in a file, without loading it into anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lumbre.base import ArchiveError, as_path
from lumbre.storage import _r
from lumbre.storage._archive import inspected, is_archive, read_archive
from lumbre.storage._files import readable
from lumbre.storage._tensors import Entry, entries_of, head_of, read_tensors

_EXPECTED = "a file of lumbre, of safetensors, or of R's torch or luz"
_MOST_LINES = 40
_LONGEST = 100
_ARCHIVE, _PLAIN, _OF_R = "lumbre archive", "safetensors", "file of R's torch or luz"


@dataclass(frozen=True, slots=True)
class FileContents:
    """What is in a file; it prints as a page.

    Attributes:
        path: the file.
        kind: "lumbre archive", "safetensors" or "file of R's torch or luz".
        size_bytes: of the file.
        tensors: type and shape by name, such as "float32 (3, 4)".
        document: what it holds beside tensors: of an archive hyper-parameters, recipe, history, and in
            `document["record"]` data, environment, and the receipt with the code.
    """

    path: Path
    kind: str
    size_bytes: int
    tensors: Mapping[str, str]
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __repr__(self) -> str:
        lines = [f"{self.path.name}: {self.kind}, {self.size_bytes:,} bytes"]
        lines += _told(self.document) if self.kind == _ARCHIVE else _entries("beside them", self.document)
        lines += _entries(f"{len(self.tensors)} tensors", self.tensors)
        return "\n".join(lines)


def inspect_file(path: str | Path) -> FileContents:
    """What is in a file: an archive of lumbre, a safetensors file, or a file of R's torch or luz.

    Of files of tensors the header alone is read, that of an archive is checked against its SHA-256; whether the tensors
    are whole, `load_weights` says. No class is needed, nothing is loaded into a model, and nothing in the file is run;
    the code in an archive is a text to read.

    Args:
        path: the file.

    Raises:
        ArchiveError: the file is not there, damaged, or of another kind.

    Example:
        >>> import torch, lumbre as lb
        >>> recipe = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD
        ... )
        >>> recipe = recipe.set_hparams(in_features=2, out_features=1)
        >>> fitted = recipe.fit((torch.zeros(4, 2), torch.zeros(4, 1)), epochs=1, verbose=False)
        >>> fitted.save("line.lumbre")
        >>> found = lb.inspect_file("line.lumbre")
        >>> found.kind, dict(found.tensors)
        ('lumbre archive', {'bias': 'float32 (1)', 'weight': 'float32 (1, 2)'})
    """
    file = as_path(path, 'the path of a file of weights: "model.lumbre"')
    kind, size, entries = _kind(file)
    if kind == _ARCHIVE:
        kinds, document = inspected(file)
        return FileContents(file, kind, size, _described(kinds), document)
    if kind == _PLAIN:
        return FileContents(file, kind, size, _described({one.name: (one.dtype, one.shape) for one in entries}))
    tensors: dict[str, Tensor] = {}
    rest = _without_tensors(_r.load(file), "", tensors)
    told = _described({name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()})
    return FileContents(file, kind, size, told, rest if isinstance(rest, dict) else {"value": rest})


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of an archive, or of a safetensors file, by name: no class is needed.

    For the weights of R's torch and luz there is `lumbre.r.load_weights`.

    Args:
        path: the file.

    Returns:
        Tensors on the CPU, ready for `module.load_state_dict()`.

    Raises:
        ArchiveError: the file is not there, damaged, or of another kind.

    Example:
        >>> import torch, lumbre as lb
        >>> recipe = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD
        ... )
        >>> recipe = recipe.set_hparams(in_features=2, out_features=1)
        >>> fitted = recipe.fit((torch.zeros(4, 2), torch.zeros(4, 1)), epochs=1, verbose=False)
        >>> fitted.save("line.lumbre")
        >>> torch.nn.Linear(2, 1).load_state_dict(lb.load_weights("line.lumbre"))
        <All keys matched successfully>
    """
    file = as_path(path, 'the path of a file of weights: "model.lumbre"')
    kind, _, _ = _kind(file)
    if kind == _OF_R:
        raise ArchiveError(f"{path}, a {kind}", "an archive of lumbre, or safetensors", "lumbre.r.load_weights(path)")
    return read_archive(file).tensors if kind == _ARCHIVE else _plain(file)


def _kind(path: Path) -> tuple[str, int, Sequence[Entry]]:
    """The kind of a file, its size, and the tensors of one that is no more than safetensors."""
    with readable(path, _EXPECTED) as file:
        head, size = head_of(file)
    if is_archive(head):  # however damaged: its reader says so
        return _ARCHIVE, size, ()
    if head[:2] in (b"\x1f\x8b", b"X\n", b"A\n", b"BZ", b"\xfd7"):
        return _OF_R, size, ()
    try:
        entries, metadata = entries_of(head, size)
        return (_OF_R if "__r__" in metadata else _PLAIN), size, entries
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ArchiveError(f"{path}, which begins with {head[:8]!r}", _EXPECTED, "check the path") from error


def _plain(path: Path) -> dict[str, Tensor]:
    try:
        with readable(path, _EXPECTED) as file:
            return read_tensors(file, entries_of(*head_of(file))[0], len)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArchiveError(
            f"{path}, which is damaged: {error}", "a whole safetensors file", "copy the file again"
        ) from error


def _described(kinds: Mapping[str, tuple[object, Sequence[int]]]) -> dict[str, str]:
    return {
        name: f"{str(dtype).removeprefix('torch.')} ({', '.join(map(str, shape))})"
        for name, (dtype, shape) in sorted(kinds.items())
    }


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` with its tensors moved to `tensors`, named by the way to them."""
    if isinstance(value, Tensor):
        tensors[name or "value"] = value
        return "(a tensor)"
    if isinstance(value, dict):
        return {key: _without_tensors(part, f"{name}.{key}".strip("."), tensors) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_tensors(part, f"{name}.{i}".strip("."), tensors) for i, part in enumerate(value)]
    return value


def _told(document: Mapping[str, Any]) -> list[str]:
    """The parts of an archive that people look for; all of it is in `document`."""
    record = _dict(document.get("record"))
    history = _dict(document.get("history"))
    lines = [
        f"  {name}: {_short(document[name])}" for name in ("schema", "module", "engine", "seed") if name in document
    ]
    for name, part in (("hparams", document.get("hparams")), ("recipe", record.get("recipe"))):
        lines += _entries(name, _dict(part))
    lines += _entries("options", _dict(record.get("options")))
    for name, data in _dict(record.get("data")).items():
        found = _dict(data)
        lines.append(
            f"  {_short(name)} data: {found.get('rows')} rows, {_short(found.get('input'))}, fingerprint "
            f"{_short(found.get('fingerprint'))} of {_short(found.get('covers'))}"
        )
    lines += _entries("environment", _dict(record.get("environment")))
    lines += _entries("last values", _last(history.get("records")))
    code = _dict(_dict(record.get("receipt")).get("code"))
    if code:
        lines.append(f"  code: {', '.join(map(_short, code))}, in document['record']['receipt']['code']")
    return lines


def _last(records: Any) -> dict[str, Any]:
    rows = [row for row in records if isinstance(row, list) and len(row) == 4] if isinstance(records, list) else []
    return {f"{row[0]}_{row[1]}, epoch {row[2]}": row[3] for row in rows if rows and row[2] == rows[-1][2]}


def _entries(title: str, parts: Mapping[str, Any]) -> list[str]:
    if not parts:
        return []
    shown = [f"    {_short(name)}: {_short(value)}" for name, value in list(parts.items())[:_MOST_LINES]]
    left = len(parts) - len(shown)
    return [f"  {title}:", *shown, *([f"    and {left} more"] if left else [])]


def _dict(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


def _short(value: Any) -> str:
    """A value on a line; control characters, which could move the cursor of a terminal, as their codes."""
    text = value if isinstance(value, str) else repr(value)
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: _LONGEST + 1])
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
