"""The documentation's build."""

import re
import sys
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"][
    "Repository"
]
sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "lumbre"
author = "The lumbre authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["code_pages", "downloads", "offline", "public_names"]  # docs/extensions
html_theme = "furo"
html_title = "lumbre"
html_static_path = ["_static"]
html_css_files = ["lumbre.css"]
html_copy_source = False
exclude_patterns = ["_build"]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = (
    80  # longer signatures have a line for each parameter
)
default_role = "code"  # what docstrings put between single backticks
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
napoleon_use_ivar = True
# "width" in a type is a word, not a link to one of the attributes of that name.
suppress_warnings = ["ref.python"]


LINK = re.compile(r"\]\((\.\./[^)#\s]+)")


def lead_to_the_repository(app: Sphinx, name: str, source: list[str]) -> None:
    """What a page links that has no page here, such as a program, gets its full address in the repository."""

    def address(link: re.Match[str]) -> str:
        place = (Path(app.srcdir) / name).parent.joinpath(link[1]).resolve()
        inside = place.is_relative_to(app.srcdir) or not place.is_relative_to(ROOT)
        return (
            link[0]
            if inside
            else f"]({REPOSITORY}/blob/main/{place.relative_to(ROOT).as_posix()}"
        )

    source[0] = LINK.sub(address, source[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", lead_to_the_repository)
