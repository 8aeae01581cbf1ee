"""The documentation as a reader meets it: found in few clicks, with no line cut off, and whole without a network."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import pytest

import lumbre
from conftest import ROOT

DOCS = ROOT / "docs"
SOURCES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts and page.name[:2] != "LB")
TUTORIALS = sorted(page for page in (DOCS / "tutorials").glob("*.md") if "```python" in page.read_text())
WIDTH = 88


def extension(name: str) -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "extensions" / f"{name}.py"))


def links(page: Path) -> set[Path]:
    found = re.findall(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#]+)", page.read_text())
    return {(page.parent / target).resolve() for target in found}


def within(clicks: int) -> set[Path]:
    seen = {DOCS / "index.md"}
    for _ in range(clicks):
        seen |= {target for page in seen if page.suffix == ".md" for target in links(page)}
    return seen


@pytest.mark.parametrize(
    ("task", "page", "says"),
    [
        ("install", "installing.md", "pip install lumbre"),
        ("train on a data frame", "how-to/data-frames.md", "lb.data.from_frame("),
        ("resume", "how-to/resume.md", "fit(train, resume="),
        ("export", "how-to/export.md", "fitted.export("),
        ("read an error code", "codes/index.md", "lumbre explain LB007"),
    ],
)
def test_a_task_is_one_click_away(task: str, page: str, says: str) -> None:
    assert DOCS / page in within(1), task
    assert says in (DOCS / page).read_text()


def test_every_page_is_within_three_clicks() -> None:
    assert [page for page in SOURCES if page not in within(3)] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *SOURCES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_line_of_code_is_cut_off(page: Path) -> None:
    for language, code in re.findall(r"^```(\S*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if language not in ("text", "{include}"):  # printed lines are broken by the style sheet
            assert [line for line in code.splitlines() if len(line) > WIDTH] == []


def test_no_line_of_an_example_in_a_docstring_is_cut_off() -> None:
    for file in sorted((ROOT / "src" / "lumbre").rglob("*.py")):
        lines = [line.strip() for line in file.read_text().splitlines() if line.strip()[:3] in (">>>", "...")]
        assert [line for line in lines if len(line) > WIDTH] == [], file


def test_the_table_of_extras_is_that_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = [
        line.strip("| ").split("|") for line in (DOCS / "installing.md").read_text().splitlines() if line[:3] == "| `"
    ]
    said = {row[0].strip("` "): (row[1], set(re.findall(r"`([^`]+)`", row[-1]))) for row in rows}
    assert set(said) == set(extras)

    def names(requirements: Iterable[str]) -> set[str]:
        return {re.split(r"[>=<,\[]", one)[0] for one in requirements}

    for extra, (_, packages) in said.items():
        if extra not in ("all", "dev"):
            assert packages == names(extras[extra]), extra
    whole = re.findall(r"lumbre\[([^\]]+)\]", extras["all"][0])[0].split(",")
    assert set(re.findall(r"`([^`]+)`", said["all"][0])) == set(whole)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_becomes_a_notebook_and_a_script(page: Path) -> None:
    made = extension("downloads")
    text = page.read_text()
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    script = made["script"](text)
    assert ast.unparse(ast.parse(script)) == ast.unparse(ast.parse("\n".join(code)))
    notebook = made["notebook"](text, page.parent, "https://example.org")
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == [block.rstrip() for block in code]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    pictures = set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose))
    inside = {f"attachment:{name}" for cell in notebook.cells for name in cell.get("attachments", {})}
    assert pictures == inside
    assert not re.findall(r"(?<!!)\[[^\]]*\]\((?!https?:)", prose)
    assert sum(len(cell.get("outputs", [])) for cell in notebook.cells if cell.cell_type == "code") <= text.count(
        "```text"
    )


def test_a_quick_script_runs_and_prints_what_the_page_says(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = DOCS / "tutorials" / "deep_learning_and_scientific_computing.md"
    script = extension("downloads")["script"](page.read_text())
    assert script.count("epochs=200") == 1
    Path("script.py").write_text(script.replace("epochs=200", "epochs=2"))
    runpy.run_path("script.py", run_name="__main__")
    said = "".join(re.findall(r"^```text\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    printed = capsys.readouterr().out.splitlines()
    assert len(said) > 20
    assert set(said.splitlines()) - set(printed) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["little_book", "deep_learning_and_scientific_computing"])
def test_a_quick_notebook_runs(name: str, in_tmp: Path) -> None:
    from nbclient import NotebookClient

    page = DOCS / "tutorials" / f"{name}.md"
    made = extension("downloads")["notebook"](page.read_text(), page.parent, "https://example.org")
    NotebookClient(made, timeout=600, kernel_name="python3").execute()


LOADED = [
    '<script src="https://example.org/a.js"></script>',
    "<img alt='' src='//example.org/a.png'>",
    '<link rel="stylesheet" href="http://example.org/a.css">',
    "@font-face { src: url(https://example.org/a.woff2) }",
    '@import "https://example.org/a.css";',
]
HARMLESS = [
    '<a href="https://example.org">elsewhere</a>',
    '<script src="_static/a.js?v=1"></script>',
    '<link rel="canonical" href="https://example.org/index.html">',
    "background: url(data:image/svg+xml,abc)",
]


@pytest.mark.parametrize(("text", "count"), [(text, 1) for text in LOADED] + [(text, 0) for text in HARMLESS])
def test_the_build_sees_what_a_page_would_load_from_elsewhere(text: str, count: int) -> None:
    assert len(extension("offline")["loaded_from_elsewhere"](text)) == count


@pytest.mark.parametrize(("language", "count"), [("python", 1), ("text", 0)])
def test_the_build_sees_a_line_of_code_that_is_too_long(language: str, count: int) -> None:
    code = f"<span>{'x' * 80}</span> = 1 &gt; 0"
    page = f'<div class="highlight-{language} notranslate"><div class="highlight"><pre>{code}\n</pre></div>'
    assert len(extension("offline")["too_long"](page.replace("= 1", "= 1234"))) == count
    assert extension("offline")["too_long"](page.replace("= 1", "")) == []


def test_the_reference_names_everything_that_is_public() -> None:
    directive = re.compile(r"^\.\. public:: (\S+)\n((?:\n|   .*\n)*)", re.MULTILINE)
    documented = set[str]()
    for page in (DOCS / "reference").glob("*.md"):
        for module, content in directive.findall(page.read_text()):
            names = [line.partition("=")[0].strip() for line in content.splitlines() if line.strip()]
            documented |= {f"{module}.{name}" for name in names} if names else {module}
    for name in lumbre.__all__:
        if name != "__version__":
            assert f"lumbre.{name}" in documented, name


def test_no_handler_of_a_callback_is_listed() -> None:
    pytest.importorskip("sphinx")
    members = extension("public_names")["members"]
    for name in lumbre.callbacks.__all__:
        assert [one for one in members(getattr(lumbre.callbacks, name)) if one.startswith("on_")] == [], name
    assert members(lumbre.Callback) == ["state_dict", "load_state_dict"]
    assert "fit" in members(lumbre.Recipe)
