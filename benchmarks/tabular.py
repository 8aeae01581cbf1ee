"""`lb.tabular` beside gradient boosting and pytabkit on ten tables that packages ship: `make bench-tabular`.

Each table is split five times into 80 % to train on and 20 % to test on, the same rows for all; every contender has its
defaults. Classes are judged by their accuracy, numbers by the RMSE. Results are added to those that are there, so that
contenders and tables can be run one after the other: `--contenders RealMLP --tables wine mpg`.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lumbre as lb
from benchmarks.peers.report import machine

RESULTS = Path(__file__).parent / "results"


def _sklearn(name: str) -> pd.DataFrame:
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(as_frame=True).frame


def _plotnine(name: str) -> pd.DataFrame:
    import plotnine.data

    return getattr(plotnine.data, name)


def _statsmodels(name: str) -> pd.DataFrame:
    import statsmodels.api as sm

    return getattr(sm.datasets, name).load_pandas().data


def _named(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    return frame.assign(**{target: frame[target].astype(int).map("class {}".format)})


def _fair() -> pd.DataFrame:
    fair = _statsmodels("fair")
    return fair.assign(affairs=np.where(fair["affairs"] > 0, "some", "none"))


# (table, its target); the columns that give the answer away are left out.
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "penguins": (lb.datasets.penguins, "species"),
    "breast cancer": (lambda: _named(_sklearn("breast_cancer"), "target"), "target"),
    "wine": (lambda: _named(_sklearn("wine"), "target"), "target"),
    "digits": (lambda: _named(_sklearn("digits"), "target"), "target"),
    "anes96": (lambda: _named(_statsmodels("anes96"), "vote"), "vote"),
    "fair": (_fair, "affairs"),
    "diabetes": (lambda: _sklearn("diabetes"), "target"),
    "diamonds": (lambda: _plotnine("diamonds").sample(5000, random_state=0), "price"),
    "mpg": (lambda: _plotnine("mpg").drop(columns=["cty"]), "hwy"),
    "txhousing": (
        lambda: (
            _plotnine("txhousing")
            .dropna(subset=["sales"])
            .drop(columns=["volume", "date"])
            .sample(5000, random_state=0)
        ),
        "sales",
    ),
}


def with_lumbre(train: pd.DataFrame, test: pd.DataFrame, target: str, seed: int) -> "np.ndarray[Any, Any]":
    # The splits into training and test rows are ours, and rows that are alike belong to the tables.
    fitted = lb.tabular(train, target, seed=seed, verbose=False, preflight=False)
    test = test.drop(columns=[target])
    classes = train[target].dtype.kind not in "if"
    return np.asarray(fitted.predict_classes(test) if classes else fitted.predict(test))


def with_boosting(train: pd.DataFrame, test: pd.DataFrame, target: str, seed: int) -> "np.ndarray[Any, Any]":
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    classes = train[target].dtype.kind not in "if"
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    x, test = _categories(train.drop(columns=[target]), test.drop(columns=[target]))
    return kind(random_state=seed).fit(x, train[target]).predict(test)


def _with_pytabkit(name: str) -> Callable[[pd.DataFrame, pd.DataFrame, str, int], "np.ndarray[Any, Any]"]:
    def fit(train: pd.DataFrame, test: pd.DataFrame, target: str, seed: int) -> "np.ndarray[Any, Any]":
        import pytabkit

        classes = train[target].dtype.kind not in "if"
        model = getattr(pytabkit, f"{name}_{'Classifier' if classes else 'Regressor'}")
        x, test = _categories(train.drop(columns=[target]), test.drop(columns=[target]))
        x, test = (frame.fillna(train.median(numeric_only=True)) for frame in (x, test))  # it takes no gaps in numbers
        return model(random_state=seed, device="cpu", verbosity=0).fit(x, train[target]).predict(test)

    return fit


def _categories(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Text as pandas' categories, those of the training rows."""
    texts = [name for name in train if train[name].dtype.kind not in "ifb"]
    kinds = {name: pd.CategoricalDtype(sorted(train[name].dropna().astype(str).unique())) for name in texts}
    as_text = {name: lambda frame, name=name: frame[name].astype(object).where(frame[name].notna()) for name in texts}
    return train.assign(**as_text).astype(kinds), test.assign(**as_text).astype(kinds)


