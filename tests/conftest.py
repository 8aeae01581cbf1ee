"""Shared by the tests: small data and nets, and the MNIST files where they are at hand."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.base import start_autograd
from lumbre.graphs import _compile, _refused

if "OMP_NUM_THREADS" not in os.environ:  # which torch has read, and which `make test-anywhere` sets
    torch.set_num_threads(1)
start_autograd()  # tests that fork this process come after tests that compile in it

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """How long hypothesis takes for an example depends on what else the machine does."""
    from hypothesis import HealthCheck, settings  # scripts import this file for its nets alone

    settings.register_profile(
        "any machine", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not go through all of it again and again."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: some tests wait for processes that they have started."""
    return (os.cpu_count() or 1) + 1


class Net(nn.Module):
    """Scores of `n_class` classes for `d_in` numbers."""

    def __init__(self, d_in: int, n_class: int = 3, d_hidden: int = 16, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_hidden, n_class)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def blobs(rows: int = 120, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three clouds of points in four dimensions: input (rows, 4), target (rows,)."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(rows) % 3
    centers = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    return centers[target] + 0.5 * torch.randn(rows, 4, generator=generator), target


@pytest.fixture(scope="session", autouse=True)
def precompiled_headers() -> Iterator[None]:
    """The headers of torch that each compiled step includes are read once; tests compile some fifty steps.

    torch keeps one file of them for all instruction sets, so that it fails for another than it was made for.
    """
    plain = _compile._options
    with pytest.MonkeyPatch.context() as patch:
        if "ATEN_CPU_CAPABILITY" in os.environ:
            yield
            return
        patch.setattr(_compile, "_options", lambda device: plain(device) | {"cpp_cache_precompile_headers": True})
        yield


@pytest.fixture(scope="session", autouse=True)
def no_refusals() -> Iterator[None]:
    """No test finds what another has had refused, perhaps by a patch of its own."""

    def nowhere() -> Path:
        raise FileNotFoundError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_refused, "_folder", nowhere)
        yield


@pytest.fixture
def net() -> type[Net]:
    return Net


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    return blobs()


@pytest.fixture
def recipe() -> lb.Recipe:
    return (
        lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
        .set_hparams(d_in=4)
        .set_opt_hparams(lr=1e-2)
    )


@pytest.fixture
def line() -> lb.Recipe:
    """A linear regression."""
    return (
        lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
        .set_hparams(in_features=1, out_features=1)
        .set_opt_hparams(lr=0.1)
    )


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds `mnist/`; skips where the files are not at hand."""
    for root in (os.environ.get("LUMBRE_DATA"), ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "mnist").is_dir():
            return Path(root)
    pytest.skip("the MNIST files are not here: set LUMBRE_DATA to the folder that holds mnist/")


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt, also in a suite that was started with it ignored (`nohup`, `&`, CI)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@pytest.fixture
def no_ctrl_c() -> Iterator[None]:
    """SIGINT is ignored, as under `nohup` or after `&` in a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@pytest.fixture(scope="session")
def photo():
    """A real photograph through Pillow: flowers, 96 wide, 80 high, RGB."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    return Image.fromarray(load_sample_images().images[1][120:200, 240:336].copy())


@pytest.fixture
def pixels(photo) -> Tensor:
    """The photograph as uint8 of shape (3, 80, 96)."""
    return torch.from_numpy(np.array(photo)).movedim(-1, 0).contiguous()


@pytest.fixture
def batch(pixels: Tensor) -> Tensor:
    """Six parts of the photograph, uint8 of shape (6, 3, 40, 48)."""
    return torch.stack([pixels[:, top : top + 40, left : left + 48] for top in (0, 20, 40) for left in (0, 48)])
