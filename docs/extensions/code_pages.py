"""A page for each code, such as LB007: the text that `lumbre explain LB007` prints.

They are in no table of contents: a hundred entries beside every page would hide the others, and take half of the build.
"""

from pathlib import Path

from sphinx.application import Sphinx

from lumbre.preflight import codes, explained

MARK = "<!-- one row for each code -->"
FOLDER = "codes"
BACK = "All codes are [on one page](index.md).\n"


def write(app: Sphinx) -> None:
    """Write the pages, beside their index; git ignores them."""
    folder = Path(app.srcdir) / FOLDER
    for old in set(folder.glob("LB*.md")) - {folder / f"{code}.md" for code in codes()}:
        old.unlink()
    for code in codes():
        page, text = (
            folder / f"{code}.md",
            f"---\norphan: true\n---\n{explained(code)}\n{BACK}",
        )
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def fill_the_index(app: Sphinx, name: str, source: list[str]) -> None:
    """The index has a row for each page."""
    if name == f"{FOLDER}/index":
        rows = [
            f"| [{code}]({code}.md) | {said.severity} | {said.title} |"
            for code, said in codes().items()
        ]
        source[0] = source[0].replace(
            MARK, "\n".join(["| code | kind | what it says |", "|---|---|---|", *rows])
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("source-read", fill_the_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
