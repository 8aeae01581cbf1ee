"""Tables and film reviews, through small files in their real formats."""

from pathlib import Path

import loopback
import pandas as pd
import pytest
import torch
from loopback import Serve, Site, names, tarred, zipped
from torch import nn, optim

import lumbre as lb
from lumbre.datasets import _imdb as _imdb_module
from lumbre.datasets import _tables

# Fixtures; a conftest.py here would hide the one above from the other tests.
serve, site = loopback.serve, loopback.site

_BANK = (
    '"age";"job";"marital";"education";"default";"housing";"loan";"contact";"month";"day_of_week";"duration";'
    '"campaign";"pdays";"previous";"poutcome";"emp.var.rate";"cons.price.idx";"cons.conf.idx";"euribor3m";'
    '"nr.employed";"y"\n'
)
_CALL = (
    '{age};"housemaid";"married";"basic.4y";"no";"{housing}";"no";"telephone";"may";"mon";261;1;999;0;"nonexistent";'
    '1.1;93.994;-36.4;4.857;5191;"{y}"\n'
)
_CALLS = [_CALL.format(age=20 + i, housing=("yes", "no", "unknown")[i % 3], y=("no", "yes")[i % 2]) for i in range(24)]


def _bank(serve: Serve, full: str, rows: int = 24) -> None:
    files = {
        "bank-additional/.DS_Store": b"\0",
        "bank-additional/bank-additional-full.csv": full.encode(),
        "bank-additional/bank-additional.csv": (_BANK + "".join(_CALLS[:2])).encode(),
        "__MACOSX/bank-additional/._x": b"\0",
    }
    serve("bank_marketing", {"bank-additional.zip": zipped(files)}, {"full": rows, "tenth": 2})


def test_bank_marketing(serve: Serve, tmp_path: Path) -> None:
    _bank(serve, _BANK + "".join(_CALLS))
    frame = lb.datasets.bank_marketing(root=tmp_path)
    assert frame.shape == (24, 20)
    assert "duration" not in frame
    assert frame["age"].tolist() == list(range(20, 44))
    assert frame["y"].tolist() == ["no", "yes"] * 12
    assert frame["euribor3m"].iloc[0] == 4.857
    assert set(frame["housing"]) == {"yes", "no", "unknown"}
    assert not frame.isna().any(axis=None)
    timed = lb.datasets.bank_marketing(root=tmp_path, with_call_duration=True, full=False)
    assert timed.shape == (2, 21)
    assert timed["duration"].tolist() == [261, 261]
    data = lb.data.from_frame(frame, target="y")
    assert data.classes == ("no", "yes")
    recipe = lb.setup(nn.Linear, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    recipe = recipe.set_hparams(in_features=data.width, out_features=2).set_opt_hparams(lr=0.01)
    assert recipe.fit(data, epochs=1, verbose=False, preflight=False).predict(frame).shape == (24, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_BANK + "".join(_CALLS[:5]), "gives 5 of bank_marketing's full"),
        (_BANK.replace('"age";', "") + "1;2\n", "with the columns job"),
        (_BANK + _CALL.format(age=1, housing="no", y="perhaps"), "y of no and yes"),
        ("", "cannot be read"),
    ],
)
def test_bank_marketing_with_something_else(content: str, said: str, serve: Serve, tmp_path: Path) -> None:
    _bank(serve, content)
    with pytest.raises(lb.DownloadError, match=said):
        lb.datasets.bank_marketing(root=tmp_path)


def test_bank_marketing_that_is_no_archive(serve: Serve, tmp_path: Path) -> None:
    serve("bank_marketing", {"bank-additional.zip": b"<html>gone</html>"}, {"full": 2})
    with pytest.raises(lb.DownloadError, match=f"delete {tmp_path / 'bank_marketing' / 'bank-additional.zip'}"):
        lb.datasets.bank_marketing(root=tmp_path)


_MAIL = " ".join(["0", "0.64"] + ["0"] * 52 + ["3.756", "61", "278"])


def test_spam(serve: Serve, tmp_path: Path) -> None:
    serve("spam", {"spam.data": f"{_MAIL} 1\n{_MAIL} 0\n{_MAIL} 1\n".encode()}, {"all": 3})
    frame = lb.datasets.spam(root=tmp_path)
    assert frame.shape == (3, 58)
    assert frame["spam"].tolist() == [1, 0, 1]
    assert frame["word_freq_address"].tolist() == [0.64] * 3
    assert frame["word_freq_make"].dtype == float
    assert frame.iloc[0, -4:].tolist() == [3.756, 61, 278, 1]
    assert [name.rpartition("_")[0] for name in frame.columns].count("word_freq") == 48
    assert [name.rpartition("_")[0] for name in frame.columns].count("char_freq") == 6


@pytest.mark.parametrize(
    "content",
    [f"{_MAIL} 2\n", f"{_MAIL}\n", "", f"{_MAIL.replace('0.64', 'nan')} 1\n", f"{_MAIL.replace('0.64', 'x')} 1\n"],
)
def test_spam_with_something_else(content: str, serve: Serve, tmp_path: Path) -> None:
    serve("spam", {"spam.data": content.encode()}, {"all": 1})
    with pytest.raises(lb.DownloadError, match="58 numbers a line"):
        lb.datasets.spam(root=tmp_path)


