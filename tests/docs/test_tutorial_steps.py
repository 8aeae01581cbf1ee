"""Every step that the five tutorials show or name has its section in a program, and one only.

`seed_steps.txt` holds the ids of the steps, tutorial by tutorial. S4-14 to S4-16 were never given out.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT

STEPS = (Path(__file__).parent / "seed_steps.txt").read_text().split()
TUTORIALS = ("mnist_cnn", "little_book", "workshop", "guess_the_correlation", "deep_learning_and_scientific_computing")
"""The programs by the number of their tutorial, which is the digit after the S."""


def heads(program: str) -> list[tuple[str, str]]:
    """Id and title of the sections of a program: `# S1-01  Title`, or several of them on a line, five spaces apart."""
    text = (ROOT / "examples" / "tutorials" / f"{program}.py").read_text()
    lines = re.findall(r"^ *# (S\d-\d\d.*)$", text, re.MULTILINE)
    return [(part[:5], part[5:]) for line in lines for part in re.split(r" {5}(?=S\d-\d\d)", line)]


def test_the_list_of_steps_is_whole() -> None:
    assert Counter(step[:2] for step in STEPS) == {"S0": 10, "S1": 14, "S2": 23, "S3": 12, "S4": 19}


def test_every_step_has_one_section() -> None:
    found = Counter(step for program in TUTORIALS for step, _ in heads(program))
    assert found == Counter(STEPS)


@pytest.mark.parametrize("program", TUTORIALS)
def test_sections_are_written_alike_and_in_their_own_program(program: str) -> None:
    for step, title in heads(program):
        assert step[1] == str(TUTORIALS.index(program)), step
        assert re.match(r"  \w", title), f"{step}: two spaces, then the title"


def test_there_are_no_programs_besides() -> None:
    assert {file.stem for file in (ROOT / "examples" / "tutorials").glob("*.py")} == set(TUTORIALS)
