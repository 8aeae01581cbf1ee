"""The documentation's build."""

import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

project = "lumbre"
author = "The lumbre authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "lumbre"
exclude_patterns = ["_build"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
myst_heading_anchors = 3
napoleon_use_ivar = True
# "width" in a type is a word, not a link to one of the attributes of that name.
suppress_warnings = ["ref.python"]

ROOT = Path(__file__).parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def lead_to_the_repository(app: Sphinx, page: nodes.document) -> None:
    """The first page is the README's text: what it links that has no page here gets its full address."""
    for link in list(page.findall(addnodes.pending_xref)):
        unknown = link.get("refdoc") == "index" and link["reftype"] == "myst" and link["refdomain"] is None
        if unknown and (ROOT / link["reftarget"]).exists():
            address = f"{REPOSITORY}/blob/main/{link['reftarget']}"
            link.replace_self(nodes.reference("", "", *link.children, refuri=address))


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", lead_to_the_repository)
