"""Nets of timm: weights taken over, images brought to what they want, and files that need no weights beside them.

They are tested with weights made here. timm needs a torchvision that goes with torch, which is not installed with the
packages for development; without it these tests are skipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lumbre as lb

try:
    import timm
    from huggingface_hub import constants
except (ImportError, RuntimeError) as error:
    pytest.skip(f"timm cannot be imported: {error}", allow_module_level=True)

NET, HUB = "test_resnet", "models--timm--test_resnet.r160_in1k"
IMAGES = torch.randint(256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with weights of the net, with a head of seven classes."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    torch.manual_seed(1)
    save_file(timm.create_model(NET, num_classes=7).state_dict(), path)
    return path


def net(weights: Path, **options: Any) -> Any:
    return lb.nets.vision(NET, **{"classes": 3, "pretrained": weights, "size": 32, **options})


def fitted(prepared: Any, **options: Any) -> lb.Fitted:
    given = {"frozen": 1, "batch_size": 6, "verbose": False, "preflight": False, **options}
    return lb.setup(prepared).fine_tune((IMAGES, LABELS), 1, **given)


def test_the_body_has_the_weights_of_the_file_and_the_head_is_new(weights: Path) -> None:
    prepared = net(weights)
    one, two = prepared(), prepared()
    stored = lb.load_weights(weights)
    for name, value in one.net.state_dict().items():
        if name.startswith("fc."):
            assert len(value) == 3
        else:
            assert torch.equal(value, stored[name]), name
    assert not torch.equal(one.net.fc.weight, two.net.fc.weight)


def test_making_one_leaves_random_numbers_alone(weights: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    net(weights)
    assert torch.equal(torch.rand(3), expected)


def test_bytes_and_floats_are_scaled_as_the_weights_want_them(weights: Path) -> None:
    model = net(weights)().eval()
    config = timm.get_pretrained_cfg(NET)
    mean, std = (torch.tensor(part).reshape(3, 1, 1) for part in (config.mean, config.std))
    expected = model.net((IMAGES / 255 - mean) / std)
    torch.testing.assert_close(model(IMAGES), expected)
    torch.testing.assert_close(model(IMAGES / 255), expected)
    assert {"mean", "std"} <= set(model.state_dict())


def test_images_of_another_size_are_scaled_and_cut_as_pillow_does(weights: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    middle = image.fromarray(pixels).crop((15, 0, 65, 50))
    expected = middle.resize((32, 32), image.Resampling.BILINEAR)
    found = net(weights)()._fitting(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    assert found.shape == (1, 3, 32, 32)
    # Pillow rounds to bytes, twice.
    gap = (found[0] * 255 - torch.from_numpy(np.array(expected)).permute(2, 0, 1)).abs()
    assert gap.max() < 3


def test_a_file_is_read_by_the_class_alone_and_without_the_weights(weights: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(weights.read_bytes())
    model = fitted(net(copied))
    copied.unlink()
    model.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", lb.nets.Vision)
    assert torch.equal(again.predict(IMAGES), model.predict(IMAGES))
    assert again.hparams == {"name": NET, "classes": 3, "size": 32, "channels": 3}
    wide = torch.nn.functional.pad(IMAGES, (0, 8))
    assert again.predict(wide).shape == (12, 3)
    model.export(tmp_path / "net.pt2", IMAGES)
    exported = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(exported(IMAGES), model.predict(IMAGES), rtol=1e-4, atol=1e-4)


def test_its_recipe_knows_loss_metrics_and_parts(weights: Path) -> None:
    prepared = net(weights)
    assert prepared.module.parts[:2] == [["net.fc"], ["net.layer4"]]
    assert prepared.module.parts[-1] == ["net.conv1", "net.bn1"]
    model = fitted(prepared)
    assert set(model.history["metric"]) == {"loss", "acc", "lr"}
    assert model.predict_classes(IMAGES).shape == (12,)
    assert torch.equal(model.predict(IMAGES), fitted(prepared).predict(IMAGES))


def test_a_stopped_fine_tuning_goes_on_to_the_same_bits(weights: Path, tmp_path: Path) -> None:
    class Stops(lb.Callback):
        armed = True

        def on_train_batch_end(self, ctx: lb.Context) -> None:
            if Stops.armed and ctx.epoch == 2:
                Stops.armed = False
                raise RuntimeError("the machine goes down")

    keep = lb.Checkpoints(tmp_path / "run", steps=1, wait=True)
    with pytest.raises(lb.CallbackError):
        fitted(net(weights), resume=keep, callbacks=Stops())
    resumed, whole = fitted(net(weights), resume=keep, callbacks=Stops()), fitted(net(weights), callbacks=Stops())
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_grey_images_and_nets_of_a_fixed_size(weights: Path) -> None:
    grey = net(weights, channels=1)()
    assert grey(IMAGES[:, :1]).shape == (12, 3)
    torch.testing.assert_close(
        grey.net.conv1[0].weight, lb.load_weights(weights)["conv1.0.weight"].sum(1, keepdim=True)
    )
    patches = lb.nets.vision("test_vit", classes=3, pretrained=False, size=32)()
    assert patches(IMAGES).shape == (12, 3)


def test_weights_come_from_the_cache_of_the_hub(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = timm.create_model(NET)
    snapshot = tmp_path / HUB / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / HUB / "refs").mkdir()
    (tmp_path / HUB / "refs" / "main").write_text(snapshot.name)
    save_file(full.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = net(weights, pretrained=True)()
    assert torch.equal(model.net.layer4.state_dict()["0.conv1.weight"], full.state_dict()["layer4.0.conv1.weight"])


def test_without_cache_and_network_it_says_so(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(lb.DownloadError, match=r"weights of test_resnet.*cache[\s\S]*safetensors"):
        net(weights, pretrained=True)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda path: net(path, classes=0), lb.OptionError, "classes=0"),
        (lambda path: lb.nets.vision("resnet81", classes=3), lb.OptionError, "resnet18"),
        (lambda path: lb.nets.vision("resnet18.nothing", classes=3), lb.OptionError, "nothing"),
        (lambda path: lb.nets.vision("test_vit", classes=3, pretrained=path), lb.ArchiveError, "test_vit"),
        (lambda path: net(path.with_name("absent")), lb.ArchiveError, "absent"),
        (lambda path: net(path).module(name="test_vit", classes=3, size=32), lb.RecipeError, "test_vit"),
        (lambda path: lb.setup(net(path)).set_hparams(clases=4).fit((IMAGES, LABELS)), lb.RecipeError, "classes"),
    ],
    ids=["classes", "name", "tag", "other net", "file", "hparams", "misspelled"],
)
def test_what_cannot_be_is_said(
    call: Callable[[Path], Any], error: type[lb.LumbreError], words: str, weights: Path
) -> None:
    with pytest.raises(error, match=words):
        call(weights)
