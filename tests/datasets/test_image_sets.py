"""Sets of photographs, through small archives in their real layouts."""

import copy
import io
from collections.abc import Callable
from pathlib import Path

import loopback
import numpy as np
import pytest
import torch
from loopback import Serve, Site, names, picture, tarred, zipped
from PIL import Image
from scipy.io import savemat
from torch import nn, optim
from torch.utils.data import DataLoader

import lumbre as lb
from lumbre.datasets import _images, _tiny_imagenet
from lumbre.datasets._flowers import FLOWERS
from lumbre.datasets._images import decoded
from lumbre.datasets._matlab import matrices

# Fixtures; a conftest.py here would hide the one above from the other tests.
serve, site = loopback.serve, loopback.site


def _shade(image: torch.Tensor) -> int:
    """The grey value of an image of one colour, to the nearest ten (JPEG is not exact)."""
    return round(float(image.float().mean()) * (255 if image.is_floating_point() else 1) / 10) * 10


def _grey(value: int, **options: object) -> bytes:
    return picture((value, value, value), **options)


def _put(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_image_folder(tmp_path: Path) -> None:
    _put(
        tmp_path,
        {
            "b/2.jpg": _grey(200),
            "b/deep/1.PNG": _grey(210, kind="PNG"),
            "a/10.jpeg": _grey(100),
            "a/.hidden.jpg": b"",
            "a/._10.jpeg": b"",
            "a/notes.txt": b"",
            "C/x.tif": picture(7, kind="TIFF", mode="L"),
            ".git/x.jpg": b"",
            "readme.txt": b"",
        },
    )
    data = lb.datasets.image_folder(tmp_path)
    assert data.classes == ("C", "a", "b")
    assert [data[row][1].item() for row in range(len(data))] == [0, 1, 2, 2]
    assert [_shade(data[row][0]) for row in range(len(data))] == [10, 100, 200, 210]
    image, target = data[-1]
    assert image.shape == (3, 30, 40)
    assert image.dtype == torch.float32
    assert target.dtype == torch.int64
    assert target.shape == ()
    assert lb.datasets.image_folder(tmp_path, transform=None)[0][0].dtype == torch.uint8
    assert lb.datasets.image_folder(tmp_path, transform=lambda x: x[0, 0])[0][0].shape == (40,)
    with pytest.raises(IndexError):
        data[4]


def test_image_folder_without_classes_or_images(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(lb.DataError, match="there are no folders"):
            lb.datasets.image_folder(root)
    _put(tmp_path, {"a/1.jpg": _grey(1), "b/1.txt": b""})
    with pytest.raises(lb.DataError, match="b hold no image"):
        lb.datasets.image_folder(tmp_path)


def test_size_scales_the_shorter_side_and_keeps_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 255  # the middle third is white
    out = io.BytesIO()
    Image.fromarray(wide).save(out, "PNG")
    tall = io.BytesIO()
    Image.fromarray(wide.transpose(1, 0, 2)).save(tall, "JPEG", quality=95)
    _put(tmp_path, {"a/wide.png": out.getvalue(), "a/tall.jpg": tall.getvalue()})
    for image, _ in lb.datasets.image_folder(tmp_path, size=20, transform=None):
        assert image.shape == (3, 20, 20)
        assert int(image[:, 1:-1, 1:-1].min()) > 240


@pytest.mark.parametrize("content", [b"", b"no image", picture((1, 2, 3))[:-300]])
def test_damaged_images_are_named(content: bytes, tmp_path: Path) -> None:
    _put(tmp_path, {"a/x.jpg": content})
    with pytest.raises(lb.DataError, match=r"x\.jpg, which cannot be read"):
        lb.datasets.image_folder(tmp_path)[0]


def test_formats_that_start_other_programs_are_not_opened(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "EPS")
    _put(tmp_path, {"a/x.jpg": out.getvalue()})
    with pytest.raises(lb.DataError, match="cannot be read"):
        lb.datasets.image_folder(tmp_path)[0]


def test_a_palette_and_transparency(tmp_path: Path) -> None:
    for mode in ("P", "RGBA", "LA", "1", "CMYK"):
        out = io.BytesIO()
        Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(out, "TIFF" if mode == "CMYK" else "PNG")
        assert decoded(out.getvalue(), "RGB", None).shape == (4, 4, 3)


def test_loader_workers(tmp_path: Path) -> None:
    data = lb.datasets.image_folder(_put(tmp_path, {f"{kind}/{i}.jpg": _grey(9) for kind in "ab" for i in range(3)}))
    images, targets = next(iter(DataLoader(data, batch_size=4, num_workers=1)))
    assert images.shape == (4, 3, 30, 40)
    assert targets.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_decoded_once(tmp_path: Path, size: int | None, workers: int) -> None:
    files = {f"{kind}/{i}.jpg": _grey(20 * i) for kind in "ab" for i in range(6)}
    _put(tmp_path, {**files, "b/odd.png": picture((1, 2, 3), kind="PNG", size=(7, 9)) if size is None else _grey(120)})
    plain = lb.datasets.image_folder(tmp_path, size=size, cache=False)
    items = [plain[row] for row in range(len(plain))]
    for cache in (None, True):
        data = lb.datasets.image_folder(tmp_path, size=size, cache=cache)
        data[0]
        loader = DataLoader(data, batch_size=None, num_workers=workers)
        for _ in range(2):
            for (image, label), (expected, target) in zip(loader, items, strict=True):
                assert torch.equal(image, expected)
                assert label == target
        kept = data._kept["RGB"]
        assert kept is not None
        assert kept.done.sum() == (12 if size is None else 13)  # what the workers decoded is there for all
        image, _ = data[3]
        image.zero_()
        assert torch.equal(data[3][0], items[3][0])
        again = copy.deepcopy(data)  # as a process that is started afresh gets it
        assert torch.equal(again[3][0], items[3][0])


def test_images_that_take_too_much_memory_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(tmp_path, {f"a/{i}.png": _grey(9, kind="PNG") for i in range(4)})
    monkeypatch.setattr(_images, "_CACHE_BYTES", 4 * 8 * 8 * 3 - 1)
    made = {cache: lb.datasets.image_folder(tmp_path, size=8, cache=cache) for cache in (None, True, False)}
    assert [_shade(data[0][0]) for data in made.values()] == [10, 10, 10]
    _put(tmp_path, {f"a/{i}.png": _grey(50, kind="PNG") for i in range(4)})
    assert {cache: _shade(data[0][0]) for cache, data in made.items()} == {None: 50, True: 10, False: 50}


def test_a_phone_s_jpeg_of_two_pictures(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 90, 90)).save(out, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    _put(tmp_path, {"a/x.jpg": out.getvalue()})
    assert _shade(lb.datasets.image_folder(tmp_path)[0][0]) == 90


def test_a_folder_of_images_trains(tmp_path: Path) -> None:
    files = {f"{kind}/{i}.jpg": _grey(base + i) for kind, base in (("dark", 10), ("light", 200)) for i in range(10)}
    data = lb.datasets.image_folder(_put(tmp_path, files), size=8)
    recipe = lb.setup(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)),
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam,
        metrics=lb.metrics.Accuracy(),
    ).set_opt_hparams(lr=0.05)
    fitted = recipe.fit(data, epochs=15, batch_size=5, verbose=False)
    assert fitted.evaluate(data).metrics["acc"] == 1


