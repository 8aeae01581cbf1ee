"""How a pair is added, for the pairs after what others mended.

They were written before the checks were read. A seeded draw gave each its half, before any was run: "develop" was
looked at while checks were mended, "frozen" was counted, once before that and once after.
"""

import csv
from collections.abc import Callable
from pathlib import Path

from corpus.asked import ASKED
from corpus.found import FOUND
from corpus.more import MORE
from corpus.program import CASES, GROWN, Case, Make
from corpus.reported import REPORTED

LATER: list[Case] = []
_ROWS = {row["name"]: row for row in csv.DictReader(Path(__file__).with_name("later.csv").read_text().splitlines())}


def later(*codes: str) -> Callable[[Make], Make]:
    """Add a pair. `codes` are the findings that would name the right cause; none where no check could."""

    def add(make: Make) -> Make:
        name = make.__name__
        assert name not in {known.name for known in (*CASES, *GROWN, *REPORTED, *ASKED, *FOUND, *MORE, *LATER)}, name
        LATER.append(Case(name, _ROWS[name]["address"] or "asked in forums", _ROWS[name]["half"], codes, make))
        return make

    return add
