"""Draw the pictures of the tutorials' pages, into docs/pictures/tutorials.

The programs in examples/ draw them; here they are run and their pictures made small. Training is seeded, so that the
same machine and versions draw the same pictures. Quick runs need no network; two programs need MNIST, and all
of them take about 45 minutes on one core.

    python docs/draw_pictures.py                        # all
    python docs/draw_pictures.py little_book workshop   # some, in seconds
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"
PICTURES = Path(__file__).parent / "pictures" / "tutorials"
WIDTH, BYTES = 800, 80_000

RUNS = {
    "mnist_cnn": [],
    "little_book": ["--quick"],
    "workshop": ["--quick"],
    # The full run: a narrow net and few plots would not show what the tutorial is about.
    "guess_the_correlation": ["--precision", "bfloat16"],
    "deep_learning_and_scientific_computing": ["--quick"],
    "activations": [],
}
"""The programs and their arguments."""

WITH_MNIST = ("mnist_cnn", "activations")


def draw(program: str, root: str | None) -> None:
    """Run a program and keep its pictures, small."""
    tutorial = EXAMPLES / "tutorials" / f"{program}.py"
    path = tutorial if tutorial.exists() else EXAMPLES / f"{program}.py"
    arguments = [
        *RUNS[program],
        *(["--root", root] if root and program in WITH_MNIST else []),
    ]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, path, *arguments, "--pictures", folder],
            cwd=folder,
            check=True,
        )
        for picture in sorted(Path(folder).glob("*.png")):
            shrink(picture, PICTURES / program / picture.name)


def shrink(picture: Path, target: Path) -> None:
    """At most 800 pixels wide, in as few colours as keep its file small."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    if image.width > WIDTH:
        image = image.resize(
            (WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS
        )
    image.save(target, optimize=True)
    colours = 512
    while target.stat().st_size > BYTES:
        if colours > 16:
            colours //= 2
        else:  # noise does not become small by fewer colours
            image = image.reduce(2)
        image.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.relative_to(PICTURES)}: {target.stat().st_size:,} bytes")


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "programs", nargs="*", help=f"of {', '.join(RUNS)}; all where none is given"
    )
    parser.add_argument("--root", help="folder that holds (or will hold) mnist/")
    given = parser.parse_args()
    for program in given.programs or RUNS:
        draw(program, given.root)


if __name__ == "__main__":
    main()