_PETS = [("Abyssinian_1", 1, 1, 1), ("beagle_7", 2, 2, 1), ("great_pyrenees_12", 3, 2, 2)]


def _pets(serve: Serve) -> None:
    images = {f"images/{name}.jpg": _grey(50 * breed, size=(60, 40)) for name, breed, *_ in _PETS}
    images["images/beagle_7.jpg"] = _grey(100, size=(60, 40), kind="PNG")  # some are no JPEG, whatever their names say
    mask = np.full((40, 60), 2, np.uint8)
    mask[10:30, 20:40] = 1
    mask[9, 20:40] = 3
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    lines = "".join(f"{' '.join(map(str, row))}\n" for row in _PETS).encode()
    notes = {f"annotations/trimaps/{name}.png": out.getvalue() for name, *_ in _PETS}
    notes |= {f"annotations/trimaps/._{name}.png": b"junk" for name, *_ in _PETS}
    notes |= {"annotations/trainval.txt": lines, "annotations/test.txt": lines[:19]}
    notes["annotations/list.txt"] = b"#Image CLASS-ID SPECIES BREED ID\n"
    served = {"images.tar.gz": tarred(images), "annotations.tar.gz": tarred(notes)}
    serve("oxford_pets", served, {"train": 3, "test": 1})