def judged(truth: pd.Series, predicted: "np.ndarray[Any, Any]") -> float:
    if truth.dtype.kind not in "if":
        return float((truth.to_numpy().astype(str) == predicted.astype(str)).mean())
    return float(np.sqrt(np.mean((truth.to_numpy(dtype=float) - predicted.astype(float).reshape(-1)) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    contenders = {name: CONTENDERS[name] for name in options.contenders}
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "tabular.json"
    found: dict[str, Any] = json.loads(file.read_text())["tables"] if file.exists() else {}
    for name in options.tables:
        load, target = TABLES[name]
        frame = load().reset_index(drop=True)
        scores: dict[str, list[float]] = {one: [] for one in contenders}
        seconds: dict[str, list[float]] = {one: [] for one in contenders}
        for seed in range(options.seeds):
            rows = np.random.default_rng(seed).permutation(len(frame))
            test, train = frame.iloc[rows[: len(frame) // 5]], frame.iloc[rows[len(frame) // 5 :]]
            for one, fit in contenders.items():
                begin = time.process_time()
                scores[one].append(judged(test[target], fit(train, test, target, seed)))
                seconds[one].append(time.process_time() - begin)
        old = found.get(name, {"scores": {}, "seconds": {}})
        found[name] = {
            "rows": len(frame),
            "classes": frame[target].dtype.kind not in "if",
            "scores": old["scores"] | scores,
            "seconds": old["seconds"] | seconds,
        }
        print(name, {one: round(statistics.mean(values), 4) for one, values in scores.items()}, flush=True)
        load = f"{os.getloadavg()[0]:.1f} at last"
        file.write_text(json.dumps({"machine": machine(), "load": load, "tables": found}, indent=1))
        (options.out / "tabular.md").write_text(page(found, load))


def page(found: dict[str, Any], load: str) -> str:
    contenders = [name for name in CONTENDERS if any(name in one["scores"] for one in found.values())]
    lines = [
        "# `lb.tabular` beside others, on ten tables",
        "",
        f"{machine()}; load average {load}. Accuracy of classes, RMSE of numbers: mean and standard deviation over "
        "splits; seconds of CPU time a fit.",
        "",
        f"| table | rows | {' | '.join(contenders)} | seconds |",
        f"|---|---|{'---|' * (len(contenders) + 1)}",
    ]
    for name, one in found.items():
        cells = [_score(one["scores"].get(who)) for who in contenders]
        times = " / ".join(f"{statistics.mean(one['seconds'][who]):.1f}" for who in contenders if who in one["seconds"])
        lines.append(f"| {name} | {one['rows']} | {' | '.join(cells)} | {times} |")
    for other in contenders[1:]:
        both = [one for one in found.values() if {"lumbre", other} <= set(one["scores"])]
        worse = [_worse(one, other) for one in both]
        counts = f"Not worse than {other} on {sum(by <= 0 for by in worse)} of {len(both)}"
        lines += ["", f"{counts}, and not worse by more than 2 % on {sum(by <= 0.02 for by in worse)}."]
    return "\n".join(lines) + "\n"


def _score(values: list[float] | None) -> str:
    if values is None:
        return "-"
    return f"{statistics.mean(values):.4g} ± {statistics.stdev(values) if len(values) > 1 else 0:.2g}"


def _worse(table: dict[str, Any], other: str) -> float:
    """By which share lumbre's mean is worse than another's."""
    mine, theirs = (statistics.mean(table["scores"][who]) for who in ("lumbre", other))
    return (theirs - mine) / theirs if table["classes"] else (mine - theirs) / theirs


CONTENDERS: dict[str, Callable[[pd.DataFrame, pd.DataFrame, str, int], "np.ndarray[Any, Any]"]] = {
    "lumbre": with_lumbre,
    "boosting": with_boosting,
    "RealMLP": _with_pytabkit("RealMLP_TD"),
    "TabM": _with_pytabkit("TabM_D"),
}


if __name__ == "__main__":
    main()
