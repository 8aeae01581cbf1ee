"""The documentation's build."""

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