def test_oxford_pets(serve: Serve, tmp_path: Path) -> None:
    _pets(serve)
    species = lb.datasets.oxford_pets(root=tmp_path)
    assert species.classes == ("cat", "dog")
    assert [int(target) for _, target in species] == [0, 1, 1]
    assert [_shade(image) for image, _ in species] == [50, 100, 150]
    assert species[0][0].shape == (3, 224, 224)
    breed = lb.datasets.oxford_pets(root=tmp_path, target="breed", download=False)
    assert breed.classes == ("Abyssinian", "beagle", "great_pyrenees")
    assert [int(target) for _, target in breed] == [0, 1, 2]  # not the number within the species, which is the last
    assert len(lb.datasets.oxford_pets(train=False, root=tmp_path)) == 1
    with pytest.raises(lb.DataError, match="Did you mean 'breed'"):
        lb.datasets.oxford_pets(target="breeds")


def test_oxford_pets_trimaps(serve: Serve, tmp_path: Path) -> None:
    _pets(serve)
    image, mask = lb.datasets.oxford_pets(root=tmp_path, target="trimap", size=None)[0]
    assert image.shape == (3, 40, 60)
    assert mask.shape == (40, 60)
    assert mask.dtype == torch.int64
    assert (mask[10:30, 20:40] == 0).all()
    assert (mask[9, 20:40] == 2).all()
    assert mask[0, 0] == 1
    data = lb.datasets.oxford_pets(root=tmp_path, target="trimap", size=20)
    image, mask = data[2]
    assert image.shape == (3, 20, 20)
    assert mask.shape == (20, 20)
    assert set(mask.unique().tolist()) <= {0, 1, 2}  # nearest neighbours: no class between two others
    assert mask[10, 10] == 0
    assert data.classes == ("pet", "background", "border")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float64])
def test_flowers102(compressed: bool, kind: type, serve: Serve, tmp_path: Path) -> None:
    def mat(**tables: list[int]) -> bytes:
        out = io.BytesIO()
        savemat(out, {key: np.array([value], kind) for key, value in tables.items()}, do_compression=compressed)
        return out.getvalue()

    images = {f"jpg/image_{number:05d}.jpg": _grey(10 * number) for number in range(1, 7)}
    files = {
        "102flowers.tgz": tarred(images),
        "imagelabels.mat": mat(labels=[77, 1, 102, 5, 5, 9]),
        "setid.mat": mat(trnid=[2, 3], valid=[6], tstid=[5, 1, 4]),
    }
    serve("flowers102", files, {"train": 2, "val": 1, "test": 3})
    seen = {
        split: [(_shade(x), int(y)) for x, y in lb.datasets.flowers102(split=split, root=tmp_path)]
        for split in ("train", "val", "test")
    }
    assert seen == {"train": [(20, 0), (30, 101)], "val": [(60, 8)], "test": [(50, 4), (10, 76), (40, 4)]}
    assert lb.datasets.flowers102(root=tmp_path).classes == FLOWERS
    assert len(set(FLOWERS)) == 102


def test_flowers102_with_labels_that_are_none(serve: Serve, tmp_path: Path) -> None:
    files = {"102flowers.tgz": tarred({"jpg/x.jpg": b""}), "imagelabels.mat": b"<html>", "setid.mat": b"<html>"}
    serve("flowers102", files, {})
    with pytest.raises(lb.DownloadError, match=r"imagelabels\.mat, which cannot be read"):
        lb.datasets.flowers102(root=tmp_path)


