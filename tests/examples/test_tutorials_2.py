"""The workshop, the correlations and the tour of scientific computing run quick, and print what the tutorials print."""

import re
from pathlib import Path

import pytest
from programs import run_program

from conftest import ROOT

TUTORIALS = ROOT / "examples" / "tutorials"

# Value and gradient before each hundredth step down Rosenbrock's valley, and where a thousand steps lead.
ROSENBROCK = """\
100: 0.3502924 (-0.667685, -0.5771312)
200: 0.07398106 (-0.1603189, -0.2532476)
300: 0.02483024 (-0.07679074, -0.1373911)
400: 0.009619333 (-0.04347242, -0.08254051)
500: 0.003990697 (-0.02652063, -0.05206227)
600: 0.001719962 (-0.01683905, -0.03373682)
700: 0.0007584976 (-0.01095017, -0.02221584)
800: 0.0003393509 (-0.007221781, -0.01477957)
900: 0.0001532408 (-0.004811743, -0.009894371)
1000: 6.962555e-05 (-0.003222887, -0.006653666)
x: 0.9918 0.9830"""

WORKSHOP_PICTURES = ["S2-15_paths", "S2-20_curves", "S2-22_learning_rates", "S2-23_augmented", "S2-23_curves"]
CORRELATION_PICTURES = ["S3-08_plots", "S3-11_curves", "S3-12_truth_and_guess"]
SCIENCE_PICTURES = ["S4-18_loss", "S4-21_curves", "S4-21_truth_and_guess", "S4-22_shapes"]


def run(name: str, folder: Path) -> str:
    """What the program prints when it is run quick, in a folder of its own and with nothing downloaded before."""
    arguments, none = ("--quick", "--pictures", "pictures"), str(folder / "no data")
    done = run_program(TUTORIALS / f"{name}.py", *arguments, folder=folder, LUMBRE_DATA=none)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "a warning"
    assert not (folder / "no data").exists()
    return done.stdout


def said(text: str, section: str) -> list[str]:
    """The lines of a section, without its id."""
    return [line.removeprefix(section).strip() for line in text.splitlines() if line.startswith(section)]


