"""Film reviews, and words as numbers."""

import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lumbre.base import DataError, import_extra
from lumbre.datasets._download import check_rows, damaged, fetched, folder, made_once, verify
from lumbre.datasets._table import TABLE

if TYPE_CHECKING:
    import pandas as pd

_ARCHIVE = "aclImdb_v1.tar.gz"
_REVIEW = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d+)_(\d+)\.txt")
_LARGEST_REVIEW_BYTES = 1 << 20
_MOST_REVIEWS = 1_000_000
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_TAG = re.compile(r"<[^>]*>")


def imdb(*, train: bool = True, root: str | Path | None = None, download: bool = True) -> "pd.DataFrame":
    """IMDb: reviews of films, and whether they praise (7 to 10 stars) or blame (1 to 4).

    The first call reads the archive into two tables (half a minute); the archive is needed no longer then.

    Source: A. L. Maas, R. E. Daly, P. T. Pham, D. Huang, A. Y. Ng and C. Potts, "Learning word vectors for sentiment
    analysis", ACL 2011; no licence is stated. The archive (84 MB) is verified by its MD5. The 50,000 reviews without a
    label are left out.

    Args:
        train: the 25,000 reviews for training, or the 25,000 for testing.
        root: the folder that holds (or will hold) the folder `imdb`; where not given, $LUMBRE_DATA, else a cache of
            the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).

    Returns:
        A DataFrame of 25,000 rows with the columns `text`, `label` (0 blames, 1 praises) and `stars` (1 to 10), in the
        order of label and file number. `Vocabulary` makes numbers of the texts.

    Raises:
        DownloadError: the archive is not there and cannot be fetched, or does not hold what it should.

    Example:
        `reviews = lb.datasets.imdb(); vocabulary = lb.datasets.Vocabulary(reviews["text"], num_words=10_000)`, then
        `fit((vocabulary.encode(reviews["text"], maxlen=256), torch.tensor(reviews["label"])))`.
    """
    import pandas as pd

    import_extra("pyarrow", "data", "keep tables")
    tables = folder("imdb", root) / "tables"
    if not tables.is_dir():
        (archive,) = fetched("imdb", [_ARCHIVE], root=root, download=download)
        made_once(tables, lambda fresh: _tabulate(verify(archive, TABLE["imdb"].file(_ARCHIVE)), fresh))
    part = "train" if train else "test"
    frame = pd.read_parquet(tables / f"{part}.parquet")
    check_rows("imdb", part, len(frame), tables)
    return frame


def _tabulate(archive: Path, fresh: Path) -> None:
    import pandas as pd

    rows: dict[str, list[tuple[int, int, int, str]]] = {"train": [], "test": []}
    try:
        with tarfile.open(archive) as file:
            for member in file:
                found = _REVIEW.fullmatch(member.name)
                if found is None or not member.isreg():
                    continue
                source = file.extractfile(member)
                if source is None or member.size > _LARGEST_REVIEW_BYTES or len(rows[found[1]]) > _MOST_REVIEWS:
                    raise ValueError(f"{member.name} of {member.size} bytes")
                label = int(found[2] == "pos")
                rows[found[1]].append((label, int(found[3]), int(found[4]), source.read().decode("utf-8")))
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise damaged(archive, f"which cannot be read: {error}", "a whole tar.gz archive") from error
    fresh.mkdir()
    for part, found in rows.items():
        check_rows("imdb", part, len(found), archive)
        found.sort()
        columns: dict[str, Any] = {
            "text": [row[3] for row in found],
            "label": [row[0] for row in found],
            "stars": [row[2] for row in found],
        }
        pd.DataFrame(columns).to_parquet(fresh / f"{part}.parquet", index=False)


class Vocabulary:
    """The words of some texts, the most frequent first, and texts as their numbers.

    A word is a run of letters and digits, apostrophes inside it included, in lower case; tags such as `<br />` are
    left out. Number 0 fills a short text up, 1 stands before each text, 2 for a word that is not known, and 3 is the
    first word.

    Args:
        texts: those for training, and no others, lest the test be known beforehand.
        num_words: keep this many of the most frequent words; None keeps all.
        skip_top: leave out this many of the most frequent ones.

    Raises:
        DataError: there are no words, or `num_words` or `skip_top` leaves none.

    Example:
        >>> import lumbre as lb
        >>> vocabulary = lb.datasets.Vocabulary(["a good film", "a bad film"])
        >>> len(vocabulary), vocabulary.words
        (7, ('a', 'film', 'bad', 'good'))
        >>> vocabulary.encode(["A good day!", "bad"])
        tensor([[1, 3, 6, 2],
                [0, 0, 1, 5]])
    """

    PAD, START, UNKNOWN, FIRST = 0, 1, 2, 3

    def __init__(self, texts: Iterable[str], *, num_words: int | None = None, skip_top: int = 0) -> None:
        if isinstance(texts, str):
            raise DataError(f"one text: {texts[:30]!r}", "a list or a column of texts", "[text]")
        if (num_words is not None and num_words < 1) or skip_top < 0:
            raise DataError(f"num_words={num_words}, skip_top={skip_top}", "counts of words", "num_words=10_000")
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_words(text))
        # Equally frequent words by their letters, so that the numbers do not depend on the order of the texts.
        ordered = sorted(counts, key=lambda word: (-counts[word], word))[skip_top:]
        self.words = tuple(ordered[:num_words])
        if not self.words:
            raise DataError(
                f"texts with {len(counts)} different words, skip_top={skip_top}", "some words", "skip_top=0"
            )
        self._numbers = {word: number for number, word in enumerate(self.words, self.FIRST)}

    def __len__(self) -> int:
        """How many numbers there are: the rows of an embedding."""
        return self.FIRST + len(self.words)

    def encode(self, texts: Iterable[str], *, maxlen: int | None = None) -> Tensor:
        """Texts as numbers.

        Args:
            texts: n texts.
            maxlen: the length of the result; of a longer text the last `maxlen - 1` words are kept, a shorter one is
                filled up in front. None takes that of the longest text.

        Returns:
            int64 tensor of shape (n, length).

        Raises:
            DataError: `maxlen` is less than 2, or there are no texts.
        """
        if isinstance(texts, str) or (maxlen is not None and maxlen < 2):
            raise DataError(
                f"one text: {texts[:30]!r}" if isinstance(texts, str) else f"maxlen={maxlen}",
                "a list or a column of texts, and a length of at least 2",
                "[text], maxlen=256",
            )
        rows: list[list[int]] = []
        for text in texts:
            numbers = [self._numbers.get(word, self.UNKNOWN) for word in _words(text)]
            rows.append([self.START, *(numbers if maxlen is None else numbers[-(maxlen - 1) :])])
        if not rows:
            raise DataError("no texts", "at least one", "pass some texts")
        length = maxlen or max(map(len, rows))
        encoded = torch.full((len(rows), length), self.PAD)
        for row, numbers in zip(encoded, rows, strict=True):
            row[length - len(numbers) :] = torch.tensor(numbers)
        return encoded

    def decode(self, numbers: Tensor) -> str:
        """The text of one row of numbers, an int64 tensor of shape (length,); "?" for a word that was not known."""
        known = [number for number in numbers.tolist() if number not in (self.PAD, self.START)]
        return " ".join("?" if number == self.UNKNOWN else self.words[number - self.FIRST] for number in known)


def _words(text: str) -> list[str]:
    return _WORD.findall(_TAG.sub(" ", text).lower())
