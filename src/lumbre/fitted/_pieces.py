"""Predictions of many rows, written to a Parquet file in pieces: what is in memory does not grow with the rows."""

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lumbre.base import Batch, DataError, Joiner, Nested, OptionError, as_path, describe, import_extra, written_beside
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 65_536
"""Rows of a piece, which is a row group of the file; a batch is not cut."""


class Pieces:
    """Takes the output of each batch, and writes a piece of the file whenever enough rows have come together.

    Args:
        path: of the file.
        again: as for `Joiner`.
        frame: makes a frame of the output for some rows.
    """

    def __init__(
        self, path: Path, again: Callable[[Nested], Nested], frame: Callable[[Nested], "pd.DataFrame"]
    ) -> None:
        self._path, self._again, self._frame = path, again, frame
        self._waiting = Joiner(again)
        self._writer: Any = None
        self._written = 0

    def add(self, pred: Nested, batch: Batch) -> None:
        """Add the output for a batch."""
        self._waiting.add(pred, batch)
        if self._waiting.rows >= _ROWS:
            self._write()

    def finish(self) -> None:
        """Write what is left."""
        if self._waiting.rows or self._writer is None:
            self._write()

    def close(self) -> None:
        """Write the end of the file, or leave it as it is where none was begun."""
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        frame, rows = self._frame(self._waiting.built(self._waiting.columns())), self._waiting.rows
        if "row" in frame:  # of intervals around several outputs; counted over all pieces
            frame["row"] += self._written
        self._written += rows
        self._waiting = Joiner(self._again)
        schema = None if self._writer is None else self._writer.schema
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        # Data may be read from files, too: only errors of this file are errors of `to`.
        try:
            if self._writer is None:
                self._writer = parquet.ParquetWriter(self._path, table.schema)
            self._writer.write_table(table)
        except OSError as error:
            raise _not_written(str(error)) from error


@contextmanager
def pieces_at(
    session: Session, to: str | Path, again: Callable[[Nested], Nested], frame: Callable[[Nested], "pd.DataFrame"]
) -> Generator[Pieces]:
    """A Parquet file for predictions, which is there once all of them are.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OptionError: nothing can be written at `to`, or several processes would write.
    """
    import_extra("pyarrow", "data", "write Parquet files")
    path = as_path(to, 'predict(x, to="predictions.parquet")')
    if path.suffix != ".parquet" or not path.parent.is_dir() or path.is_dir():
        raise OptionError(f"to={str(to)!r}", "a .parquet file in a folder that is there", 'to="predictions.parquet"')
    if session.world.size > 1:
        raise OptionError(
            f"to={str(to)!r} in a run that {session.world.size} processes share",
            "one process",
            "lumbre.load the model in a script of its own, or predict() without to=",
        )
    with written_beside(path) as temporary, closing(Pieces(temporary, again, frame)) as pieces:
        yield pieces
        pieces.finish()


def _not_written(error: str) -> OptionError:
    return OptionError(f"to=..., and {error}", "a file that can be written", "another folder or disk")


def numbers_frame(session: Session, output: Nested) -> "pd.DataFrame":
    """A column for each number of a row: prediction, or prediction_<class or number> where there are several.

    Raises:
        DataError: the output is no tensor of numbers for each row.
    """
    import pandas as pd

    if not isinstance(output, Tensor) or output.ndim not in (1, 2) or output.is_complex():
        raise DataError(
            f"an output to be written to Parquet that is {describe(output)}",
            "a tensor of real numbers, of shape (rows,) or (rows, numbers)",
            "predict() some rows at a time, without to=",
        )
    columns = output[:, None] if output.ndim == 1 else output
    count = columns.shape[1]
    known = session.classes
    names = known if known is not None and len(known) == count else tuple(map(str, range(count)))
    titles = ["prediction"] if count == 1 else [f"prediction_{name}" for name in names]
    return pd.DataFrame(columns.numpy(), columns=pd.Index(titles))
