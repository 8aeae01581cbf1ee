"""The script runs from its data to a saved model, and learns something: run `pytest` in this folder."""

import os
import runpy
from pathlib import Path


def test_the_script_learns() -> None:
    """Better than guessing, on rows that were held out."""
    here = Path(__file__).parent
    before = Path.cwd()
    os.chdir(here)
    try:
        ran = runpy.run_path("train.py")
    finally:
        os.chdir(before)
    assert ran["evaluation"].metrics["acc"] > 0.8
    assert (here / "model.lumbre").is_file()
