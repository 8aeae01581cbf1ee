"""The page "How a fit runs" names what exists, in the order in which a run calls it."""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import lumbre as lb
from conftest import ROOT

PACKAGE = Path(lb.__file__).parent
PAGE = (ROOT / "docs" / "how-a-fit-runs.md").read_text()
PROGRAM = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
TEXT = PAGE.replace(PROGRAM, "")
KEPT = "## A run that is kept and resumed"
BLOCKS = re.split(r"\n\n|\n(?=\d+\. |\|)", TEXT)  # a paragraph, an item of a list, a row of a table

Call = tuple[str, str]


def files(text: str) -> list[str]:
    return re.findall(r"`([\w/]+\.py)`", text)


def functions(text: str) -> list[str]:
    return re.findall(r"`([\w.]+)\(\)`", text)


def listed(text: str) -> list[Call]:
    """(file, function) of the numbered lines, in their order."""
    heads = re.findall(r"^\d+\. ([^:]+):", text, re.MULTILINE)
    assert all(len(files(head)) == 1 and functions(head) for head in heads)
    return [(files(head)[0], name) for head in heads for name in functions(head)]


def defined(file: str) -> set[str]:
    tree = ast.parse((PACKAGE / file).read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    outer = [node for node in tree.body if isinstance(node, kinds)]
    inner = {f"{node.name}.{part.name}" for node in outer for part in node.body if isinstance(part, kinds)}
    return {node.name for node in outer} | inner


def calls_of(run: Callable[[], object]) -> list[Call]:
    """(file, qualified name) of every function of lumbre that `run` calls, in the order of first calls."""
    seen: dict[Call, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = frame.f_code.co_qualname.removesuffix(".__init__")
            seen.setdefault((path.relative_to(PACKAGE).as_posix(), name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return list(seen)


def assert_in_order(expected: list[Call], seen: list[Call]) -> None:
    assert [call for call in expected if call not in seen] == []
    assert sorted(expected, key=seen.index) == expected


def test_the_numbered_lines_are_what_a_run_calls() -> None:
    expected = listed(TEXT[: TEXT.index(KEPT)])
    assert len(expected) > 25
    assert_in_order(expected, calls_of(lambda: exec(PROGRAM, {})))


def test_the_lines_of_a_kept_run_are_what_it_calls_when_it_goes_on(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(PROGRAM, names)
    recipe, x = names["recipe"], names["x"]

    def fit(epochs: int) -> None:
        recipe.fit((x, x.sum(1, keepdim=True)), epochs=epochs, resume=tmp_path / "run", verbose=False)

    fit(1)
    expected = listed(TEXT[TEXT.index(KEPT) :])
    assert len(expected) > 10
    assert_in_order(expected, calls_of(lambda: fit(2)))


@pytest.mark.parametrize("file", sorted(set(files(TEXT))))
def test_every_file_named_exists(file: str) -> None:
    assert (PACKAGE / file).is_file()


def test_every_function_named_stands_in_a_file_named_beside_it() -> None:
    general = {"fit", "build", "train"}  # of which a line speaks in passing
    for block in BLOCKS:
        names = set().union(*map(defined, files(block)))
        known = names | {name.rpartition(".")[2] for name in names} | general
        assert [name for name in functions(block) if name not in known] == [], block


def test_every_file_of_run_is_named() -> None:
    there = {f"run/{path.name}" for path in (PACKAGE / "run").glob("_[!_]*.py")}
    assert there - set(files(TEXT)) == set()


def test_the_tree_in_the_readme_is_what_there_is() -> None:
    tree = re.findall(r"^```\nsrc/lumbre/\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    rows = [line.split(maxsplit=1) for line in tree.splitlines()]
    there = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir()} - {"__pycache__/"}
    assert sorted(name for name, _ in rows) == sorted(there)
