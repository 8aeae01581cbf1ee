"""mypy over the lines of users that pyright checks in `make check`: what one must refuse the other must as well."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = {"reportArgumentType": "arg-type", "reportCallIssue": "call-arg"}
"""mypy's words for pyright's."""


def for_mypy() -> str:
    text = Path(__file__).with_name("users.py").read_text(encoding="utf-8")
    return re.sub(r"# pyright: ignore\[(\w+)\]", lambda mark: f"# type: ignore[{WORDS[mark[1]]}]", text)


def test_each_mark_has_a_word_of_mypy() -> None:
    assert len(re.findall(r"# type: ignore\[[a-z-]+\]$", for_mypy(), re.MULTILINE)) >= 7


@pytest.mark.slow
def test_mypy(tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text(for_mypy(), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-incremental", str(tmp_path / "users.py")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
