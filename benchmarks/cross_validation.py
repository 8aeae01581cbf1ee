"""Five-fold cross-validation of a table of 2,000 rows: lumbre, five fits in an expert's loop, skorch.

All have the same net, as many folds, Adam, batches of 32 and 20 epochs, scale rows by those of each fold's training
part, and judge each fold by its accuracy. The expert's loop permutes tensors once an epoch, has a fused Adam and adds
the loss up without waiting for it; skorch stands in a `Pipeline` under `cross_val_score`. One thread; CPU seconds; each
round runs all three in an order drawn anew. lumbre's checks before the first fold are counted, and so are its
predictions for each row and the accuracy of the training rows in each epoch, which the others do not compute.

    .venv-peers/bin/python -m benchmarks.cross_validation --rounds 9
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn, optim

import lumbre as lb
from benchmarks.peers.contenders import expert
from benchmarks.peers.report import machine
from benchmarks.peers.works import Job, mlp
from benchmarks.today import interval

FOLDS, EPOCHS, BATCH, LR = 5, 20, 32, 1e-3


def with_lumbre(x: Tensor, y: Tensor) -> list[float]:
    recipe = lb.setup(mlp, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    data = lb.data.from_frame(_frame(x, y), target="y")
    options = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": False}
    found = recipe.set_opt_hparams(lr=LR).cross_validate(data, folds=FOLDS, **options)
    scores = found.scores
    return scores.loc[scores["metric"] == "acc", "value"].tolist()


def with_expert(x: Tensor, y: Tensor) -> list[float]:
    scores: list[float] = []
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        center, spread = x[train].mean(0), x[train].std(0)
        seen, held = (x[train] - center) / spread, (x[test] - center) / spread
        options = {"batch": BATCH, "epochs": EPOCHS, "lr": LR, "precision": "float32", "seed": 0}
        model = expert.train(Job(model=mlp(), x=seen, y=y[train], **options))
        with torch.inference_mode():
            scores.append((model(held).argmax(1) == y[test]).float().mean().item())
    return scores


def with_skorch(x: Tensor, y: Tensor) -> list[float]:
    from skorch import NeuralNetClassifier

    options = {"max_epochs": EPOCHS, "batch_size": BATCH, "lr": LR, "iterator_train__shuffle": True}
    net = NeuralNetClassifier(
        mlp, criterion=nn.CrossEntropyLoss, optimizer=optim.Adam, train_split=None, verbose=0, **options
    )
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_score(make_pipeline(StandardScaler(), net), x.numpy(), y.numpy(), cv=folds).tolist()


CONTENDERS: dict[str, Callable[[Tensor, Tensor], list[float]]] = {
    "lumbre": with_lumbre,
    "expert": with_expert,
    "skorch": with_skorch,
}


def _frame(x: Tensor, y: Tensor) -> Any:
    import pandas as pd

    frame = pd.DataFrame(x.numpy(), columns=[f"x{column}" for column in range(x.shape[1])])
    return frame.assign(y=np.where(y.numpy() == 1, "yes", "no"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    numbers, labels = make_classification(2_000, 20, n_informative=8, random_state=0)
    x, y = torch.tensor(numbers, dtype=torch.float32), torch.tensor(labels)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    accuracy = dict.fromkeys(CONTENDERS, 0.0)
    dice = random.Random(0)
    for number in range(rounds + 1):
        for name in dice.sample(list(CONTENDERS), len(CONTENDERS)):
            begin = time.process_time()
            accuracy[name] = statistics.mean(CONTENDERS[name](x, y))
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - begin)
    print(f"{machine()}; 1 thread, {rounds} rounds\n")
    print("| | CPU s (median) | over the expert's: median, 95 % interval | accuracy |\n|---|---|---|---|")
    for name, took in seconds.items():
        ratios = [own / expert for own, expert in zip(took, seconds["expert"], strict=True)]
        low, high = interval(ratios)
        print(
            f"| {name} | {statistics.median(took):.2f} | {statistics.median(ratios):.2f} ({low:.2f}-{high:.2f}) "
            f"| {accuracy[name]:.3f} |"
        )


if __name__ == "__main__":
    main()
