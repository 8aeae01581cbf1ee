#!/usr/bin/env bash
# Pillow mixes up the pixels of a grey TIFF that says it is turned (orientation 5 to 8), if it is opened by its path.
#
# Scanners and microscopes write such files. Opened as a file object, a picture of 2 x 3 pixels is turned to 3 x 2, as it
# should be. Opened by its path, the very same bytes of 8 or 16 bits without compression, which Pillow then maps into
# memory, are read with the width of the turned picture: rows run into one another, and the picture keeps the shape that
# it had before. No warning. Compressed files, and files in colour, are right in both ways.
#
# Seen with Pillow 13.0.0 (and 12.0.0, 11.3.0), NumPy 2.4.0, Python 3.11, Linux x86_64, 2026-11-30: 0 1 2 / 3 4 5, turned
# by a quarter to the right, is 3 0 / 4 1 / 5 2 as a file object, and 4 2 0 / 5 3 1 by its path.
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

folder = Path(sys.argv[1])
pixels = np.arange(6).reshape(2, 3)


def read(kind, compression):
    """The pixels by a file object and by a path."""
    file = folder / f"{kind}_{compression}.tif"
    Image.fromarray(pixels.astype(kind)).save(file, compression=compression, tiffinfo={274: 6})
    with file.open("rb") as opened:
        by_object = np.asarray(Image.open(opened)).tolist()
    return by_object, np.asarray(Image.open(file)).tolist()


turned, mixed = np.rot90(pixels, -1).tolist(), [[4, 2, 0], [5, 3, 1]]
seen = {(kind, how): read(kind, how) for kind in ("uint8", "uint16") for how in (None, "tiff_lzw")}
print("Pillow", PIL.__version__, "NumPy", np.__version__, "Python", sys.version.split()[0], seen)
sys.exit(any(found != (turned, mixed if how is None else turned) for (_, how), found in seen.items()))
PYTHON
