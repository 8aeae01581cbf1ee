"""What lies in Parquet files before a row is read: row groups, kinds of columns, and what names of folders say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lumbre.base import DataError, has_column, import_extra
from lumbre.data._cells import refused
from lumbre.data._columns import Column
from lumbre.data._date_parts import zone_name
from lumbre.data._tables import index_columns

Folders = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group of one file: the unit in which Parquet is read.

    Attributes:
        file: where it is.
        index: its number there.
        rows: how many it has, 1 or more.
        folders: columns whose value stands in the names of folders, and that value; None where it is missing.
    """

    file: Path
    index: int
    rows: int
    folders: Folders = ()


@dataclass(slots=True)
class Files:
    """Parquet files that belong together.

    Attributes:
        groups: their row groups that have rows.
        types: the type of each column in the first file, as Arrow writes it.
        kinds: "boolean", "integer", "float", "text", "folder" or "date" of each column over all files, "clock" for
            times of day and durations, "null" for one without any value, or "" for another.
        index: columns that are an index of pandas.
        zones: the zone of columns of dates in the first file, where they have one.
    """

    groups: list[RowGroup] = field(default_factory=list[RowGroup])
    types: dict[str, str] = field(default_factory=dict[str, str])
    kinds: dict[str, str] = field(default_factory=dict[str, str])
    index: set[str] = field(default_factory=set[str])
    zones: dict[str, tuple[str]] = field(default_factory=dict[str, tuple[str]])

    def column(
        self,
        name: str,
        levels: Mapping[str, Sequence[str]],
        *,
        is_target: bool = False,
        dates: bool = False,
        buckets: int = 0,
    ) -> Column:
        """How a column becomes numbers.

        Args:
            name: of the column.
            levels: the categories of columns that have some.
            is_target: whether it is the target.
            dates: whether dates may be features.
            buckets: into how many a text without levels is hashed; 0 refuses it.

        Raises:
            DataError: there is no such column, or it cannot be used so.
        """
        has_column(name, self.types, "the files")
        kind = self.kinds[name]
        if name in levels and kind in _READABLE:
            return Column(name, "category", _levels(name, levels[name]))
        if kind == "boolean":
            return Column(name, "category", ("False", "True")) if is_target else Column(name, "boolean")
        if kind in ("integer", "float"):
            return Column(name, kind if is_target else "number")
        if buckets and kind in ("text", "folder"):
            return Column(name, "category", (), buckets=buckets)
        if kind == "date" and dates:
            return Column(name, "datetime", self.zones.get(name, ()))
        if kind == "folder":
            values = {dict(group.folders)[name] for group in self.groups}
            return Column(name, "category", tuple(sorted(value for value in values if value is not None)))
        if kind != "text":
            raise refused(name, self.types[name], dates=kind in ("date", "clock"))
        raise DataError(
            f"column {name!r} of type {self.types[name]}",
            "numbers, booleans, or categories whose levels are given",
            f"levels={{{name!r}: [...]}} with the categories it may hold, or leave it out of features",
        )


_NUMBERS = ("boolean", "integer", "float")  # a column that is several of these in several files is the last of them
_NULL_KIND = "null"  # of files in which a column has no value at all: of whatever type the others give it
_READABLE = (*_NUMBERS, "text", "folder")


def _levels(name: str, given: Sequence[str]) -> tuple[str, ...]:
    levels = () if isinstance(given, str) else tuple(map(str, given))
    if not levels or len(set(levels)) < len(levels):
        raise DataError(
            f"levels={{{name!r}: {given!r}}}",
            "a list of categories, one or more, each once",
            f"levels={{{name!r}: [...]}} with the different values of the column",
        )
    return levels


def look(root: Path, names: Sequence[str] | None, levels: Mapping[str, Sequence[str]]) -> Files:
    """See what lies in a file, or in the files of a folder.

    Args:
        root: the file or the folder.
        names: columns that are used, which each file must have; None for those of the first.
        levels: columns that are read as categories, whatever their type.

    Raises:
        DataError: no file is there, one cannot be read, or they differ.
    """
    if root.is_dir():
        paths = sorted(file for file in root.rglob("*") if _shown(file.relative_to(root)) and _is_parquet(file))
    else:
        paths = [root] if root.is_file() else []
    if not paths:
        raise DataError(f"the path {str(root)!r}", "a Parquet file, or a folder that holds some", "correct the path")
    found = Files()
    first = ""
    for path in paths:
        folders = _folders(path.relative_to(root).parts[:-1]) if root.is_dir() else ()
        groups = len(found.groups)
        # Relative paths are those of now: files are read for as long as a run lasts.
        types, kinds = _inside(path.absolute(), folders, found)
        if len(found.groups) == groups:  # it has no rows
            continue
        if not first:
            first = path.name
            found.types, found.kinds = types, kinds
            continue
        beside = [name for name, kind in kinds.items() if kind == "folder"]
        for name in dict.fromkeys([*found.types, *beside]) if names is None else names:
            if name not in found.types and name not in beside:
                continue
            kind = _both(found.kinds.get(name, "missing"), kinds.get(name, "missing"), any_text=name in levels)
            if kind is None and found.types.get(name) != types.get(name):
                raise DataError(
                    f"column {name!r} as {types.get(name, 'missing')} in {path.name},"
                    f" as {found.types.get(name, 'missing')} in {first}",
                    "the same columns in every file, numbers or texts in all of them",
                    "write the files with one schema, or leave the column out of features",
                )
            if found.kinds.get(name) == _NULL_KIND:
                found.types[name] = types[name]
            found.kinds[name] = found.kinds[name] if kind is None else kind
    if not found.groups:
        raise DataError(f"{len(paths)} Parquet files without rows", "at least one row", "pass some data")
    return found


