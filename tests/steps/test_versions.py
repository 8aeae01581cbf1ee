"""With a torch for which its insides were not proved, nothing leans on them, and `fitted.engine` says so."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import ROOT, Net, blobs
from lumbre.graphs import _small_products, obstacle
from lumbre.steps._bare import bare_step
from lumbre.steps._versions import _ALL, _PROVED, unproved

_SECTIONS = "proved with torch 2.11, 2.12, 2.13, 2.14, and this is 2.99.0"


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A torch of years to come."""
    monkeypatch.setattr(torch, "__version__", "2.99.0+cpu")
    bare_step.cache_clear()
    yield
    bare_step.cache_clear()


def run(engine: str) -> lb.Fitted:
    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return recipe.fit(blobs(60), epochs=2, batch_size=10, engine=engine, verbose=False)


@pytest.mark.parametrize("version", ["2.11.0", "2.13.0+cpu", "2.14.1", "2.14.0a0+git1234"])
def test_releases_on_which_the_suite_was_run_are_known(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    assert unproved("graphs of steps") is None
    assert unproved("bare updates") is None


@pytest.mark.parametrize("version", ["2.1.1", "2.10.0", "2.111.0", "3.0", "1.13.1"])
def test_no_other_release_is(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    for part in _PROVED:
        assert f"and this is {version}" in str(unproved(part))


@pytest.mark.usefixtures("unknown")
def test_a_long_run_stays_eager_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumbre.run._engine._TINY_STEPS", 10)
    fitted = run("auto")
    assert fitted.engine.startswith("eager")
    assert f"not compiled: graphs of steps were {_SECTIONS}" in fitted.engine


@pytest.mark.usefixtures("unknown")
def test_compiled_steps_that_were_asked_for_are_refused() -> None:
    with pytest.raises(lb.OptionError, match=f"graphs of steps were {_SECTIONS}"):
        run("compiled")


@pytest.mark.usefixtures("unknown")
def test_updates_are_torchs_own_and_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = run("eager")
    assert f"bare updates were {_SECTIONS}" in fitted.engine
    assert bare_step(optim.Adam.step) is None
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    bare_step.cache_clear()
    known = run("eager")
    assert "bare updates" not in known.engine
    for found, wanted in zip(fitted.model.parameters(), known.model.parameters(), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.usefixtures("unknown")
def test_products_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in (True, False):
        monkeypatch.setattr(_small_products, "mkl_is_slow", lambda slow=slow: slow)
        assert _small_products.small_products() == {}
        assert _small_products.products_left_out() == (
            "our own products were proved with torch 2.13, and this is 2.99.0+cpu" if slow else None
        )


@pytest.mark.skipif(obstacle(torch.device("cpu")) is not None, reason=str(obstacle(torch.device("cpu"))))
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*")
def test_compiled_steps_say_whose_products_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    why = "our own products were proved with torch 2.13"
    monkeypatch.setattr("lumbre.graphs._compiled.products_left_out", lambda: why)
    assert run("compiled").engine.endswith(f"as was asked; {why}")


def test_the_readme_names_the_releases() -> None:
    text = Path(ROOT, "README.md").read_text(encoding="utf-8")
    assert all(f" {release}." in text for release in _ALL)


def test_the_version_is_named_before_a_compiler_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    for version, what in (("2.13.0", "no-such-compiler"), ("2.99.0", "2.99.0")):
        monkeypatch.setattr(torch, "__version__", version)
        assert what in str(obstacle(torch.device("cpu")))
