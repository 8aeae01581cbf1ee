"""Nothing that should move no number moves one: small runs beside what they gave before, to the bit or nearly.

`golden_runs.py` says how they are compared, and writes the file.
"""

import json
from pathlib import Path

import pytest
from golden_cases import CASES
from golden_runs import compare, golden_file, kind, run, runnable

GOLDEN = golden_file()


def test_the_file_has_every_run() -> None:
    assert list(GOLDEN["runs"]) == list(CASES)
    assert GOLDEN["written_on"] in GOLDEN["digests"]
    assert all(list(digests) == list(CASES) for digests in GOLDEN["digests"].values())


def test_a_resumed_run_ends_as_the_unbroken_one() -> None:
    for digests in GOLDEN["digests"].values():
        assert digests["unbroken"] == digests["stopped_and_resumed"]


# torch warns about its own insides while it compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
@pytest.mark.filterwarnings("ignore::UserWarning:torch.*")
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not runnable(name):
        pytest.skip("no C++ compiler, or a torch that is not compiled with")
    if name == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setenv("LUMBRE_DATA", str(Path(__file__).parent / "no data"))  # nothing is fetched
    wrong = compare(name, GOLDEN, run(name))
    assert not wrong, f"on {kind()}: " + "\n".join(wrong)


def test_another_number_is_seen() -> None:
    name = "adamw_one_cycle_clipped"
    found = run(name)
    assert not compare(name, GOLDEN, found)
    golden = {**GOLDEN, "digests": {kind(): {name: found["digests"]}}}
    place = next(place for place, (what, _) in enumerate(found["history"]) if what == "valid loss 2")
    changed = json.loads(json.dumps(found))
    changed["weights"]["first"][2] *= 1.01
    changed["history"][place][1] *= 1.01
    changed["digests"]["predictions"] = ""
    wrong = compare(name, golden, changed)
    assert [line.partition(":")[0] for line in wrong] == [
        "weights, number 2",
        "valid loss 2",
        "other bits of predictions",
    ]
