"""What holds of the built pages: nothing of them comes from another host, and no line of code is cut off."""

import html
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

WIDTH = 88
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"'](?:https?:)?//[^>]*>"
    r"|<link\b(?![^>]*rel=[\"'](?:canonical|search)[\"'])[^>]*\bhref=[\"'](?:https?:)?//[^>]*>"
    r"|url\([\"']?(?:https?:)?//[^)]*\)|@import\s+[\"'](?:https?:)?//[^;]*"
)
_CODE = re.compile(
    r'<div class="(?:[\w-]+ )?highlight-(\w+)[^"]*"><div class="highlight"><pre>(.*?)</pre>',
    re.DOTALL,
)


def loaded_from_elsewhere(text: str) -> list[str]:
    """What a page or a style sheet would load from another host; links may lead anywhere."""
    return [found[0] for found in _LOADED.finditer(text)]


def too_long(page: str) -> list[str]:
    """Lines of code that are wider than 88 columns. Printed text is broken by the style sheet."""
    blocks = [code for language, code in _CODE.findall(page) if language != "text"]
    lines = [
        line
        for code in blocks
        for line in html.unescape(re.sub(r"<[^>]+>", "", code)).splitlines()
    ]
    return [line for line in lines if len(line) > WIDTH]


def look(app: Sphinx, error: Exception | None) -> None:
    """End the build with an error where a page breaks the rule."""
    if error is not None or app.builder.format != "html":
        return
    found: list[str] = []
    for path in [*Path(app.outdir).rglob("*.html"), *Path(app.outdir).rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(app.outdir)
        found += [f"{where} loads {one}" for one in loaded_from_elsewhere(text)]
        found += [
            f"{where} has a line of {len(one)} columns: {one}" for one in too_long(text)
        ]
    if found:
        raise ExtensionError("\n".join(found))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
