"""The corpus of mistakes for other libraries: output is captured, and judged in the same way for all."""

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from benchmarks.mistakes.child import caught, programs, without_numbers
from benchmarks.mistakes.contenders import NAMES
from benchmarks.mistakes.plain import CASES, Plain, Unsupported, plain
from benchmarks.mistakes.report import CAUSES, about, names, row, signs

MADE = programs()
BY_NAME = {case.name: case for case in CASES}


def said_of(contender: str, *cases: str) -> dict[str, dict[str, object]]:
    train: Callable[..., None] = import_module(f"benchmarks.mistakes.contenders.{contender}").train
    return {f"{kind}/{name}": caught(train, MADE[f"{kind}/{name}"]) for name in cases for kind in ("broken", "mended")}


def test_a_loop_of_torch_names_what_torch_names() -> None:
    case = BY_NAME["flat_predictions_against_a_column"]
    said = said_of("raw", case.name)
    (line,) = signs(said, case)
    assert "target size" in line
    assert names("raw", case, line)


def test_a_loop_of_torch_says_nothing_of_a_second_softmax() -> None:
    case = BY_NAME["softmax_in_a_small_net"]
    assert signs(said_of("raw", case.name), case) == []
    (line,) = signs(said_of("lumbre", case.name), case)
    assert names("lumbre", case, line)
    assert not names("lumbre", case, "warning: warning LB006")


def test_an_error_is_said_and_what_cannot_be_given_is_left_out() -> None:
    said = said_of("raw", "labels_from_one")
    assert any("out of bounds" in line for line in said["broken/labels_from_one"]["said"])
    assert caught(lambda _: plain(MADE["sound/gan"]()) and None, MADE["sound/gan"])["unsupported"]


def test_a_program_is_the_same_in_plain_torch() -> None:
    given = plain(MADE["mended/a_cycle_that_is_shorter_than_the_run"]())
    assert isinstance(given, Plain)
    assert (given.epochs, given.batch_size, given.shuffle, given.step_on) == (10, 32, True, "batch")
    assert given.scheduler is not None
    assert given.scheduler(given.optimizer).T_max == 80
    with pytest.raises(Unsupported, match="Mixup"):
        plain(MADE["sound/mixed_pictures"]())


def test_every_program_is_made_alike_each_time() -> None:
    one, other = (MADE["broken/labels_from_one"]().data for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_row_counts_pairs_signs_and_false_alarms() -> None:
    quiet = {"said": [], "unsupported": ""}
    said = {f"{kind}/{case.name}": dict(quiet) for case in CASES for kind in ("broken", "mended")}
    said["sound/gru"] = {"said": ["warning: of 3"], "unsupported": ""}
    said["broken/softmax_in_a_small_net"] = {
        "said": ["warning: a softmax too many", "warning: of 5"],
        "unsupported": "",
    }
    said["broken/labels_from_one"] = {"said": ["warning: something"], "unsupported": ""}
    said["mended/labels_from_minus_one"] = {"said": ["error: it fails"], "unsupported": ""}
    cells = [cell.strip() for cell in row("raw", "a loop", said).strip("|").split("|")]
    assert cells[:2] == ["a loop", str(len(CASES) - 1)]
    assert cells[2].startswith("1 of ")
    assert cells[-2:] == ["2", f"1 of {len(CASES)}"]


def test_all_causes_have_words_and_all_contenders_a_paragraph() -> None:
    assert {code for case in CASES for code in case.codes} <= set(CAUSES)
    assert all(about(name).endswith(".") for name in NAMES)
    assert without_numbers("target 10 of 2.5e-3") == "target # of #"
