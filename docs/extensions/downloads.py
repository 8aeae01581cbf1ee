"""The tutorials as notebooks and scripts, made from the pages when the documentation is built.

A notebook has the page's text, its code, and below a cell what the page says that it prints; pictures are inside it. A
script has the code, with the headings as comments.
"""

import base64
import posixpath
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.application import Sphinx

BLOCK = re.compile(r"^```(python|text)\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:)([^)#]+)([^)]*)\)")
NEEDS = 'pip install "lumbre[plots,data]"'


def parts(page: str) -> list[tuple[str, str]]:
    """(kind, text) of a page in its order; kind is "markdown", "python" or "text"."""
    found: list[tuple[str, str]] = []
    at = 0
    for block in BLOCK.finditer(page):
        found += [
            ("markdown", page[at : block.start()].strip()),
            (block[1], block[2].rstrip()),
        ]
        at = block.end()
    found.append(("markdown", page[at:].strip()))
    return [(kind, text) for kind, text in found if text]


def script(page: str) -> str:
    """The code of a page as a program."""
    lines = [f"# Needs: {NEEDS}"]
    for kind, text in parts(page):
        if kind == "markdown":
            lines += [
                f"\n# {head}" for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            ]
        elif kind == "python":
            lines += ["", text]
    return "\n".join(lines).lstrip() + "\n"


def notebook(page: str, folder: Path, repository: str) -> Any:
    """A page as a notebook.

    Args:
        page: its Markdown.
        folder: where the page is; its pictures are found from there.
        repository: address for the links of the page, which lead to files that a notebook does not have beside it.
    """
    cells: list[Any] = []
    for kind, text in parts(page):
        if kind == "python":
            cells.append(new_code_cell(text))
        elif kind == "text" and cells and cells[-1].cell_type == "code":
            cells[-1].outputs = [new_output("stream", name="stdout", text=text + "\n")]
        else:
            cells.append(
                _markdown(
                    f"```\n{text}\n```" if kind == "text" else text, folder, repository
                )
            )
    cells.insert(1, new_markdown_cell(f"Needs `{NEEDS}`."))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same at every build
    made = new_notebook(cells=cells)
    made.metadata.kernelspec = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    nbformat.validate(made)
    return made


def _markdown(text: str, folder: Path, repository: str) -> Any:
    attachments: dict[str, Any] = {}

    def inside(picture: re.Match[str]) -> str:
        place = folder / picture[2]
        attachments[place.name] = {
            "image/png": base64.b64encode(place.read_bytes()).decode()
        }
        return f"![{picture[1]}](attachment:{place.name})"

    def absolute(link: re.Match[str]) -> str:
        return f"[{link[1]}]({repository}/blob/main/{posixpath.normpath(f'docs/tutorials/{link[2]}')}{link[3]})"

    cell = new_markdown_cell(LINK.sub(absolute, PICTURE.sub(inside, text)))
    if attachments:
        cell.attachments = attachments
    return cell


def add_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Below the title of a tutorial with code stand its downloads."""
    if name.startswith("tutorials/") and "```python" in source[0]:
        stem = name.rpartition("/")[2]
        links = " · ".join(
            f'<a href="../downloads/{stem}.{end}" download>{kind}</a>'
            for end, kind in (("ipynb", "notebook"), ("py", "script"))
        )
        source[0] = re.sub(
            r"\A(# .*\n)",
            rf'\1\n<p class="downloads">Download this page: {links}</p>\n',
            source[0],
            count=1,
        )


def write(app: Sphinx, error: Exception | None) -> None:
    """Make the files."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "downloads"
    target.mkdir(exist_ok=True)
    repository = app.config._raw_config["REPOSITORY"]
    for path in sorted((Path(app.srcdir) / "tutorials").glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if "```python" in page:
            (target / f"{path.stem}.py").write_text(script(page), encoding="utf-8")
            nbformat.write(
                notebook(page, path.parent, repository), target / f"{path.stem}.ipynb"
            )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add_links)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
