"""Pictures from records."""

from pathlib import Path

import pytest
from torch import Tensor

import lumbre as lb
from lumbre.core import History


def test_history_can_be_extended_and_saved(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    plotnine = pytest.importorskip("plotnine")
    plot = recipe.fit(data, epochs=3, valid_data=0.2, verbose=False).plot()
    assert isinstance(plot, plotnine.ggplot)
    assert set(plot.data["set"]) == {"train", "valid"}
    assert list(plot.data["metric"].cat.categories) == ["loss", "acc"]
    (plot + plotnine.theme_bw()).save(tmp_path / "history.png", dpi=50, verbose=False)
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("epochs", "lines"), [(1, 0), (2, 1)])
def test_a_single_epoch_is_drawn_as_points(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path, epochs: int, lines: int
) -> None:
    plotnine = pytest.importorskip("plotnine")
    plot = recipe.fit(data, epochs=epochs, valid_data=0.2, verbose=False).plot()
    kinds = [type(layer.geom) for layer in plot.layers]
    assert (kinds.count(plotnine.geom_line), kinds.count(plotnine.geom_point)) == (lines, 1)
    plot.save(tmp_path / "history.png", dpi=50, verbose=False)  # plotnine warns when it draws


def test_a_missing_extra_names_the_command(recipe: lb.Recipe, data: tuple[Tensor, Tensor], monkeypatch) -> None:
    import sys

    fitted = recipe.fit(data, epochs=1, verbose=False)
    monkeypatch.setitem(sys.modules, "plotnine", None)
    with pytest.raises(lb.MissingExtraError, match=r'pip install "lumbre\[plots\]"'):
        fitted.plot()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("epochs", "points", "ticks"), [(12, 1, [2, 4, 6, 8, 10, 12]), (60, 0, [1, 10, 20, 30])])
def test_ticks_are_evenly_apart_and_many_epochs_have_no_marks(
    tmp_path: Path, epochs: int, points: int, ticks: list[int]
) -> None:
    plotnine = pytest.importorskip("plotnine")
    history = History()
    for epoch in range(1, epochs + 1):
        history.add(epoch, "train", {"loss": 1 / epoch})
    plot = lb.plots.plot_history(history)
    assert [type(layer.geom) for layer in plot.layers].count(plotnine.geom_point) == points
    assert list(plot.scales[1].breaks)[: len(ticks)] == ticks
    plot.save(tmp_path / "history.png", dpi=50, verbose=False)