def floats(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", line)]


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in\n{text}"
    return float(found[1])


def check_pictures(folder: Path, names: list[str]) -> None:
    from PIL import Image

    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(names)
    for name in names:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width >= 600, name
            assert len(picture.convert("RGB").resize((64, 64)).getcolors(4096) or ()) > 2, f"{name} is empty"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("workshop")
    return run("workshop", folder), folder / "pictures"


@pytest.fixture(scope="module")
def correlation(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("correlation")
    return run("guess_the_correlation", folder), folder / "pictures"


@pytest.fixture(scope="module")
def science(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("science")
    return run("deep_learning_and_scientific_computing", folder), folder / "pictures"


def test_workshop_autograd(workshop: tuple[str, Path]) -> None:
    assert said(workshop[0], "S2-02") == [
        "value -3.4000",
        "df/dx1 = 0.8000",
        "df/dx2 = 0.8000",
        "df/dx3 = 0.2000  (on the way)",
        "df/dx4 = 0.2000  (on the way)",
        "df/dx5 = 1.0000  (on the way)",
        "df/dx6 = 1.0000  (on the way)",
        "df/dx7 = 1.0000  (on the way)",
    ]


def test_workshop_numbers_of_the_slides(workshop: tuple[str, Path]) -> None:
    text = workshop[0]
    assert said(text, "S2-03") == [line.partition(" (")[0] for line in ROSENBROCK.splitlines()]
    assert said(text, "S2-04") == ["(100, 1) AddBackward0"]
    assert said(text, "S2-05") == ["the same: True"]
    assert said(text, "S2-06") == ["0 1 5 0"]
    assert said(text, "S2-07") == ["9.99999e-05"]
    assert said(text, "S2-09") == ["parameters 96 | weight (16, 5) bias (16,) | output (50, 16)"]
    assert said(text, "S2-13") == ["0.81"]
    assert said(text, "S2-17") == said(text, "S2-18") == ["333 | 39.1 18.7 181 3750 | species 0"]
    assert said(text, "S2-19") == ["(32, 1, 28, 28) (32,)"]
    assert "S2-22 parameters: 8,574,792 | one picture: (1, 200)" in text


def test_workshop_losses_pair_up(workshop: tuple[str, Path]) -> None:
    table = {
        name: number(rf"{name} .* (\S+)\n", workshop[0])
        for name in ("BCEWithLogitsLoss", "BCELoss", "CrossEntropyLoss", "NLLLoss")
    }
    assert table["BCEWithLogitsLoss"] == table["BCELoss"] > 0
    assert table["CrossEntropyLoss"] == table["NLLLoss"] > 0


def test_workshop_nets_by_hand_learn(workshop: tuple[str, Path]) -> None:
    losses = floats(said(workshop[0], "S2-08")[0])
    # As in the slides: twenty losses, each below the one before, that end at less than half of the first.
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert 10 < losses[0] < 60
    assert losses[-1] < 0.5 * losses[0]
    assert number(r"S2-12 .* largest difference (\S+) of", workshop[0]) < 1e-4
    adam = floats(said(workshop[0], "S2-16")[0])
    assert len(adam) == 20
    assert adam[-1] < 0.7 * adam[0]


def test_workshop_optimizers(workshop: tuple[str, Path]) -> None:
    lines = said(workshop[0], "S2-15")
    reached = {
        line.partition(":")[0]: number(r": (\S+) after", line)
        for line in lines
        if "evaluations" in line and ":" in line
    }
    assert set(reached) == {"SGD", "SGD with momentum", "RMSprop", "Adadelta", "Adagrad", "Adam", "L-BFGS"}
    assert min(reached, key=lambda name: reached[name]) == "L-BFGS"
    assert max(reached.values()) < 4, "each goes down from where it starts"
    assert number(r"as low after (\d+) steps", workshop[0]) < 50
    curve = floats(lines[-1].removeprefix("L-BFGS in a recipe:"))
    assert curve[-1] < 0.5 * curve[0]


def test_workshop_pipeline_and_convnet(workshop: tuple[str, Path]) -> None:
    text, folder = workshop
    stopped, best = re.findall(r"S2-20 stopped after (\d+) of 200 epochs; the best was (\d+)", text)[0]
    assert int(best) < int(stopped) < 200
    assert number(r"the best was \d+, (\S+);", text) == number(r"its file has (\S+)", text)
    assert 0.6 < number(r"S2-20 Evaluation  loss: (\S+)", text) < 1.6
    assert 0.5 < number(r"mae: (\S+) \| predictions \(200, 1\)", text) < 1.1
    assert 1e-4 < number(r"S2-22 learning rate (\S+)", text) < 1e-1
    for run_name in ("plain", "with everything"):
        assert number(rf"S2-23 {run_name}: .*, (\S+) on others", text) > 0.6, "guessing gives a third"
    check_pictures(folder, WORKSHOP_PICTURES)


def test_correlation_shapes_and_counts(correlation: tuple[str, Path]) -> None:
    text = correlation[0]
    assert "a tensor: tensor([1.])" in text
    assert "one plot: (1, 130, 130) torch.float32" in text
    assert "batches of 64: 157 79 79" in text
    assert "first batch: (64, 1, 130, 130) (64,)" in text
    assert "parameters: 3,304,193" in text
    assert "untrained net: (64, 1) squeezed (64,)" in text
    assert -0.2 < number(r"untrained net says (\S+) on average", text) < 0.2
    shown = [value for line in said(text, "correlations:") for value in floats(line)]
    assert len(shown) == 64
    assert all(-1 <= value <= 1 for value in shown)


def test_correlation_finds_the_silent_mistake_and_learns(correlation: tuple[str, Path]) -> None:
    text, folder = correlation
    assert "a net without squeeze(1): error LB006" in text
    assert number(r"\n  r2: (\S+)", text) > 0.75
    check_pictures(folder, CORRELATION_PICTURES)


def test_science_tensors(science: tuple[str, Path]) -> None:
    text = science[0]
    assert said(text, "S4-01") == ["tensor([1.]) torch.float32 cpu (1,)"]
    assert said(text, "S4-02")[0].startswith("torch.int32")
    assert said(text, "S4-03") == ["(1, 1) the same memory: True"]
    assert said(text, "S4-04")[0] == "tensor([1, 2, 3, 4, 5]) torch.int64 torch.float32"
    assert said(text, "S4-04")[2].endswith("(4, 3, 2) [[1, 5, 9], [2, 6, 10], [3, 7, 11], [4, 8, 12]]")
    assert said(text, "S4-05")[-1] == "earnings 84 from 0.71 to 11.61"
    assert said(text, "S4-06") == ["4 6 | 4 6 | 4 6 | now 4 6"]
    assert said(text, "S4-07") == said(text, "S4-08") == ["32"]
    assert said(text, "S4-09") == ["14 32 50 68"]
    assert said(text, "S4-10") == ["4 10 18"]
    assert said(text, "S4-11") == ["126 | 6 12 18 24 30 36 | 21 42 63"]
    assert said(text, "S4-12") == ["6.5 18.5 | 5 17 6 18 7 19 8 20"]
    assert said(text, "S4-13") == [
        "1 2 3 4 5 6 | (6,) (1, 6)",
        "part of a cube [[[4, 6], [7, 9]], [[13, 15], [16, 18]]]",
    ]


def test_science_rosenbrock_to_every_digit(science: tuple[str, Path]) -> None:
    assert said(science[0], "S4-17") == ROSENBROCK.splitlines()


def test_science_data_and_nets(science: tuple[str, Path]) -> None:
    text, folder = science
    losses = floats(said(text, "S4-18")[0])
    # The tutorial's twenty losses fall from 2.55 to 0.84; no seed is known, so a band about them.
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert 1.5 < losses[0] < 4.5
    assert 0.5 < losses[-1] < 1.7
    assert said(text, "S4-19") == ["(344, 8) 333 39.1 18.7 181 3750 species 0"]
    assert said(text, "S4-20") == ["600 200 200", "batches of 100: 6 2 2"]
    assert 0.7 < number(r"S4-21 Evaluation  loss: (\S+)", text) < 1.4, "the variance of the noise is 1"
    assert number(r"S4-21 .* r2: (\S+)", text) > 0.5
    assert "S4-22 (1, 2304) -> (1, 3)" in text
    assert number(r"S4-22 Evaluation .* acc: (\S+)", text) > 0.55, "guessing gives a third"
    check_pictures(folder, SCIENCE_PICTURES)


@pytest.mark.parametrize(
    ("name", "seed", "last", "without"),
    [
        ("workshop", 2, 23, ()),
        ("guess_the_correlation", 3, 12, ()),
        # The tutorial's numbering leaves these three out.
        ("deep_learning_and_scientific_computing", 4, 22, (14, 15, 16)),
    ],
)
def test_every_step_has_its_section(name: str, seed: int, last: int, without: tuple[int, ...]) -> None:
    text = (TUTORIALS / f"{name}.py").read_text()
    heads = [step for line in re.findall(r"^\s*# (S\d-.*)$", text, re.M) for step in re.findall(r"S\d-\d\d  ", line)]
    assert sorted(heads) == [f"S{seed}-{step:02d}  " for step in range(1, last + 1) if step not in without]
