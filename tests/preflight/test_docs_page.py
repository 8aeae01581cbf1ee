"""The page of the docs describes every check."""

import pytest
from corpus.harness import examples, run, wilson
from make_docs import PAGE, checks

from lumbre.preflight import Finding, codes


def test_the_page_has_every_check_as_it_is() -> None:
    assert PAGE.read_text().startswith(checks())


def test_a_finding_names_its_place_in_the_docs() -> None:
    finding = Finding("LB055", "error", "", "", "")
    assert finding.page == "codes/LB055.html"
    assert "LB055" in codes()
    assert str(finding).endswith("more: lumbre explain LB055")


def test_intervals() -> None:
    low, high = wilson(9, 10)
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)  # Newcombe 1998 gives the method
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.slow
def test_the_whole_corpus() -> None:
    rows = run()
    broken = [row for row in rows if row.broken]
    for half in ("develop", "frozen"):
        part = [row for row in broken if row.half == half]
        assert sum(2 * row.named > len(row.broken) for row in part) >= 0.9 * len(part)
    said = [{kind for one in row.sound for _, kind in one} for row in rows]
    assert not any("error" in kinds for kinds in said)
    assert sum("warning" in kinds for kinds in said) <= 2
    assert not any(kinds for row, kinds in zip(rows, said, strict=True) if row.broken)  # the mended twins are silent


@pytest.mark.slow
def test_no_example_is_warned_of() -> None:
    ended = examples()
    assert len(ended) > 20
    assert {name: last for name, last in ended.items() if last} == {}