def _both(kind: str, other: str, *, any_text: bool) -> str | None:
    """What a column is that is `kind` in some files and `other` in one; None where it cannot be both."""
    if _NULL_KIND in (kind, other) and "missing" not in (kind, other):
        return other if kind == _NULL_KIND else kind
    if kind in _NUMBERS and other in _NUMBERS:
        return max(kind, other, key=_NUMBERS.index)
    if any_text and kind in _READABLE and other in _READABLE:
        return "text"
    return kind if kind == other and kind in (*_READABLE, "date") else None


def _shown(path: Path) -> bool:
    """Whether no part of a path is hidden or of those that writers put up for a time, as Spark's `_temporary`."""
    return not any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in path.parts)


def _is_parquet(file: Path) -> bool:
    """Whether it is a Parquet file: by its name, or its first bytes where the name ends in nothing, as Hive's do."""
    if file.suffix:
        return file.suffix.lower() in _SUFFIXES and file.is_file()
    return file.is_file() and _begins_as_one(file)


def _begins_as_one(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"PAR1"


_SUFFIXES = (".parquet", ".parq", ".pq")


def _folders(parts: Sequence[str]) -> Folders:
    """What names of folders such as "year=2024" say, as Hive and Spark write them: texts, for 01 is not 1."""
    pairs = [part.partition("=") for part in parts if "=" in part]
    found = {unquote(name): unquote(value) for name, _, value in pairs if name}
    return tuple((name, None if value == _NULL else value) for name, value in found.items())


_NULL = "__HIVE_DEFAULT_PARTITION__"


def _inside(file: Path, folders: Folders, found: Files) -> tuple[dict[str, str], dict[str, str]]:
    """Types and kinds of a file's columns; its row groups, and which columns are an index, go to `found`."""
    try:
        with opened_file(file) as opened:
            schema, metadata = opened.schema_arrow, opened.metadata
            counts = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    except NotImplementedError as error:
        raise DataError(
            f"{file}, of which pyarrow knows no type of a column: {error}",
            "a file whose columns all have types that pyarrow reads, also those that are not used",
            "write it again without that column, or with another type: numbers of 64 bits",
        ) from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
        raise unreadable(file, error) from error
    types = dict(zip(schema.names, map(str, schema.types), strict=True))
    kinds = dict(zip(schema.names, map(_kind, schema.types), strict=True))
    # Numbers that the file holds too, as polars writes them, are taken from there, where they have a type.
    folders = tuple((name, value) for name, value in folders if kinds.get(name, "text") == "text")
    found.groups += [RowGroup(file, index, count, folders) for index, count in enumerate(counts) if count]
    if any(counts):  # else its types are whatever a writer made up
        found.index |= index_columns(schema.names, schema)
        for name, kind in zip(schema.names, schema.types, strict=True):
            if getattr(kind, "tz", None):
                found.zones.setdefault(name, (zone_name(kind.tz),))
    named = [name for name, _ in folders]
    return types | dict.fromkeys(named, "the name of a folder"), kinds | dict.fromkeys(named, "folder")


def opened_file(file: Path) -> Any:
    """A file whose footer has been read. Times in its old form, int96, come in microseconds.

    In nanoseconds, which is what pyarrow makes of them by itself, years beyond 2262 would be others without a word.
    """
    parquet = import_extra("pyarrow.parquet", "data", "read Parquet files")
    return parquet.ParquetFile(file, coerce_int96_timestamp_unit="us")


def unreadable(file: Path, error: Exception) -> DataError:
    """The error for a file that is damaged, or none of Parquet."""
    fix = "write it again, or remove it"
    if file.is_file() and not _begins_as_one(file):
        fix = f"lumbre.data.from_csv({file.name!r}) for CSV, also to predict; a frame of pandas.read_... for others"
    return DataError(f"{file}, which cannot be read: {error}", "a whole Parquet file", fix)


def _kind(kind: Any) -> str:
    pyarrow: Any = import_extra("pyarrow", "data", "read Parquet files")
    kinds = pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType) and getattr(kind, "extension_name", "") != "pandas.period":
        return "boolean" if getattr(kind, "extension_name", "") == "arrow.bool8" else _kind(kind.storage_type)
    if kinds.is_null(kind):
        return _NULL_KIND
    if kinds.is_boolean(kind):
        return "boolean"
    if kinds.is_integer(kind):
        return "integer"
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        return "float"
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind) or kinds.is_dictionary(kind):
        return "text"
    if kinds.is_date(kind) or kinds.is_timestamp(kind):
        return "date"
    return "clock" if kinds.is_temporal(kind) else ""
