"""Suspects: labels that were turned are found, rows that stand twice, groups that are predicted worse."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


def net(d_in: int, d_out: int, hidden: int = 32):
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(d_in, hidden), nn.ReLU(), nn.Linear(hidden, d_out))


def recipe(d_in: int, d_out: int, loss: nn.Module | None = None, hidden: int = 32) -> lb.Recipe:
    made = lb.setup(net(d_in, d_out, hidden), loss=loss or nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return made.set_opt_hparams(lr=0.01)


def turned(labels: Tensor, share: float, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels of which a share is another class, and which."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    shift = torch.randint(1, classes, (len(rows),), generator=generator)
    wrong = labels.clone()
    wrong[rows] = (wrong[rows] + shift) % classes
    return wrong, rows


def precision_at(frame: pd.DataFrame, rows: Tensor, recall: float) -> float:
    """The share of turned labels among the most suspicious rows that hold so many of all turned labels."""
    hit = frame["row"].isin(rows.tolist()).to_numpy().cumsum()
    count = int(np.argmax(hit >= recall * len(rows))) + 1
    return hit[count - 1] / count


def digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.tensor(found.data, dtype=torch.float32) / 16, torch.tensor(found.target)


def test_turned_labels_of_digits_are_found() -> None:
    x, y = digits()
    wrong, rows = turned(y, 0.02, 10)
    found = recipe(64, 10).cross_validate((x, wrong), folds=4, epochs=8, verbose=False, preflight=False)
    suspects = found.suspects((x, wrong))
    frame = suspects.frame()
    assert list(frame.columns) == ["row", "given", "probable", "score", "suspect"]
    assert len(frame) == len(x)
    assert frame["score"].is_monotonic_decreasing
    assert precision_at(frame, rows, 0.8) >= 0.8
    flagged = set(frame.loc[frame["suspect"], "row"])
    assert len(flagged & set(rows.tolist())) >= 0.8 * len(rows)
    top = frame[frame["row"].isin(rows.tolist())].head(20)
    assert (top["probable"].astype(int).to_numpy() == y[top["row"].tolist()].numpy()).mean() >= 0.9
    assert (top["given"].astype(int).to_numpy() == wrong[top["row"].tolist()].numpy()).all()
    assert "labels of 1,797 rows" in repr(suspects)
    assert frame.equals(found.suspects((x, wrong)).frame())


def precision_on_mnist(root: Path) -> float:
    """Of 5,000 rows with 2 % of labels turned: precision at a recall of 0.8."""
    source = lb.datasets.mnist(root=root, download=False)
    x, y = source.input[:5000].reshape(-1, 1, 28, 28).float() / 255, source.target[:5000].long()
    wrong, rows = turned(y, 0.02, 10)

    def conv() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10),
        )  # fmt: skip

    made = lb.setup(conv, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=0.003)
    found = made.cross_validate((x, wrong), folds=5, epochs=6, batch_size=64, verbose=False, preflight=False)
    return precision_at(found.suspects((x, wrong)).frame(), rows, 0.8)


@pytest.mark.slow
def test_turned_labels_of_mnist_are_found(mnist_root: Path) -> None:
    assert precision_on_mnist(mnist_root) >= 0.8


def blobs(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    kind = random.choice(["cat", "dog"], rows)
    frame = pd.DataFrame({"a": random.normal(0, 1, rows) + 4 * (kind == "dog"), "b": random.normal(0, 1, rows)})
    frame["site"] = random.choice(["north", "south", "west"], rows)
    frame["kind"] = kind
    return frame


def validated(frame: pd.DataFrame, **options):
    data = lb.data.from_frame(frame, target="kind", features=["a", "b"])
    return data, recipe(2, 2).cross_validate(data, folds=3, epochs=20, verbose=False, preflight=False, **options)


def test_weak_groups_and_names_of_classes() -> None:
    frame = blobs()
    at = frame.index[frame["site"] == "south"][:30]
    frame.loc[at, "kind"] = frame.loc[at, "kind"].map({"cat": "dog", "dog": "cat"})
    data, found = validated(frame)
    suspects = found.suspects(data, by="site")
    assert suspects.groups["group"].tolist()[0] == "south"
    assert suspects.groups.set_index("group")["weak"].to_dict() == {"south": True, "north": False, "west": False}
    assert set(suspects.frame()["given"].unique()) == {"cat", "dog"}
    assert "south" in repr(suspects)
    by_values = found.suspects(data, by=frame["site"].to_numpy())
    pd.testing.assert_frame_equal(by_values.groups, suspects.groups)
    assert found.suspects(data).groups is None


def test_equal_groups_are_not_weak() -> None:
    weak = 0
    for seed in range(6):
        frame = blobs(seed=seed)
        at = frame.sample(30, random_state=seed).index
        frame.loc[at, "kind"] = frame.loc[at, "kind"].map({"cat": "dog", "dog": "cat"})
        data, found = validated(frame)
        weak += int(found.suspects(data, by="site", duplicates=False).groups["weak"].sum())
    assert weak <= 1


def test_rows_that_stand_twice() -> None:
    frame = blobs()
    more = pd.concat([frame, frame.iloc[[3, 50]], frame.iloc[[7]].assign(a=frame["a"][7] + 1e-4)], ignore_index=True)
    more.loc[241, "kind"] = "cat" if frame["kind"][50] == "dog" else "dog"
    data, found = validated(more)
    twins = found.suspects(data).duplicates
    pairs = {tuple(sorted(pair)): same for *pair, same in twins[["row", "other", "same_label"]].itertuples(index=False)}
    assert pairs.pop((3, 240))
    assert not pairs.pop((50, 241))
    assert pairs.pop((7, 242))
    assert len(pairs) <= 6  # rows that happen to lie close by
    assert twins["distance"].iloc[0] == 0
    assert len(found.suspects(data, duplicates=False).duplicates) == 0


def test_no_row_is_its_own_twin() -> None:
    x = torch.cat([torch.zeros(5, 2), torch.randn(40, 2, generator=torch.Generator().manual_seed(0))])
    y = torch.arange(45) % 2
    found = recipe(2, 2).cross_validate((x, y), folds=3, epochs=1, verbose=False, preflight=False)
    twins = found.suspects((x, y)).duplicates
    assert (twins["row"] != twins["other"]).all()
    assert set(twins.loc[twins["distance"] == 0, "row"]) <= set(range(5))


def test_one_score_two_classes_and_rows_without_a_prediction() -> None:
    x = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, :1] > 0).float()
    y[-5] = 1 - y[-5]
    made = recipe(3, 1, nn.BCEWithLogitsLoss())
    found = made.cross_validate((x, y), folds=4, ordered=True, epochs=20, verbose=False, preflight=False)
    frame = found.suspects((x, y)).frame()
    assert len(frame) == int(found.predictions[:, 0].isfinite().sum()) < 90
    assert 85 in frame["row"].tolist()[:6]


def test_what_is_impossible_is_said() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    found = recipe(3, 2).cross_validate((x, y), folds=2, epochs=1, verbose=False, preflight=False)
    with pytest.raises(lb.DataError, match="39 rows"):
        found.suspects((x[1:], y[1:]))
    with pytest.raises(lb.DataError, match="group"):
        found.suspects((x, y), by=[1, 2])
    numbers = recipe(3, 1, nn.MSELoss()).cross_validate(
        (x, x[:, :1]), folds=2, epochs=1, verbose=False, preflight=False
    )
    with pytest.raises(lb.DataError):
        numbers.suspects((x, x[:, :1]))


def test_without_cleanlab_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    found = recipe(3, 2).cross_validate((x, y), folds=2, epochs=1, verbose=False, preflight=False)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(lb.MissingExtraError, match=r"lumbre\[suspects\]"):
        found.suspects((x, y))
