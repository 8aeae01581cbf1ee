"""Tables: data frames for `lumbre.data.from_frame`."""

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumbre.datasets._download import check_rows, damaged, fetched

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_TABLE_BYTES = 100 << 20
# In the order of the file, from its documentation (spambase.names).
_SPAM_WORDS = """
make address all 3d our over remove internet order mail receive will people report addresses free business email you
credit your font 000 money hp hpl george 650 lab labs telnet 857 data 415 85 technology 1999 parts pm direct cs meeting
original project re edu table conference
""".split()  # noqa: SIM905 - one word a line would be a page of them
_SPAM_CHARACTERS = ("semicolon", "parenthesis", "bracket", "exclamation", "dollar", "hash")
_SPAM_COLUMNS = (
    *(f"word_freq_{word}" for word in _SPAM_WORDS),
    *(f"char_freq_{character}" for character in _SPAM_CHARACTERS),
    *(f"capital_run_length_{what}" for what in ("average", "longest", "total")),
    "spam",
)
_BANK_COLUMNS = 21


def bank_marketing(
    *,
    full: bool = True,
    with_call_duration: bool = False,
    root: str | Path | None = None,
    download: bool = True,
) -> "pd.DataFrame":
    """Bank marketing: telephone calls of a Portuguese bank from 2008 to 2010, and who then made a deposit.

    Source: S. Moro, P. Cortez and P. Rita, "A data-driven approach to predict the success of bank telemarketing",
    Decision Support Systems 62, 2014; UCI Machine Learning Repository. Licence CC BY 4.0. No checksum is published:
    the archive's own and the number of rows and columns are verified.

    Args:
        full: all 41,188 calls, or a tenth of them, chosen at random by the authors.
        with_call_duration: keep the column `duration`. How long a call lasted is known only when its outcome is, so a
            model that uses it predicts nothing.
        root: the folder that holds (or will hold) the folder `bank_marketing`; where not given, $LUMBRE_DATA, else a
            cache of the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).

    Returns:
        A DataFrame of 19 features (20 with the duration), of text and numbers, and the target `y`, "no" or "yes". What
        is not known says "unknown"; nothing is missing.

    Raises:
        DownloadError: the archive is not there and cannot be fetched, or does not hold what it should.

    Example:
        `lb.data.from_frame(lb.datasets.bank_marketing(), target="y")` is ready for `fit()`.
    """
    import pandas as pd

    (path,) = fetched("bank_marketing", ["bank-additional.zip"], root=root, download=download)
    name = "bank-additional-full.csv" if full else "bank-additional.csv"
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"bank-additional/{name}")
            if member.file_size > _LARGEST_TABLE_BYTES:
                raise damaged(path, f"whose {name} has {member.file_size} bytes", "some 6 million")
            with archive.open(member) as file:
                frame: pd.DataFrame = pd.read_csv(file, sep=";", keep_default_na=False)
    except (zipfile.BadZipFile, zlib.error, KeyError, OSError, ValueError) as error:
        raise damaged(path, f"which cannot be read: {error}", f"a zip archive with bank-additional/{name}") from error
    if len(frame.columns) != _BANK_COLUMNS or "y" not in frame or not frame["y"].isin(["no", "yes"]).to_numpy().all():
        raise damaged(
            path, f"with the columns {', '.join(frame.columns)}", f"{_BANK_COLUMNS}, y of no and yes among them"
        )
    check_rows("bank_marketing", "full" if full else "tenth", len(frame), path)
    return frame if with_call_duration else frame.drop(columns="duration")


def spam(*, root: str | Path | None = None, download: bool = True) -> "pd.DataFrame":
    """Spam: how often words and characters occur in 4,601 e-mails, and whether these were junk.

    Source: M. Hopkins, E. Reeber, G. Forman and J. Suermondt, "Spambase", Hewlett-Packard Labs, 1999, as given out with
    T. Hastie, R. Tibshirani and J. Friedman, "The elements of statistical learning". Licence CC BY 4.0 (UCI). No
    checksum is published: the number of rows and columns and their values are verified.

    Args:
        root: the folder that holds (or will hold) the folder `spam`; see `bank_marketing`.
        download: fetch what is not there.

    Returns:
        A DataFrame of 4,601 rows: 48 columns word_freq_* and 6 columns char_freq_* (per cent of the words or
        characters), 3 columns capital_run_length_*, and the target `spam`, 0 or 1.

    Raises:
        DownloadError: the file is not there and cannot be fetched, or does not hold what it should.
    """
    import pandas as pd

    (path,) = fetched("spam", ["spam.data"], root=root, download=download)
    try:
        frame: Any = pd.read_csv(path, sep=r"\s+", header=None)
        if frame.shape[1] != len(_SPAM_COLUMNS) or not frame.iloc[:, -1].isin([0, 1]).all():
            raise ValueError(f"{frame.shape[1]} columns")
        frame.columns = list(_SPAM_COLUMNS)
        frame = frame.astype(dict.fromkeys(_SPAM_COLUMNS[:-3], float))
        if frame.isna().to_numpy().any():
            raise ValueError("missing values")
    except (OSError, ValueError, zlib.error) as error:
        raise damaged(path, f"which cannot be read: {error}", f"{len(_SPAM_COLUMNS)} numbers a line") from error
    check_rows("spam", "all", len(frame), path)
    return frame
