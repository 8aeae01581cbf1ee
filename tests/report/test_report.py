"""The report: everything is in it, nothing else is needed to read it, and nothing of the user's text becomes markup."""

import base64
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from conftest import Net, blobs

pytest.importorskip("plotnine")

EVIL = '<script>alert("1")</script>'
VOID = {"meta", "link", "img", "br", "hr", "input", "source"}


class Page(HTMLParser):
    """A parsed page: its elements in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self) -> list[str]:
        return [attributes["id"] for attributes in self.all("section")]

    @property
    def alts(self) -> str:
        return "\n".join(image["alt"] for image in self.all("img"))


def check(page: Page) -> None:
    """What holds of every report."""
    assert page.open == []
    assert len(page.source) < 3_000_000
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == len(page.sections) == len(page.all("li")) - len(page.all("figcaption"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(image["alt"] and image["src"].startswith("data:image/") for image in page.all("img"))
    assert not {"script", "iframe", "object", "embed", "form", "base", "video"} & {tag for tag, _ in page.elements}
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert attributes.get(name, "data:").startswith("data:") or attributes[name].removeprefix("#") in ids
        assert "url(" not in attributes.get("style", "")
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def reported(fitted: lb.Fitted, path: Path, *args, **kwargs) -> Page:
    fitted.report(path, *args, **kwargs)
    page = Page(path.read_text(encoding="utf-8"))
    check(page)
    return page


def trained(module, loss, data, epochs: int = 2, metrics=(), valid_data=None, **hparams) -> lb.Fitted:
    recipe = lb.setup(module, loss=loss, optimizer=optim.Adam, metrics=metrics).set_hparams(**hparams)
    return recipe.set_opt_hparams(lr=0.0123).fit(data, epochs=epochs, valid_data=valid_data, verbose=False)


def evil_frame(rows: int = 60) -> pd.DataFrame:
    x, y = blobs(rows)
    frame = pd.DataFrame(x.numpy(), columns=[EVIL, 'a"b', "c&d", "$x"])
    return frame.assign(kind=[[EVIL, "plain", "$a_$"][number] for number in y.tolist()])


@pytest.fixture(scope="module")
def classifier() -> lb.Fitted:
    return trained(
        Net,
        nn.CrossEntropyLoss(),
        blobs(90),
        metrics=[lb.metrics.Accuracy(), lb.metrics.F1(average=None), lb.metrics.ConfusionMatrix()],
        valid_data=0.2,
        d_in=4,
    )


def test_a_report_says_what_was_done_and_how_well(classifier: lb.Fitted, tmp_path: Path) -> None:
    test = blobs(30, seed=1)
    page = reported(classifier, tmp_path / "report.html", test, title="Three clouds")
    assert page.sections == [
        *("results", "truth", "worst", "history", "recipe", "data"),
        *("model", "checks", "time", "environment", "again"),
    ]
    frame = classifier.compare(test)
    loss = classifier.evaluate(test).metrics["loss"]
    for said in (
        "Three clouds",
        f"{loss:.4f}".rstrip("0"),
        "CrossEntropyLoss()",
        "Adam",
        "0.0123",
        "float32 (rows, 4)",
        "all rows",
        "layers: Sequential",
        "131 parameters",
        "They found nothing.",
        "waiting for data",
        classifier.engine,
        torch.__version__,
        'lb.load("model.lumbre", Net)',
    ):
        assert said in page.text, said
    assert f"Confusion matrix of 30 rows: {frame['correct'].sum()} " in page.alts
    assert "loss over 2 epochs: train from" in page.alts
    worst = frame.sort_values("loss", ascending=False).iloc[0]
    assert re.search(
        rf"largest first.*?truth.*?x3\s+{worst['row']}\s*{worst['truth']}\s*{worst['predicted']}", page.text, re.DOTALL
    )


@pytest.fixture(scope="module")
def alone(classifier: lb.Fitted, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return reported(classifier, tmp_path_factory.mktemp("alone") / "report.html")


def test_without_data_it_tells_of_the_run_alone(alone: Page) -> None:
    assert alone.sections == ["results", "history", "recipe", "data", "model", "checks", "time", "environment", "again"]
    assert "No data to judge on" in alone.text
    assert "Layers, with their output for one row" in alone.text


def test_a_loaded_model_reports_the_run_that_made_it(classifier: lb.Fitted, alone: Page, tmp_path: Path) -> None:
    classifier.save(tmp_path / "net.lumbre")
    loaded = lb.load(tmp_path / "net.lumbre", Net)
    assert loaded._session.record == classifier._session.record
    after = reported(loaded, tmp_path / "report.html")
    assert [line for line in after.text.splitlines() if "Written" not in line] == [
        line for line in alone.text.splitlines() if "Written" not in line
    ]
    assert "CrossEntropyLoss()" in after.text
    with_data = reported(loaded, tmp_path / "report.html", blobs(30, seed=1))
    assert "Not evaluated. Received: a model that was loaded with its class alone" in with_data.text
    assert "Confusion matrix of 30 rows" in with_data.alts


def test_evaluating_on_the_training_rows_is_said(tmp_path: Path) -> None:
    x, valid = torch.arange(6.0)[:, None], torch.ones(3, 1)
    fitted = trained(nn.Linear, nn.MSELoss(), (x, x), valid_data=(valid, valid), in_features=1, out_features=1)
    said = "says nothing of new data", "The rows evaluated are the validation rows."
    for data, expected in (((x, x), [True, False]), ((valid, valid), [False, True]), ((2 * x, x), [False, False])):
        text = reported(fitted, tmp_path / "report.html", data).text
        assert [sentence in text for sentence in said] == expected


def test_what_users_wrote_is_text_and_never_markup(tmp_path: Path) -> None:
    data = lb.data.from_frame(evil_frame(), target="kind")
    fitted = trained(Net, nn.CrossEntropyLoss(), data, metrics={EVIL: lb.metrics.Accuracy()}, d_in=4)
    page = reported(fitted, tmp_path / "report.html", evil_frame(30), title=EVIL)
    assert EVIL not in page.source
    assert page.text.count(EVIL) >= 6  # title, heading, metric, class, column, cells
    assert EVIL in page.alts
    assert 'a"b' in page.text
    assert "c&d" in page.text


def test_rows_that_are_images_are_shown(tmp_path: Path) -> None:
    target = torch.arange(40) % 2
    images = 0.1 * torch.rand(40, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    images[target == 0, :, :4] += 0.8
    target[5] = 1 - target[5]  # a wrong label
    net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 2))  # noqa: E731
    fitted = trained(net, nn.CrossEntropyLoss(), (images, target), epochs=30)
    page = reported(fitted, tmp_path / "report.html", (images, target))
    shown = page.all("img")[1:13]
    truth = int(target[5])
    assert shown[0]["alt"].startswith(f"Row 5: true {truth}, predicted {1 - truth} (")
    picture = Image.open(io.BytesIO(base64.b64decode(shown[0]["src"].partition(",")[2]))).convert("RGB")
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert torch.allclose(pixels / 255, images[5], atol=2 / 255)
    assert [figure.get("class") for figure in page.all("figure")].count("wrong") == 1
    assert "✗ predicted" in page.text
    assert "make_net" in page.text


def test_large_images_are_made_smaller(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (14, 3, 600, 300), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x.float().mean((2, 3)) / 255)

    data = images, torch.arange(14) % 2
    page = reported(trained(Mean, nn.CrossEntropyLoss(), data, epochs=1), tmp_path / "report.html", data)
    shown = page.all("img")[1:13]
    assert Image.open(io.BytesIO(base64.b64decode(shown[0]["src"].partition(",")[2]))).size == (96, 192)


@pytest.mark.parametrize("outputs", [1, 2])
def test_numbers_get_residuals(outputs: int, tmp_path: Path) -> None:
    x = torch.linspace(-1, 1, 40)[:, None]
    y = torch.cat([3 * x, x * x], 1)[:, :outputs]
    fitted = trained(nn.Linear, nn.MSELoss(), (x, y), metrics=lb.metrics.MAE(), in_features=1, out_features=outputs)
    page = reported(fitted, tmp_path / "report.html", (x, y))
    assert "Predicted against true values" in page.alts
    assert "Residuals against predicted values" in page.alts
    assert page.text.count("residual") == 1
    assert ("40 rows" if outputs == 1 else "2 outputs, 40 rows") in page.alts


def test_many_points_are_drawn_small(tmp_path: Path) -> None:
    x = torch.linspace(-1, 1, 4_000)[:, None]
    fitted = trained(nn.Linear, nn.MSELoss(), (x, x), epochs=1, in_features=1, out_features=1)
    page = reported(fitted, tmp_path / "report.html", (x, x))
    assert len(page.source) < 600_000
    assert page.all("img")[0]["src"][:14] == "data:image/png"
    dark = page.all("source")[0]
    assert (dark["srcset"][:14], dark["media"]) == ("data:image/png", "(prefers-color-scheme: dark)")


def test_a_model_whose_truth_cannot_be_compared_is_still_evaluated(tmp_path: Path) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 1), nn.Linear(3, 1)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"sum": self.a(x) + self.b(y)}

    def loss(pred: dict[str, Tensor], target: Tensor) -> Tensor:
        return (pred["sum"] - target).square().mean()

    data = (torch.randn(8, 2), torch.randn(8, 3)), torch.randn(8, 1)
    fitted = trained(Both, loss, data)
    page = reported(fitted, tmp_path / "report.html", data)
    assert "Truth and prediction are not compared. Received: predictions that are a {" in page.text
    assert "float32 (rows, 2); float32 (rows, 3)" in page.text
    assert f"{fitted.evaluate(data).metrics['loss']:.4f}".rstrip("0") in page.text
    fitted.save(tmp_path / "both.lumbre")
    loaded = reported(lb.load(tmp_path / "both.lumbre", Both), tmp_path / "report.html")
    assert "Layers, with their output for one row" in loaded.text


def test_findings_and_switched_off_checks(tmp_path: Path) -> None:
    x, y = blobs(30)
    recipe = lb.setup(lambda: nn.Sequential(Net(4), nn.Softmax(1)), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    with pytest.warns(lb.PreflightWarning) as caught:
        fitted = recipe.fit((x, y), epochs=1, verbose=False)
    page = reported(fitted, tmp_path / "report.html")
    code = re.search(r"LB\d+", str(caught[0].message))
    assert code is not None
    assert f"warning {code.group()}" in page.text
    quiet = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    assert "switched off" in reported(quiet, tmp_path / "report.html").text


def test_a_file_from_before_reports_says_what_it_does_not_know(tmp_path: Path) -> None:
    class Stored(nn.Module):
        def __init__(self, d_in: int, d_hidden: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    old = Path(__file__).parents[1] / "storage" / "files" / "schema1_early.lumbre"
    page = reported(lb.load(old, Stored), tmp_path / "report.html")
    # Of the run and the checks; versions and columns such a file did tell.
    assert page.text.count("The file does not tell.") == 2
    assert "35 parameters" in page.text


def test_the_archive_holds_no_data(tmp_path: Path) -> None:
    data = blobs(5_000)
    sizes = []
    for rows in (50, 5_000):
        trained(Net, nn.CrossEntropyLoss(), (data[0][:rows], data[1][:rows]), epochs=1, d_in=4).save(
            tmp_path / "n.lumbre"
        )
        sizes.append((tmp_path / "n.lumbre").stat().st_size)
    assert abs(sizes[0] - sizes[1]) < 200


def test_an_unwritable_path_is_told_before_any_work(
    classifier: lb.Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lb.Fitted, "evaluate", lambda *_: pytest.fail("work was done"))
    for path, why in ((tmp_path / "none" / "report.html", "no folder"), (tmp_path, "it is a folder")):
        with pytest.raises(lb.OptionError, match=why):
            classifier.report(path, blobs(10))


def test_a_failed_write_leaves_the_old_report(
    classifier: lb.Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args, **kwargs):
        raise OSError("no space left")

    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(lb.OptionError, match="no space left"):
        classifier.report(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_without_plotnine_the_error_names_the_install(
    classifier: lb.Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotnine", None)
    with pytest.raises(lb.MissingExtraError, match=r"lumbre\[plots\]"):
        classifier.report(tmp_path / "report.html")


def test_data_that_can_be_read_once_are_refused(classifier: lb.Fitted, tmp_path: Path) -> None:
    with pytest.raises(lb.OptionError, match="only once"):
        classifier.report(tmp_path / "report.html", (batch for batch in [blobs(10)]))


def test_a_loader_is_reported_by_its_first_batch(classifier: lb.Fitted, tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(*blobs(20)), batch_size=8)
    page = reported(classifier, tmp_path / "report.html", loader)
    assert "the first batch, of 8 rows" in page.text
    assert "Confusion matrix of 20 rows" in page.alts


def test_the_report_leaves_chance_and_the_model_alone(classifier: lb.Fitted, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    torch.manual_seed(3)
    classifier.report(tmp_path / "report.html", blobs(20))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in classifier.model.state_dict().items())
