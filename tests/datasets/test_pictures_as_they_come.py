"""Pictures and masks in the forms in which they lie on disks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lumbre as lb
from lumbre import DataError
from lumbre.datasets import ImageFiles

GREY = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.uint8)
TURNED = {  # by their EXIF number
    1: GREY,
    2: GREY[:, ::-1],
    3: GREY[::-1, ::-1],
    4: GREY[::-1],
    5: GREY.T,
    6: GREY[::-1].T,
    7: GREY[::-1, ::-1].T,
    8: GREY[:, ::-1].T,
}
NUMBERS = np.array([[1, 2], [3, 1]], dtype=np.uint8)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"], ids=["plain", "compressed"])
@pytest.mark.parametrize("orientation", TURNED)
def test_a_tiff_is_turned_as_it_says(tmp_path: Path, orientation: int, compression: str | None) -> None:
    (tmp_path / "class").mkdir()
    path = tmp_path / "class" / "a.tif"
    Image.fromarray(GREY).save(path, tiffinfo={0x112: orientation}, compression=compression)
    image = lb.datasets.image_folder(tmp_path, transform=None)[0][0]
    assert image[0].tolist() == TURNED[orientation].tolist()


@pytest.mark.parametrize("most", [15, 255, 1023, 65535])
def test_a_pgm_is_scaled_by_the_value_that_it_calls_white(tmp_path: Path, most: int) -> None:
    (tmp_path / "class").mkdir()
    values = np.array([[0, most // 3], [2 * (most // 3), most]])
    pixels = values.astype("u1" if most < 256 else ">u2").tobytes()
    (tmp_path / "class" / "a.pgm").write_bytes(f"P5 2 2 {most}\n".encode() + pixels)
    image = lb.datasets.image_folder(tmp_path, transform=None)[0][0]
    assert image.tolist() == [[[0, 85], [170, 255]]] * 3
    Image.new("RGB", (2, 2)).save(tmp_path / "picture.png")
    files = ImageFiles(
        [tmp_path / "picture.png"], [tmp_path / "class" / "a.pgm"], size=None, transform=None, classes=None
    )
    with pytest.raises(DataError, match="cannot identify image file"):
        files[0]


@pytest.mark.parametrize("name", ["a.gif", "a.ppm", "a.jfif", "a.GIF"])
def test_no_picture_of_a_folder_is_left_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "class").mkdir()
    Image.new("RGB", (2, 3), (0, 128, 255)).save(tmp_path / "class" / "b.png")
    picture = Image.new("RGB", (2, 3), (255, 255, 255))
    picture.save(tmp_path / "class" / name, format="JPEG" if name.endswith("jfif") else None)
    pictures = lb.datasets.image_folder(tmp_path, transform=None)
    assert len(pictures) == 2
    assert pictures[0][0].tolist() == [[[255] * 2] * 3] * 3


def mask(tmp_path: Path, picture: Image.Image, name: str = "mask.png") -> torch.Tensor:
    Image.new("RGB", picture.size).save(tmp_path / "picture.png")
    picture.save(tmp_path / name)
    files = ImageFiles([tmp_path / "picture.png"], [tmp_path / name], size=None, transform=None, classes=None)
    return files[0][1]


def palette(values: Any) -> Image.Image:
    picture = Image.fromarray(values).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    return picture


def test_the_pixels_of_a_mask_are_class_numbers(tmp_path: Path) -> None:
    right = (NUMBERS.astype(np.int64) - 1).tolist()
    grey = Image.fromarray(NUMBERS)
    alpha = Image.merge("LA", [grey, Image.new("L", grey.size, 7)])
    for picture in (grey, palette(NUMBERS), Image.merge("RGB", [grey] * 3), alpha):
        assert mask(tmp_path, picture).tolist() == right
    assert mask(tmp_path, Image.fromarray(NUMBERS.astype(np.uint16))).tolist() == right
    assert mask(tmp_path, Image.fromarray(NUMBERS > 1)).tolist() == ((NUMBERS > 1).astype(int) - 1).tolist()
    folded = palette(np.kron(NUMBERS, np.ones((4, 4), dtype=np.uint8)))
    folded.save(tmp_path / "large.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "large_picture.png")
    files = ImageFiles([tmp_path / "large_picture.png"], [tmp_path / "large.png"], size=2, transform=None, classes=None)
    assert files[0][1].tolist() == right


def test_masks_that_hold_no_class_numbers_are_refused(tmp_path: Path) -> None:
    colours = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], dtype=np.uint8))
    for picture, name in (
        (colours, "mask.png"),
        (colours.convert("CMYK"), "mask.tif"),
        (Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32)), "mask.tif"),
        (Image.fromarray(np.array([[1, 300]], dtype=np.uint16)), "mask.png"),
    ):
        with pytest.raises(DataError, match="mask"):
            mask(tmp_path, picture, name)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_whole_numbers_without_a_depth_are_no_picture(dtype: str) -> None:
    values = np.array([[0, 128, 255]], dtype=dtype)
    with pytest.raises(DataError, match=r"\.astype\(numpy\.uint8\)"):
        lb.vision.to_tensor(values)
    assert lb.vision.to_tensor(values.astype(np.uint8))[0, 0, 2] == 1
    if dtype == "int32":
        with pytest.raises(DataError, match="a picture of int32, from 0 to 255"):
            lb.vision.to_tensor(Image.fromarray(values))


def test_a_grey_png_of_16_bits_has_their_depth_whatever_pillow_makes_of_it() -> None:
    picture = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.int32))
    picture.format = "PNG"  # as older Pillows open such a file
    assert lb.vision.to_tensor(picture).tolist() == [[[0.0, pytest.approx(128 / 255), 1.0]]]
