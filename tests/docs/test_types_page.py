"""The page of types is what its program writes today."""

import runpy

from conftest import ROOT


def test_the_page_of_types_is_up_to_date() -> None:
    program = runpy.run_path(str(ROOT / "docs" / "write_types.py"))
    written = (ROOT / "docs" / "reference" / "types.md").read_text(encoding="utf-8")
    assert program["page"]() == written, "python docs/write_types.py writes it anew"
