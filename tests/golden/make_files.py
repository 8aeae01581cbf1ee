"""Writes `tests/storage/files/schema2.lumbre` and `checkpoint-schema2`: files as the lumbre of their day wrote them.

Run it only when the format changes, under new names; `test_files_of_before.py` reads what it wrote then.

    python tests/golden/make_files.py --schema 3
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from golden_runs import digest, kind, numbers
from torch import nn, optim

import lumbre as lb
from lumbre import callbacks, metrics, schedules

FILES = Path(__file__).parents[1] / "storage" / "files"
FEATURES = ["bill_length_mm", "body_mass_g", "island", "sex"]
MIDDLE = 7


def net() -> nn.Sequential:
    """Of torch's classes only: a class of one's own is known by its byte code, which is another in each Python."""
    return nn.Sequential(nn.Linear(7, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def rows() -> lb.data.FrameData:
    """Penguins with numbers and categories."""
    frame = lb.datasets.penguins(drop_missing=True).iloc[::3].reset_index(drop=True)
    return lb.data.from_frame(frame, target="species", features=FEATURES)


def fit(resume: Any = None) -> lb.Fitted:
    """Three epochs of five steps, with state in most places: averages, a schedule, mixed batches, metrics."""
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=metrics.Accuracy())
    given = [callbacks.EMA(0.9), callbacks.Mixup(), callbacks.LearningRate(schedules.cosine(warmup=0.2))]
    given += [callbacks.KeepBestModel()]
    options: dict[str, Any] = {"epochs": 3, "batch_size": 18, "valid_data": 0.2, "verbose": False, "device": "cpu"}
    return recipe.set_opt_hparams(lr=0.02).fit(rows(), callbacks=given, resume=resume, preflight=False, **options)


def end_of(fitted: lb.Fitted) -> dict[str, Any]:
    """What a run came to."""
    predicted = fitted.predict(lb.datasets.penguins(drop_missing=True).iloc[::40])
    assert isinstance(predicted, torch.Tensor)
    weights = sorted(fitted.model.state_dict().items())
    return {
        "weights": digest(weights),
        "numbers": numbers([value for _, value in weights]),
        "predictions": predicted.double().tolist(),
        "history": fitted.history["value"].tolist(),
    }


def main() -> None:
    """Write an archive, the checkpoint of a step in the middle of an epoch, and where both end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schema", type=int, required=True, help="the number in the names of the files")
    schema = parser.parse_args().schema
    torch.set_num_threads(1)
    into = FILES / f"checkpoint-schema{schema}"
    with tempfile.TemporaryDirectory() as folder:
        # All steps are kept, and then all but one taken away: so a callback that stops the run is not needed.
        fitted = fit(lb.Checkpoints(folder, steps=1, wait=True, keep=100))
        (found,) = Path(folder).glob(f"step-{MIDDLE:08d}*")
        shutil.copytree(found, into / found.name)
    fitted.save(FILES / f"schema{schema}.lumbre")
    end = {"kind": kind(), "torch": torch.__version__, **end_of(fitted)}
    (FILES / f"schema{schema}.json").write_text(json.dumps(end, indent=1) + "\n")


if __name__ == "__main__":
    main()
