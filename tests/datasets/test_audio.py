"""Sounds in folders: rates, lengths, channels and formats; masks of time and pitch by the row."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb

soundfile = pytest.importorskip("soundfile")


def tone(pitch: float, rate: int, seconds: float) -> "np.ndarray[Any, Any]":
    return 0.5 * np.sin(2 * math.pi * pitch * np.arange(round(rate * seconds)) / rate)


def put(root: Path, name: str, wave: "np.ndarray[Any, Any]", rate: int, **options: Any) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(root / name, wave, rate, **options)


def test_a_folder_a_class_lazy_and_in_order(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.flac", "a/x/3.ogg", ".hidden/1.wav", "b/.no.wav"):
        put(tmp_path, name, tone(440, 16_000, 0.5), 16_000)
    (tmp_path / "b" / "notes.txt").write_text("no sound")
    data = lb.datasets.audio_folder(tmp_path)
    assert data.classes == ("a", "b")
    assert [path.name for path in data.paths] == ["3.ogg", "1.flac", "2.wav"]
    assert data.targets.tolist() == [0, 1, 1]
    wave, kind = data[1]
    assert (wave.shape, wave.dtype, kind.tolist()) == ((1, 8000), torch.float32, 1)
    assert torch.allclose(wave[0], torch.from_numpy(tone(440, 16_000, 0.5)).float(), atol=1e-4)
    with pytest.raises(IndexError):
        data[3]


@pytest.mark.parametrize("own", [8_000, 22_050, 44_100, 16_000])
@pytest.mark.parametrize("seconds", [None, 0.25, 2.0])
def test_resampled_cut_and_padded(own: int, seconds: float | None, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    put(tmp_path, "a/1.wav", tone(300, own, 1.0), own, subtype="FLOAT")
    wave = lb.datasets.audio_folder(tmp_path, rate=16_000, seconds=seconds)[0][0][0]
    length = 16_000 if seconds is None else round(16_000 * seconds)
    assert len(wave) == length
    heard = min(length, 16_000)
    expected = torch.from_numpy(tone(300, 16_000, 1.0)[:heard]).float()
    inner = slice(200, heard - (200 if heard == 16_000 else 0))  # a sound that begins or ends at once rings there
    assert torch.allclose(wave[:heard][inner], expected[inner], atol=2e-3)
    assert not wave[16_000:].any()


def test_no_sound_of_a_folder_is_left_out(tmp_path: Path) -> None:
    names = {"1.wav": "WAV", "2.mp3": "MP3", "3.aiff": "AIFF", "4.AIF": "AIFF", "5.au": "AU", "6.oga": "OGG"}
    for name, kind in names.items():
        put(tmp_path, f"a/{name}", tone(440, 16_000, 0.5), 16_000, format=kind)
    put(tmp_path, "a/7.opus", tone(440, 16_000, 0.5), 16_000, format="OGG", subtype="OPUS")
    pytest.importorskip("scipy")
    sounds = lb.datasets.audio_folder(tmp_path, rate=8e3)  # type: ignore[arg-type]
    assert len(sounds) == 7
    expected = torch.from_numpy(tone(440, 8_000, 0.5)).float()
    for wave, _ in (sounds[row] for row in range(7)):
        assert wave.shape == (1, 4000)
        assert torch.allclose(wave[0, 400:-400], expected[400:-400], atol=0.05)


def test_channels_and_rates_may_stay(tmp_path: Path) -> None:
    both = np.stack([tone(300, 8_000, 0.1), tone(500, 8_000, 0.1)], axis=1)
    put(tmp_path, "a/1.wav", both, 8_000, subtype="FLOAT")
    stereo = lb.datasets.audio_folder(tmp_path, rate=None, mono=False)[0][0]
    assert torch.equal(stereo, torch.from_numpy(both.T).float())
    mono = lb.datasets.audio_folder(tmp_path, rate=None)[0][0]
    assert torch.allclose(mono, stereo.mean(0, keepdim=True))


def test_what_is_no_sound_is_said(tmp_path: Path) -> None:
    for options in ({"rate": 0}, {"rate": 22_050.5}, {"seconds": -1.0}):
        with pytest.raises(lb.OptionError, match="number above 0"):
            lb.datasets.audio_folder(tmp_path, **options)
    with pytest.raises(lb.DataError, match="no folders"):
        lb.datasets.audio_folder(tmp_path / "none")
    (tmp_path / "a").mkdir()
    with pytest.raises(lb.DataError, match="a hold no sound"):
        lb.datasets.audio_folder(tmp_path)
    (tmp_path / "a" / "1.wav").write_bytes(b"RIFF and no more")
    with pytest.raises(lb.DataError, match="cannot be read"):
        lb.datasets.audio_folder(tmp_path)[0]
    put(tmp_path, "a/1.wav", np.zeros(0), 16_000)
    with pytest.raises(lb.DataError, match="has no samples"):
        lb.datasets.audio_folder(tmp_path)[0]
    put(tmp_path, "a/1.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(lb.DataError, match="not finite"):
        lb.datasets.audio_folder(tmp_path)[0]


@pytest.mark.parametrize(("mask", "dim"), [(lb.vision.FrequencyMask, 2), (lb.vision.TimeMask, 3)])
def test_masks_are_bands_drawn_by_the_row(mask: Any, dim: int) -> None:
    pictures = torch.ones(200, 2, 20, 30)
    seeds = torch.arange(200)
    augment = lb.vision.Augment([mask(widest=0.5, value=-1.0)])
    made = augment(pictures, seeds)
    band = (made == -1).all(5 - dim).all(1)  # of shape (rows, pitches or times)
    assert torch.equal((made == -1).sum((1, 2, 3)), band.sum(1) * 2 * pictures[0, 0].numel() // band.shape[1])
    widths = band.sum(1)
    assert widths.min() == 0
    assert widths.max() == band.shape[1] // 2
    edges = band.int().diff(dim=1).abs().sum(1) + band[:, 0] + band[:, -1]
    assert set(edges.tolist()) <= {0, 2}, "one band a row"
    assert torch.equal(augment(pictures[50:60], seeds[50:60]), made[50:60]), "of the row alone"
    still = lb.vision.Augment([mask(0.0)])(pictures, seeds)
    assert torch.equal(still, pictures)


def test_tones_and_noises_are_learned(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(24):
        put(tmp_path, f"tone/{number}.wav", tone(300 + 40 * number, 8_000, 0.3), 8_000)
        put(tmp_path, f"noise/{number}.wav", 0.3 * generator.standard_normal(2400), 8_000)
    data = lb.datasets.audio_folder(
        tmp_path, rate=8_000, seconds=0.3, transform=lambda wave: lb.datasets.log_spectrogram(wave, window=128, hop=64)
    )
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    masks = lb.vision.Augment([lb.vision.FrequencyMask(), lb.vision.TimeMask()])
    fitted = recipe.set_opt_hparams(lr=0.02).fit(data, epochs=12, batch_size=16, augment=masks, verbose=False)
    assert fitted.evaluate(data).metrics["acc"] > 0.9
    scores: Tensor = fitted.predict(data)
    assert scores.shape == (48, 2)
