"""The documentation uses the terms of the field: idioms that readers stumbled over stay out."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What to write instead, for the message of the failing test.
IDIOMS = {
    r"rooms?": "package, or space",
    r"the face": "the public API",
    r"told": "reported",
    r"tells? of": "describes",
    r"apart(?! from)": "separate",
    r"borne": "tolerated",
    r"(?:had|got|gotten) back": "recovered",
    r"(?:of|by|left to) chance": "random",
    r"goes on": "resumes, or continues",
    r"models? in parts": "sharded models",
    r"weighed": "weighted",
    r"cannot be had": "is not supported",
    r"taken away": "removed",
    r"hardly can be": "probably is not",
    r"wants": "needs",
    r"(?-i:Who) (?:has|sets|calls|comes|looks|says)": "If you ...",
}
_GROUPS = "|".join(f"(?P<w{at}>{idiom})" for at, idiom in enumerate(IDIOMS))
PATTERN = re.compile(rf"\b(?:{_GROUPS})\b".replace(" ", r"\s+"), re.IGNORECASE)  # a phrase may break over two lines

GENERATED = re.compile(r"^## The checks\n.*?(?=^## )", re.MULTILINE | re.DOTALL)
"""Of docs/preflight.md: one paragraph a check, from the docstrings of the package."""
QUOTED = re.compile(r"^```.*?^```|`[^`\n]*`|\"[^\"]*\"|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
"""Code, quoted text and links."""

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("*/[!L]*.md")),
]


def idioms(text: str, skipped: Iterable[re.Pattern[str]] = (GENERATED, QUOTED)) -> list[str]:
    """Each idiom in `text` with its line and what to write instead; `skipped` is not searched."""
    for pattern in skipped:
        text = pattern.sub(lambda part: "\n" * part.group().count("\n"), text)
    advice = list(IDIOMS.values())
    return [
        f"line {text[: found.start()].count(chr(10)) + 1}: {found.group()!r}, write: {advice[int(found.lastgroup[1:])]}"
        for found in PATTERN.finditer(text)
        if found.lastgroup
    ]


# For the sources, add their files to the list, and pass `skipped=()` where nothing in them is quoted.
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_idioms_stay_out(page: Path) -> None:
    assert idioms(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "its own rooms",
        "The face: setup",
        "a run that goes\non",
        "left to chance",
        "Who sets it has its value",
        "is told",
    ],
)
def test_each_is_found(text: str) -> None:
    assert len(idioms(text)) == 1


@pytest.mark.parametrize(
    "text",
    ['named "told"', "`told`", "```\ntold\n```", "a [link](told.md)", "five spaces", "the interface", "restored"],
)
def test_other_words_and_quoted_parts_pass(text: str) -> None:
    assert idioms(text) == []
