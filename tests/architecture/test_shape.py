"""The shape of the code: who imports whom, what is public, how long things are."""

import ast
import inspect
import re
import rlcompleter
import subprocess
import sys
import tomllib
import traceback
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "lumbre"
FILES = sorted(PACKAGE.rglob("*.py"))


def test_packages_import_only_downwards() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import *; lint_imports_command()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


def test_every_package_and_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")}
    there = {
        f"lumbre.{path.stem}" for path in PACKAGE.iterdir() if path.stem[:2] != "__" and path.suffix in ("", ".py")
    }
    assert there == layers


def test_no_import_cycles() -> None:
    import grimp

    graph = grimp.build_graph("lumbre", exclude_type_checking_imports=False, cache_dir=None)
    # A package's own __init__ imports its modules; a cycle would be a module that imports its package back.
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            assert not graph.chain_exists(importer=imported, imported=module), f"{module} <-> {imported}"


@pytest.mark.parametrize(
    "package",
    [
        lumbre,
        lumbre.callbacks,
        lumbre.data,
        lumbre.datasets,
        lumbre.inspection,
        lumbre.losses,
        lumbre.metrics,
        lumbre.nets,
        lumbre.plots,
        lumbre.r,
        lumbre.report,
        lumbre.schedules,
        lumbre.sklearn,
        sys.modules["lumbre.tune"],  # as an attribute it is the function
        lumbre.vision,
    ],
)
def test_all_is_visible(package) -> None:  # and sorted, which ruff checks (RUF022)
    for name in package.__all__:
        assert hasattr(package, name), name


def test_all_is_what_the_package_shows() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imported = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = [alias.asname or alias.name for alias in imported]
    assert sorted(lumbre.__all__) == sorted(names)
    assert all(type(node) in (ast.Expr, ast.ImportFrom, ast.Assign) for node in tree.body)


PUBLIC = {"lumbre": lumbre} | {
    name: thing for name in lumbre.__all__ if isinstance(thing := getattr(lumbre, name), ModuleType)
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_shows_its_public_names_only(name: str) -> None:
    assert dir(PUBLIC[name]) == sorted(PUBLIC[name].__all__)


def test_tab_completes_public_names_only() -> None:
    complete = rlcompleter.Completer({"lb": lumbre}).complete
    found = [complete("lb.data.", index) for index in range(len(lumbre.data.__all__) + 1)]
    assert [one.partition("(")[0] for one in found[:-1]] == [f"lb.data.{name}" for name in sorted(lumbre.data.__all__)]
    assert found[-1] is None


def test_a_package_says_who_uses_it() -> None:
    import grimp

    graph = grimp.build_graph("lumbre", exclude_type_checking_imports=False, cache_dir=None)
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    users: dict[str, set[str]] = {name: set() for name in packages}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            user, used = (f"{module}.".split(".")[1] for module in (importer, imported))
            if used in packages and user != used:
                users[used].add(user if user in packages else "the root modules")
    for name in sorted(packages):
        doc = " ".join(ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())).split())
        said = re.findall(r"Used by ([a-z, ]+)\.", doc)
        assert len(said) == 1, f"{name}: one sentence such as: Used by {', '.join(sorted(users[name]))}."
        everybody = packages - {name} | {"the root modules"}
        named = {"every package": everybody, "no package": set()}.get(said[0], set(re.split(", | and ", said[0])))
        assert named == users[name], f"{name} is used by {', '.join(sorted(users[name]))}"


def test_one_place_holds_the_version_and_the_changelog_dates_it() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    place = ROOT / pyproject["tool"]["hatch"]["version"]["path"]
    assert re.findall(r'^__version__ = "(.+)"$', place.read_text(), re.MULTILINE) == [lumbre.__version__]
    releases = re.findall(r"^## (\S+) - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == lumbre.__version__


def test_importing_loads_nothing_that_is_only_sometimes_needed() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import lumbre; new = set(sys.modules) - before; "
        "heavy = {'pandas', 'plotnine', 'matplotlib', 'rich', 'narwhals', 'torchmetrics', 'pooch', 'PIL', 'pyarrow', "
        "'scipy', 'sklearn', 'kornia', 'tensorboardX', 'mlflow', 'wandb', 'optuna', 'sqlalchemy', 'lumbre.cli', "
        "'torch._dynamo'}; "
        "print(sorted(new & heavy))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_touches_nothing() -> None:
    code = (
        "import os, logging, random, torch; before = dict(os.environ), torch.get_rng_state().sum().item(), "
        "torch.get_num_threads(), random.getstate(), len(logging.root.handlers); import lumbre; "
        "print(before == (dict(os.environ), torch.get_rng_state().sum().item(), torch.get_num_threads(), "
        "random.getstate(), len(logging.root.handlers)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_at_most_four_frames_between_fit_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    original = Tensor.backward

    def watched(self: Tensor, *args, **kwargs) -> None:
        frames = [frame.filename for frame in traceback.extract_stack()]
        counts.append(sum(str(PACKAGE) in name for name in frames))
        original(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "backward", watched)
    recipe = lumbre.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
    recipe.set_hparams(in_features=1, out_features=1).fit((torch.ones(4, 1), torch.ones(4, 1)), epochs=1, verbose=False)
    assert counts == [4]


def test_one_module_holds_the_training_backward() -> None:
    assert [file.name for file in FILES if re.search(r"\bloss\.backward\(", file.read_text())] == ["_body.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_budgets(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            first = node.body[1] if has_docstring and len(node.body) > 1 else node.body[0]
            assert node.body[-1].end_lineno - first.lineno < 60, f"{node.name} is too long"
            assert len(node.args.args) <= 8, f"{node.name} takes too many arguments by position"
        if isinstance(node, ast.ClassDef):
            functions = [f for f in node.body if isinstance(f, ast.FunctionDef) and not f.name.startswith("_")]
            public = [f for f in functions if "property" not in map(ast.unparse, f.decorator_list)]
            assert len(public) <= 20, f"{node.name} has too many methods"


def test_every_public_function_and_class_is_documented() -> None:
    for name in lumbre.__all__:
        thing = getattr(lumbre, name)
        assert inspect.getdoc(thing), name