def test_sets_with_a_file_missing_or_a_strange_one(serve: Serve, tmp_path: Path) -> None:
    _pets(serve)
    lb.datasets.oxford_pets(root=tmp_path)
    (tmp_path / "oxford_pets" / "annotations" / "annotations" / "test.txt").unlink()
    with pytest.raises(lb.DownloadError, match=r"without annotations/test\.txt"):
        lb.datasets.oxford_pets(train=False, root=tmp_path)
    strange = {f"train/{kind}.1.jpg": _grey(1) for kind in ("cat", "emu")}
    files = {"train.zip": zipped(strange), "test1.zip": zipped({"test1/1.jpg": _grey(1)})}
    serve("dogs_vs_cats", {"dogs-vs-cats.zip": zipped(files)}, {"train": 2})
    with pytest.raises(lb.DownloadError, match="with images of 'emu'"):
        lb.datasets.dogs_vs_cats(root=tmp_path)


def test_matlab_files_that_are_none(tmp_path: Path) -> None:
    out = io.BytesIO()
    savemat(out, {"labels": np.arange(50)})
    whole = out.getvalue()
    assert matrices(whole)["labels"].tolist() == list(range(50))
    for content in (
        b"",
        b"x" * 200,
        whole[:-20],
        whole[:150],
        whole[:128] + bytes([15, 0, 0, 0, 4, 0, 0, 0]) + b"zlib",
    ):
        with pytest.raises(ValueError, match="MATLAB"):
            matrices(content)


def test_caltech101(serve: Serve, tmp_path: Path) -> None:
    top = "101_ObjectCategories"
    images = {
        f"{top}/BACKGROUND_Google/image_0001.jpg": _grey(0),
        f"{top}/BACKGROUND_Google/tmp": b"",
        f"{top}/Faces/image_0001.jpg": _grey(10),
        f"{top}/accordion/image_0002.jpg": picture(30, mode="L"),
        f"{top}/accordion/image_0001.jpg": _grey(20),
    }
    files = {
        f"caltech-101/{top}.tar.gz": tarred(images),
        "caltech-101/Annotations.tar": b"not looked at",
        "__MACOSX/caltech-101/._Annotations.tar": b"junk",
    }
    serve("caltech101", {"caltech-101.zip": zipped(files)}, {"all": 3, "classes": 2})
    data = lb.datasets.caltech101(root=tmp_path, size=8)
    assert data.classes == ("Faces", "accordion")
    assert [(_shade(x), int(y)) for x, y in data] == [(10, 0), (20, 1), (30, 1)]
    assert names(tmp_path / "caltech101" / "caltech-101") == {"caltech-101"}


def test_eurosat(serve: Serve, tmp_path: Path) -> None:
    kinds = ("AnnualCrop", "Forest", "SeaLake")
    images = {
        f"2750/{kind}/{kind}_{i}.jpg": _grey(60 * k + 20 * i, size=(64, 64))
        for k, kind in enumerate(kinds)
        for i in (1, 2)
    }
    files = {
        "EuroSAT.zip": zipped(images),
        "eurosat-train.txt": b"SeaLake_2.jpg\nAnnualCrop_1.jpg\nForest_1.jpg\n",
        "eurosat-val.txt": b"Forest_2.tif\n",
        "eurosat-test.txt": b"SeaLake_1.jpg\nAnnualCrop_9.jpg\n",
    }
    serve("eurosat", files, {"train": 3, "val": 1, "test": 2, "classes": 3})
    train = lb.datasets.eurosat(root=tmp_path)
    assert train.classes == kinds
    assert [(_shade(x), int(y)) for x, y in train] == [(160, 2), (20, 0), (80, 1)]
    assert train[0][0].shape == (3, 64, 64)
    assert [int(y) for _, y in lb.datasets.eurosat(split="val", root=tmp_path)] == [1]
    with pytest.raises(lb.DownloadError, match=r"without 2750/AnnualCrop/AnnualCrop_9\.jpg"):
        lb.datasets.eurosat(split="test", root=tmp_path)


