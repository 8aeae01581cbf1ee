"""Samples of a generator while it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lumbre as lb
from lumbre.callbacks import On, SampleGenerations


def test_sampling_does_not_change_the_numbers(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    plain = recipe.set_hparams(dropout=0.5).fit(data, epochs=3, verbose=False)
    show = SampleGenerations(lambda model, ctx: torch.rand(5).sum() + np.random.rand() + model(torch.randn(2, 4)).sum())
    states: list[Tensor] = []
    after = On(epoch_end=lambda ctx: states.append(torch.get_rng_state()))
    before = On(epoch_end=lambda ctx: states.append(torch.get_rng_state()))
    sampled = recipe.set_hparams(dropout=0.5).fit(data, epochs=3, callbacks=[before, show, after], verbose=False)
    assert torch.equal(plain.predict(data), sampled.predict(data))
    assert all(torch.equal(a, b) for a, b in zip(states[::2], states[1::2], strict=True))


def test_the_chance_is_the_same_each_time_and_the_mode_is_evaluation(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor]
) -> None:
    modes: list[tuple[bool, bool]] = []

    def noise(model: nn.Module, ctx: lb.Context) -> Tensor:
        modes.append((model.training, torch.is_grad_enabled()))
        return torch.randn(3)

    show, other = SampleGenerations(noise, every=2), SampleGenerations(noise, every=2, seed=1)
    after = On(epoch_end=lambda ctx: modes.append((ctx.model.training, False)))
    before = On(epoch_end=lambda ctx: ctx.model.train())
    recipe.fit(data, epochs=5, callbacks=[before, show, other, after], verbose=False)
    assert [epoch for epoch, _ in show.samples] == [2, 4]
    assert torch.equal(show.samples[0][1], show.samples[1][1])
    assert not torch.equal(show.samples[0][1], other.samples[0][1])
    assert modes == [(True, False), *[(False, False), (False, False), (True, False), (True, False)] * 2]


def test_text_is_printed_or_written(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(model: nn.Module, ctx: lb.Context) -> str:
        return f"[b]epoch[/b] {ctx.epoch}"

    files = SampleGenerations(say, path=tmp_path / "new" / "{epoch:02d}.txt")
    recipe.fit(data, epochs=2, callbacks=[SampleGenerations(say, every=2), files], verbose=False)
    assert capsys.readouterr().out == "[b]epoch[/b] 2\n"
    assert (tmp_path / "new" / "01.txt").read_text() == "[b]epoch[/b] 1"
    assert files.samples == [(1, "[b]epoch[/b] 1"), (2, "[b]epoch[/b] 2")]


@pytest.mark.parametrize(
    ("pictures", "size", "mode"),
    [
        (torch.rand(5, 7), (7, 5), "L"),
        (torch.rand(1, 5, 7), (7, 5), "L"),
        (torch.rand(3, 5, 7), (7, 5), "RGB"),
        (torch.rand(1, 3, 5, 7), (7, 5), "RGB"),
        (torch.rand(5, 3, 5, 7), (3 * 8 - 1, 2 * 6 - 1), "RGB"),
        (torch.rand(4, 1, 5, 7), (2 * 8 - 1, 2 * 6 - 1), "L"),
        (torch.randint(256, (2, 1, 5, 7), dtype=torch.uint8), (2 * 8 - 1, 5), "L"),
    ],
)
def test_pictures_are_written(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path, pictures: Tensor, size: tuple[int, int], mode: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    recipe.fit(
        data, epochs=1, callbacks=SampleGenerations(lambda m, c: pictures, path=tmp_path / "{epoch}.png"), verbose=False
    )
    with image.open(tmp_path / "1.png") as found:
        assert (found.size, found.mode) == (size, mode)
        pixels = torch.from_numpy(np.array(found))
    own = pictures.reshape((1,) * (4 - pictures.ndim) + pictures.shape)
    own = own if own.dtype == torch.uint8 else (own * 255).round().to(torch.uint8)
    last = len(own) - 1
    across = (size[0] + 1) // 8
    row, column = last // across * 6, last % across * 8
    corner = pixels[row : row + 5, column : column + 7]
    assert torch.equal(corner if corner.ndim == 3 else corner[:, :, None], own[last].permute(1, 2, 0))


def test_values_outside_are_cut(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    values = torch.tensor([[-3.0, 0.5, 7.0, torch.nan]])
    recipe.fit(data, epochs=1, callbacks=SampleGenerations(lambda m, c: values, path=tmp_path / "a.png"), verbose=False)
    with image.open(tmp_path / "a.png") as found:
        assert np.array(found).tolist() == [[0, 128, 255, 0]]


@pytest.mark.parametrize("sample", [torch.rand(2, 5, 7), torch.rand(4), {"a": 1}])
def test_what_is_no_picture_is_refused(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path, sample: object
) -> None:
    show = SampleGenerations(lambda m, c: sample, path=tmp_path / "a.png")
    with pytest.raises(lb.OptionError, match="text, or pictures"):
        recipe.fit(data, epochs=1, callbacks=show, verbose=False)


@pytest.mark.parametrize("options", [{"every": 0}, {"path": "{step}.png"}, {"path": "{epoch:q}.png"}, {"path": "{"}])
def test_impossible_values_are_refused(options: dict) -> None:
    with pytest.raises(lb.OptionError):
        SampleGenerations(lambda m, c: "", **options)
