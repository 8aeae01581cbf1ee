"""Two dollar signs in a name make matplotlib read what is between them as a formula; charts show names as they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre import plots

plotnine = pytest.importorskip("plotnine")

# Set as formulas, the first loses its dollar signs, and the second cannot be read at all.
NAMES = ["$5-$10", "$^$", r"a\$b"]


def drawn(chart: Any) -> list[str]:
    """Every text of the picture, as it is read by the one who looks at it."""
    from matplotlib.cbook import is_math_text
    from matplotlib.text import Text

    figure = chart.figure if isinstance(chart, plots.PictureGrid) else chart.draw()
    figure.canvas.draw()
    found = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text.get_parse_math() and is_math_text(text.get_text()) for text in found)
    return [text.get_text().replace(r"\$", "$") if text.get_parse_math() else text.get_text() for text in found]


def classified(names: list[str]) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(len(names)), 40)
    frame = pd.DataFrame(shares, columns=[f"probability_{name}" for name in names])
    return frame.assign(truth=np.resize(names, 40), predicted=np.array(names)[shares.argmax(1)])


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "chart", [plots.confusion, plots.roc, plots.precision_recall, plots.calibration], ids=lambda chart: chart.__name__
)
def test_charts_of_classes(chart: Callable[..., Any], count: int) -> None:
    names = NAMES[:count]
    texts = "\n".join(drawn(chart(classified(names)) + plotnine.theme_bw()))
    if (chart, count) == (plots.calibration, 3):
        return  # it speaks of "the predicted class"
    assert all(name in texts for name in (names[1:] if count == 2 and chart is not plots.confusion else names))


@pytest.fixture(scope="module")
def plane() -> tuple[lb.Fitted, Any]:
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    frame = pd.DataFrame(x.numpy(), columns=["$ a $", "b"])
    frame["class"] = np.array(NAMES)[(x[:, 0] > 0).long() + (x[:, 1] > 0).long()]
    data = lb.data.from_frame(frame, target="class")
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 3))
    return lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(data, epochs=1, verbose=False), data


def test_decision_regions_name_classes_and_columns(plane: tuple[lb.Fitted, Any]) -> None:
    texts = drawn(plots.decision_regions(*plane, resolution=10))
    assert {*NAMES, "$ a $"} <= set(texts)


def test_planes_of_layers_name_classes(plane: tuple[lb.Fitted, Any]) -> None:
    fitted, data = plane
    seen = lb.inspect.activations(fitted, data, layers="0", keep=True)
    assert set(NAMES) <= set(drawn(seen.plot_planes()))


def test_texts_under_images_name_classes() -> None:
    images = torch.rand(6, 1, 4, 4)
    data = lb.data.InMemoryDataset(images, torch.arange(6) % 3, classes=NAMES)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    fitted = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(data, epochs=1, verbose=False)
    texts = drawn(plots.predictions_grid(fitted, data, 6))
    assert all(any(f"true {name}\n" in text for text in texts) for name in NAMES)


def test_layers_weights_and_metrics_keep_their_names(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential()
    net.add_module("$^$", nn.Linear(4, 3))
    look = lb.inspect.Inspect(every=2, what=("activations", "updates"))
    loss = lb.metrics.Sets({"$ a $": lb.metrics.Accuracy()})
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=loss)
    fitted = recipe.fit(data, epochs=2, callbacks=look, verbose=False)
    seen = lb.inspect.activations(fitted, data, layers="$^$", keep=True)
    charts = [look.plot(), look.plot("updates"), seen.plot(), seen.plot_maps(), plots.weight_distributions(fitted)]
    assert all(any("$^$" in text for text in drawn(chart)) for chart in charts)
    assert "$ a $" in drawn(fitted.plot())