def test_dogs_vs_cats(serve: Serve, site: Site, tmp_path: Path) -> None:
    train = {f"train/{kind}.{i}.jpg": _grey(base + i) for kind, base in (("dog", 100), ("cat", 0)) for i in (0, 10, 90)}
    test = {f"test1/{i}.jpg": _grey(i) for i in (10, 2, 100)}
    files = {"train.zip": zipped(train), "test1.zip": zipped(test), "sampleSubmission.csv": b"id,label\n"}
    serve("dogs_vs_cats", {"dogs-vs-cats.zip": zipped(files)}, {"train": 6, "test": 3})
    data = lb.datasets.dogs_vs_cats(root=tmp_path, size=None)
    assert data.classes == ("cat", "dog")
    assert [(_shade(x), int(y)) for x, y in data] == [(0, 0), (10, 0), (90, 0), (100, 1), (110, 1), (190, 1)]
    assert [_shade(x) for x in lb.datasets.dogs_vs_cats(train=False, root=tmp_path)] == [0, 10, 100]
    assert not list((tmp_path / "dogs_vs_cats").rglob("train.zip"))
    (tmp_path / "dogs_vs_cats" / "dogs-vs-cats" / "train" / "dog.10.jpg").unlink()
    with pytest.raises(lb.DownloadError, match="gives 5 of dogs_vs_cats's train"):
        lb.datasets.dogs_vs_cats(root=tmp_path)


def test_bird_species(serve: Serve, tmp_path: Path) -> None:
    files = {f"{part}/{kind}/1.jpg": _grey(100) for part in ("train", "valid", "test") for kind in ("ROBIN", "EMU")}
    serve("bird_species", {"bird-species.zip": zipped(files)}, {})
    for split in ("train", "valid", "test"):
        data = lb.datasets.bird_species(split=split, root=tmp_path)
        assert data.classes == ("EMU", "ROBIN")
        assert [int(y) for _, y in data] == [0, 1]
    _put(tmp_path / "bird_species" / "bird-species", {"valid/CROW/1.jpg": _grey(1)})
    with pytest.raises(lb.DownloadError, match="different kinds of birds"):
        lb.datasets.bird_species(root=tmp_path)


def _tiny(change: Callable[[dict[str, bytes]], None] = lambda files: None) -> bytes:
    top = "tiny-imagenet-200"
    files = {
        f"{top}/wnids.txt": b"n02\nn01\n",
        f"{top}/words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tbullfrog\nn03\tnot in it\n",
        f"{top}/val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t0\t0\t63\t63\n",
        f"{top}/val/images/val_0.JPEG": _grey(200, size=(64, 64)),
        f"{top}/val/images/val_1.JPEG": _grey(210, size=(64, 64)),
        f"{top}/test/images/test_0.JPEG": b"not looked at",
    }
    for kind, base in (("n02", 100), ("n01", 0)):
        files[f"{top}/train/{kind}/{kind}_boxes.txt"] = b""
        for i in (0, 2, 10):
            files[f"{top}/train/{kind}/images/{kind}_{i}.JPEG"] = _grey(base + 5 * i, size=(64, 64))
    files[f"{top}/train/n01/images/n01_2.JPEG"] = picture(10, size=(64, 64), mode="L")
    change(files)
    return zipped(files)


def test_tiny_imagenet(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("tiny_imagenet", {"tiny-imagenet-200.zip": _tiny()}, {"train": 6, "val": 2, "classes": 2})
    train = lb.datasets.tiny_imagenet(root=tmp_path, transform=None)
    assert train.input.shape == (6, 3, 64, 64)
    assert train.input.dtype == torch.uint8
    assert [_shade(image) for image in train.input] == [0, 10, 50, 100, 110, 150]
    assert train.target.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.classes == ("goldfish, Carassius auratus", "bullfrog")
    val = lb.datasets.tiny_imagenet(split="val", root=tmp_path)
    assert val.target.tolist() == [1, 0]
    assert [_shade(image) for image, _ in (val[0], val[1])] == [200, 210]
    # Decoded once: neither the archive nor pillow is needed again, and what is written does not reach the file.
    (tmp_path / "tiny_imagenet" / "tiny-imagenet-200.zip").unlink()
    monkeypatch.setattr(_tiny_imagenet, "decoded", None)
    train.input.zero_()
    again = lb.datasets.tiny_imagenet(root=tmp_path, download=False)
    assert _shade(again.input[5]) == 150


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.pop("tiny-imagenet-200/words.txt"), "cannot be read"),
        (lambda files: files.pop("tiny-imagenet-200/train/n01/images/n01_0.JPEG"), "gives 5 of tiny_imagenet's train"),
        (lambda files: files.update({"tiny-imagenet-200/wnids.txt": b"n01\n"}), "gives 1 of tiny_imagenet's classes"),
        (
            lambda files: files.update({"tiny-imagenet-200/train/n01/images/n01_0.JPEG": _grey(1)}),
            "not 64 x 64",
        ),
        (
            lambda files: files.update({"tiny-imagenet-200/train/n01/images/n01_0.JPEG": b"none"}),
            "an image in an archive",
        ),
    ],
)
def test_tiny_imagenet_with_something_else(change: Callable, said: str, serve: Serve, tmp_path: Path) -> None:
    serve("tiny_imagenet", {"tiny-imagenet-200.zip": _tiny(change)}, {"train": 6, "val": 2, "classes": 2})
    with pytest.raises(lb.DownloadError, match=said):
        lb.datasets.tiny_imagenet(root=tmp_path)
    assert names(tmp_path / "tiny_imagenet") - {".lock"} == {"tiny-imagenet-200.zip"}