def _imdb() -> dict[str, bytes]:
    return {
        "aclImdb/README": b"about",
        "aclImdb/imdb.vocab": b"the\n",
        "aclImdb/train/urls_pos.txt": b"http://",
        "aclImdb/train/unsup/0_0.txt": b"no label",
        "aclImdb/train/pos/10_9.txt": "Très good.<br /><br />It's a GOOD film!".encode(),
        "aclImdb/train/pos/2_10.txt": b"A good one",
        "aclImdb/train/neg/0_1.txt": b"bad film",
        "aclImdb/test/neg/0_2.txt": b"really bad",
        "aclImdb/test/pos/0_8.txt": b"fine",
    }


def test_imdb(serve: Serve, site: Site, tmp_path: Path) -> None:
    serve("imdb", {"aclImdb_v1.tar.gz": tarred(_imdb())}, {"train": 3, "test": 2})
    train = lb.datasets.imdb(root=tmp_path)
    assert list(train.columns) == ["text", "label", "stars"]
    assert train["label"].tolist() == [0, 1, 1]
    assert train["stars"].tolist() == [1, 10, 9]
    assert train["text"].iloc[2].startswith("Très good.")
    (tmp_path / "imdb" / "aclImdb_v1.tar.gz").unlink()
    test = lb.datasets.imdb(train=False, root=tmp_path, download=False)
    assert test["text"].tolist() == ["really bad", "fine"]
    assert len(site.asked) == 1
    vocabulary = lb.datasets.Vocabulary(train["text"], num_words=4)
    assert vocabulary.words == ("good", "a", "film", "bad")
    encoded = vocabulary.encode(test["text"], maxlen=4)
    assert encoded.tolist() == [[0, 1, 2, 6], [0, 0, 1, 2]]
    data = (vocabulary.encode(train["text"], maxlen=6), torch.tensor(train["label"]))
    recipe = lb.setup(
        lambda: nn.Sequential(nn.Embedding(len(vocabulary), 4), nn.Flatten(), nn.Linear(24, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.SGD,
    ).set_opt_hparams(lr=0.1)
    recipe.fit(data, epochs=1, verbose=False, preflight=False)


def test_imdb_with_something_else(serve: Serve, tmp_path: Path) -> None:
    serve("imdb", {"aclImdb_v1.tar.gz": tarred(_imdb())}, {"train": 4, "test": 2})
    with pytest.raises(lb.DownloadError, match="gives 3 of imdb's train"):
        lb.datasets.imdb(root=tmp_path)
    serve("imdb", {"aclImdb_v1.tar.gz": tarred(_imdb())[:-30]}, {"train": 3, "test": 2})
    with pytest.raises(lb.DownloadError, match="cannot be read"):
        lb.datasets.imdb(root=tmp_path / "cut")
    assert names(tmp_path / "cut" / "imdb") - {".lock"} == {"aclImdb_v1.tar.gz"}


def test_tables_and_texts_too_large_are_not_read(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _bank(serve, _BANK + "".join(_CALLS))
    monkeypatch.setattr(_tables, "_LARGEST_TABLE_BYTES", 99)
    with pytest.raises(lb.DownloadError, match=r"bank-additional-full\.csv has \d+ bytes"):
        lb.datasets.bank_marketing(root=tmp_path)
    serve("imdb", {"aclImdb_v1.tar.gz": tarred(_imdb())}, {"train": 3, "test": 2})
    monkeypatch.setattr(_imdb_module, "_LARGEST_REVIEW_BYTES", 9)
    with pytest.raises(lb.DownloadError, match=r"10_9\.txt of \d+ bytes"):
        lb.datasets.imdb(root=tmp_path)


def test_vocabulary() -> None:
    texts = pd.Series(["the cat sat", "The cat, the DOG!", "don't <b>sit</b>"])
    vocabulary = lb.datasets.Vocabulary(texts)
    assert vocabulary.words == ("the", "cat", "dog", "don't", "sat", "sit")
    assert len(vocabulary) == 9
    encoded = vocabulary.encode(["the bird sat", "", "the cat sat on the dog"])
    assert encoded.dtype == torch.int64
    assert encoded.tolist() == [[0, 0, 0, 1, 3, 2, 7], [0, 0, 0, 0, 0, 0, 1], [1, 3, 4, 7, 2, 3, 5]]
    assert int(encoded.max()) < len(vocabulary)
    assert vocabulary.decode(encoded[2]) == "the cat sat ? the dog"
    # The last words of a long text stay, after the start.
    assert vocabulary.encode(["the cat sat on the dog"], maxlen=3).tolist() == [[1, 3, 5]]
    assert lb.datasets.Vocabulary(texts, num_words=2, skip_top=1).words == ("cat", "dog")
    assert lb.datasets.Vocabulary(reversed(list(texts))).words == vocabulary.words


def test_vocabulary_refuses() -> None:
    with pytest.raises(lb.DataError, match="one text"):
        lb.datasets.Vocabulary("a text")
    with pytest.raises(lb.DataError, match="some words"):
        lb.datasets.Vocabulary(["a", "b"], skip_top=2)
    with pytest.raises(lb.DataError, match="num_words=0"):
        lb.datasets.Vocabulary(["a"], num_words=0)
    vocabulary = lb.datasets.Vocabulary(["a"])
    with pytest.raises(lb.DataError, match="one text"):
        vocabulary.encode("a")
    with pytest.raises(lb.DataError, match="maxlen=1"):
        vocabulary.encode(["a"], maxlen=1)
    with pytest.raises(lb.DataError, match="no texts"):
        vocabulary.encode([])
