"""What a run shows while it goes on: in a pipe, in a terminal, in a notebook."""

import io
import pickle
import re
from itertools import count

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from rich.console import Console
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.callbacks import Progress, _progress, _screens

NUMBER = r"\d+(\.\d{1,4})?"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(text: str) -> list[str]:
    """The lines a terminal shows: what stands before a carriage return is written over."""
    return [line.rpartition("\r")[2].removeprefix("\x1b[K") for line in text.split("\n")[:-1]]


def test_plain_lines_in_luz_form(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.fit(data, epochs=2, valid_data=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[3]] == ["Epoch 1/2", "Epoch 2/2"]
    for line, name in ((lines[1], "Train"), (lines[2], "Valid")):
        assert re.fullmatch(rf"{name} metrics: Loss: {NUMBER} - Acc: {NUMBER}", line), line
    assert len(lines) == 6


def test_every_third_epoch_the_first_and_the_last(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.fit(data, epochs=8, verbose=3)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Epoch")] == [f"Epoch {epoch}/8" for epoch in (1, 3, 6, 8)]
    assert len(lines) == 8


@pytest.mark.parametrize("verbose", [-1, 2.5, "all"])
def test_an_impossible_verbose_is_refused(recipe: lb.Recipe, data: tuple[Tensor, Tensor], verbose: object) -> None:
    with pytest.raises(lb.OptionError, match="verbose=10 shows every tenth epoch"):
        recipe.fit(data, verbose=verbose)


def test_a_terminal_gets_a_table_with_the_best_epochs_marked(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    class Losses(lb.Callback):
        def on_valid_end(self, ctx: lb.Context) -> None:
            records = ctx.history.records
            at = next(i for i, record in enumerate(records) if record[:3] == ("valid", "loss", ctx.epoch))
            records[at] = ("valid", "loss", ctx.epoch, [0.5, 0.25, 0.75][ctx.epoch - 1])

    out = Terminal()
    recipe.fit(data, epochs=3, valid_data=0.2, callbacks=[Losses(), Progress(out)], verbose=False)
    head, *rows, last = shown(out.getvalue())
    assert head.split("  ")[0].strip() == "epoch"
    assert re.sub(r" {2,}", "|", head.strip()) == "epoch|train loss|train acc|valid loss|valid acc|time"
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert [row.endswith("*") for row in rows] == [True, True, False]
    assert {len(row.rstrip(" *")) for row in rows} == {len(head)}
    assert last == "Lowest valid_loss: 0.25 in epoch 2 of 3."


def test_a_narrow_terminal_gets_lines(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    out = io.StringIO()
    recipe.fit(data, epochs=1, callbacks=Progress(Console(file=out, force_terminal=True, width=30)), verbose=False)
    assert re.fullmatch(rf"Epoch 1\nTrain metrics: Loss: {NUMBER} - Acc: {NUMBER}\n", out.getvalue())


def test_an_epoch_that_takes_long_has_a_bar_with_the_time_left(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count()
    monkeypatch.setattr(_progress, "monotonic", lambda: float(next(seconds)))
    out = Terminal()
    recipe.fit(data, epochs=2, batch_size=30, callbacks=Progress(out), verbose=False)
    bars = [part for part in re.split(r"[\r\n]", out.getvalue()) if "left" in part]
    assert re.match(rf"epoch 1/2  \u2501+\u2500+  1/4  loss {NUMBER}  3.0 s left  run 7.0 s", bars[0])
    assert all(line.split()[0] in ("epoch", "1", "2", "Lowest") for line in shown(out.getvalue()))


def test_a_quick_epoch_has_no_bar(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "monotonic", lambda: 1.0)
    out = Terminal()
    recipe.fit(data, epochs=2, callbacks=Progress(out), verbose=False)
    assert "\r" not in out.getvalue()


def test_progress_has_a_line_of_its_own_among_the_times(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    timings = recipe.fit(data, epochs=2, callbacks=Progress(io.StringIO()), verbose=False).timings
    assert timings["progress_seconds"] > 0
    assert timings["callbacks_seconds"] >= 0
    assert "progress_seconds" not in recipe.fit(data, epochs=2, verbose=False).timings


def test_silence(recipe: lb.Recipe, data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, 0):
        recipe.fit(data, epochs=1, verbose=quiet)
    assert capsys.readouterr().out == ""


def test_one_fit_leaves_one_output_in_a_notebook() -> None:
    setting_up = """
        import torch
        from torch import nn, optim
        import lumbre as lb
        x = torch.linspace(-1, 1, 64).reshape(64, 1)
        recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
        recipe = recipe.set_hparams(in_features=1, out_features=1).set_opt_hparams(lr=0.1)
    """
    cells = [
        setting_up,
        "_ = recipe.fit((x, 3 * x), epochs=60, valid_data=0.2, verbose='plot')",
        "recipe.fit((x, 3 * x))",
    ]
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(re.sub("\n        ", "\n", cell)) for cell in cells]
    )
    NotebookClient(made, timeout=300).execute()
    quiet, one, two = (cell["outputs"] for cell in made["cells"])
    assert quiet == []
    assert [output["output_type"] for output in one] == ["display_data"]
    html = one[0]["data"]["text/html"]
    assert "<summary>Epochs 1 to 40</summary>" in html
    assert html.count("<tr") == 2 + 60  # two tables, each with a head
    assert html.count("<polyline") == 2
    assert "<progress" not in html
    assert [output["output_type"] for output in two] == ["display_data", "execute_result"]


def test_what_is_remarked_at_the_end_stands_below_and_the_run_can_still_be_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    net = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    net.forward = net[0].forward  # the second layer is never changed
    recipe = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit((x, x), epochs=3, ignore=("LB023", "LB027"), verbose=True)
    said = capsys.readouterr().out
    assert said.index("Epoch 3/3") < said.index("LB107")
    pickle.dumps(fitted)


def test_a_note_after_the_end_stands_in_the_same_output(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, object]] = []
    monkeypatch.setattr(_screens, "show", lambda html, text, handle: shown.append((html, handle)) or "handle")
    screen = _screens.Notebook()
    screen.row(_screens.Row(1, {"train": {"loss": 0.5}}, 0.1, best=True))
    screen.close()
    screen.note("said late")
    assert "said late" in shown[-1][0]
    assert [handle for _, handle in shown] == [None, "handle", "handle"]


def test_a_finished_run_holds_no_stream(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    x = torch.ones(4, 1)
    recipe = lb.setup(nn.Linear(1, 1), loss=nn.MSELoss(), optimizer=optim.SGD)
    fitted = recipe.fit((x, x), epochs=1, callbacks=progress, verbose=False, preflight=False)
    assert "Epoch 1/1" in capsys.readouterr().out
    pickle.dumps(progress)
    pickle.dumps(fitted)
