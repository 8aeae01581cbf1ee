#!/usr/bin/env bash
# Pillow reads a grey TIFF of 16 bits in which 0 is white as a negative.
#
# TIFF's PhotometricInterpretation says whether 0 is black (1) or white (0). Of 8 bits, Pillow turns the values of a file
# in which 0 is white, so that the same picture comes out of both kinds; of 16 bits it gives them as they are stored, in
# the mode "I;16", in which 0 is black. Scans and X-rays are often stored with 0 as white.
#
# Seen with Pillow 13.0.0, NumPy 2.4.6, Python 3.11, Linux x86_64, 2026-11-30: the first value, white, of a row of two
#   8 bits: 255 where 0 is white; 16 bits: 0 where 0 is white
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys

import numpy as np
import PIL
from PIL import Image

WHITE_IS_ZERO = 0


def first(bits):
    """The first value of a row of two, 0 and the largest one, that Pillow gives."""
    data = np.array([0, 2**bits - 1]).astype(f"<u{bits // 8}").tobytes()
    sizes = [(256, 2), (257, 1), (258, bits), (259, 1), (262, WHITE_IS_ZERO), (273, 200), (277, 1), (278, 1)]
    tags = [*sizes, (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II" + struct.pack("<HIH", 42, 8, len(tags)) + entries + bytes(4)
    with Image.open(io.BytesIO(head.ljust(200, b"\0") + data)) as image:
        return image.mode, int(np.asarray(image)[0, 0])


seen = {bits: first(bits) for bits in (8, 16)}
print("Pillow", PIL.__version__, "Python", sys.version.split()[0], seen)
sys.exit(seen != {8: ("L", 255), 16: ("I;16", 0)})
PYTHON
