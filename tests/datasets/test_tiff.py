"""TIFFs whose depth or meaning Pillow does not heed."""

import struct
from pathlib import Path

import pytest

from lumbre.datasets._images import decoded


def tiff(path: Path, bits: int, data: bytes, meaning: int) -> Path:
    """A TIFF of one row of three grey values, as cameras and scanners write them."""
    tags = [(256, 3), (257, 1), (258, bits), (259, 1), (262, meaning), (273, 200), (277, 1), (278, 1), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II" + struct.pack("<HIH", 42, 8, len(tags)) + entries + bytes(4)
    path.write_bytes(head.ljust(200, b"\0") + data)
    return path


@pytest.mark.parametrize(
    ("bits", "data", "meaning", "right"),
    [
        (12, bytes.fromhex("000808fff0"), 1, [0, 128, 255]),  # 0, 2056 and 4095
        (16, struct.pack("<HHH", 0, 32896, 65535), 1, [0, 128, 255]),
        (16, struct.pack("<HHH", 0, 32896, 65535), 0, [255, 127, 0]),  # 0 is white
    ],
)
def test_a_tiff_of_other_depth_or_meaning(
    tmp_path: Path, bits: int, data: bytes, meaning: int, right: list[int]
) -> None:
    assert decoded(tiff(tmp_path / "x.tif", bits, data, meaning), "RGB", None)[0, :, 0].tolist() == right