def _saved(path: Path, values: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_pictures_of_16_bits_are_scaled_by_their_depth(tmp_path: Path, name: str) -> None:
    _saved(tmp_path / "a" / name, np.array([[0, 200, 256, 4095, 65535]], np.uint16))
    image, _ = lb.datasets.image_folder(tmp_path, transform=None)[0]
    assert image[:, 0].tolist() == [[0, 1, 1, 16, 255]] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pictures_of_other_depths_are_scaled_or_refused(tmp_path: Path, dtype: type) -> None:
    fits = np.array([[0, 0.25, 0.5, 1]], dtype)
    _saved(tmp_path / "fits/a/x.tif", fits)
    for number, beyond in enumerate(([[0, 2]], [[-1, 1]], [[0, 70_000]])):
        _saved(tmp_path / f"beyond{number}/a/x.tif", np.array(beyond, dtype))
        with pytest.raises(lb.DataError, match=r"x\.tif.*its values are of mode"):
            lb.datasets.image_folder(tmp_path / f"beyond{number}")[0]
    if dtype is np.float32:
        image, _ = lb.datasets.image_folder(tmp_path / "fits", transform=None)[0]
        assert image[0, 0].tolist() == [0, 64, 128, 255]
        _saved(tmp_path / "nan/a/x.tif", np.array([[0, np.nan]], dtype))
        with pytest.raises(lb.DataError, match="mode 'F'"):
            lb.datasets.image_folder(tmp_path / "nan")[0]


def test_masks_keep_their_class_numbers(tmp_path: Path) -> None:
    _saved(tmp_path / "mask.png", np.array([[1, 2, 255]], np.uint16))
    assert decoded(tmp_path / "mask.png", "mask", None).tolist() == [[1, 2, 255]]
    _saved(tmp_path / "mask.png", np.array([[1, 2, 256]], np.uint16))
    with pytest.raises(lb.DataError, match="up to 255"):
        decoded(tmp_path / "mask.png", "mask", None)


@pytest.mark.parametrize("cache", [None, False])
def test_pictures_are_turned_as_viewers_show_them(tmp_path: Path, cache: bool | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.zeros((20, 40, 3), np.uint8)
    values[:, :20] = 255  # the left half is white; turned, it is the upper one
    _saved(tmp_path / "a/x.png", values, exif=exif)
    turned, _ = lb.datasets.image_folder(tmp_path, transform=None, cache=cache)[0]
    assert turned.shape == (3, 40, 20)
    assert turned[:, :20].min() == 255
    assert turned[:, 20:].max() == 0
    stored, _ = lb.datasets.image_folder(tmp_path, transform=None, cache=cache, exif=False)[0]
    assert stored.shape == (3, 20, 40)
    small, _ = lb.datasets.image_folder(tmp_path, transform=None, cache=cache, size=8)[0]
    assert small[:, :3].min() == 255
    assert small[:, 5:].max() == 0


def test_hidden_folders_are_left_aside(tmp_path: Path) -> None:
    root = tmp_path / ".hidden above"
    names = ("a/x.png", "a/.ipynb_checkpoints/x.png", "a/deep/y.png", "a/deep/.git/y.png", "a/._x.png", ".b/z.png")
    for name in names:
        _saved(root / name, np.zeros((2, 2), np.uint8))
    found = lb.datasets.image_folder(root)
    assert found.classes == ("a",)
    assert [path.name for path in found.paths] == ["y.png", "x.png"]
