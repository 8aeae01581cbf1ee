"""Every snippet in README, docs and docstrings runs and prints what the page shows."""

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

import lumbre
from conftest import ROOT

FOLDERS = ("", "how-to", "coming-from", "codes")
PAGES = [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / "docs" / folder).glob("*.md")))]
PAGES = [page for page in PAGES if not page.stem.startswith("LB")]  # made by the build
MODULES = sorted(
    str(file.relative_to(ROOT / "src").with_suffix("")).replace("/", ".")
    for file in (ROOT / "src" / "lumbre").rglob("*.py")
    if ">>>" in file.read_text()
)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_the_snippets_of_a_page_run_one_after_the_other(page: Path, in_tmp: Path) -> None:
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


def test_the_readme_prints_what_it_says(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, mistake = blocks(ROOT / "README.md", "python")
    said_program, said_mistake = blocks(ROOT / "README.md", "text")
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(program, "README.md", "exec"), names)
    out = capsys.readouterr().out
    # Losses differ in the last digits from processor to processor; the form and the names must not.
    digits = re.compile(r"\d+(\.\d+)?")
    printed = {digits.sub("#", line) for line in out.splitlines()}
    for line in said_program.splitlines():
        assert line == "..." or digits.sub("#", line) in printed, line
    assert said_program.splitlines()[-1] == out.splitlines()[-1]
    exec(compile(mistake, "README.md", "exec"), names)
    assert capsys.readouterr().out == said_mistake


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings(module: str, in_tmp: Path) -> None:
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_on_the_package_index_has_full_addresses() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    repository = pyproject["project"]["urls"]["Repository"]
    assert all(url.startswith(repository) for url in pyproject["project"]["urls"].values())
    text = (ROOT / "README.md").read_text()
    count = len(re.findall(r"\]\(", text))
    for rule in pyproject["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)#]+)", text)
    assert len(links) == count
    for picture, url in links:
        # /blob/ is the page of a file or folder, /raw/ the file itself, which a picture needs.
        start = f"{repository}/{'raw' if picture else 'blob'}/main/"
        assert url.startswith(start), url
        assert (ROOT / url.removeprefix(start)).exists(), url


LUZ_EXPORTS = (Path(__file__).parent / "luz_exports.txt").read_text().split()


COMING_FROM = [ROOT / "docs" / "coming-from-r.md", *sorted((ROOT / "docs" / "coming-from").glob("[!i]*.md"))]


def rows(page: Path) -> list[list[str]]:
    lines = page.read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]


def test_every_export_of_luz_has_a_row() -> None:
    named = {code.split("(")[0] for row in rows(COMING_FROM[0]) for code in re.findall(r"`([^`]+)`", row[0])}
    assert [name for name in LUZ_EXPORTS if name not in named] == []


@pytest.mark.parametrize("page", COMING_FROM, ids=lambda page: page.stem)
def test_every_spelling_in_the_tables_exists(page: Path) -> None:
    assert len(rows(page)) > 10
    for row in rows(page):
        for code in re.findall(r"`([^`]+)`", row[1]):
            for path in re.findall(r"\blb\.([A-Za-z_0-9.]*[A-Za-z_0-9])", code):
                found: object = lumbre
                for part in path.split("."):
                    found = getattr(found, part)
            for owner, name in re.findall(r"\b(Recipe|Fitted|Callback)\.([a-z_]+)", code):
                assert hasattr(getattr(lumbre, owner), name), code
