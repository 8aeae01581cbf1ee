"""Nothing in the package executes what it reads, or imports by a name that did not stand in its own code.

Exceptions are named below, each for one file, with why.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "lumbre"
FILES = sorted(PACKAGE.rglob("*.py"))

# Modules that make objects, and so calls, of bytes; and those that run programs or import by name.
MODULES = {"pickle", "_pickle", "pickletools", "copyreg", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code"}
RUNNERS = {"importlib", "imp", "runpy", "pkgutil", "subprocess", "ctypes"}
# These two parts of importlib read files of packages, and import nothing.
READERS = {"importlib.metadata", "importlib.resources"}
NAMES = {"eval", "exec", "compile", "__import__", "breakpoint"}
# numpy.load is safe as long as nobody passes allow_pickle, which is looked for too.
ATTRIBUTES = {
    "torch.load",
    "torch.jit.load",
    "torch.export.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "pd.read_pickle",
    "pandas.read_pickle",
    "yaml.load",
    "os.system",
    "os.popen",
    "sys.modules",
    "importlib.import_module",
    "importlib.util.spec_from_file_location",
}

ALLOWED = {
    # Optional packages; the test below sees that their names are written out in lumbre's code.
    "base/_extras.py": {"importlib", "importlib.import_module"},
    # `lumbre replay` runs the script that the user names on the command line; no name comes from a file.
    "cli/_replay.py": {"runpy", "sys.modules"},
    # The test of a project that `lumbre new` writes: it runs the script beside it, which is the user's by then.
    "cli/templates/test_train.py": {"runpy"},
    # A part of torch by its name, for what its import does.
    "processes/_workers.py": {"importlib", "importlib.import_module"},
    # Whether IPython or marimo is at work here; nothing is imported that is not there already.
    "callbacks/_screens.py": {"sys.modules"},
    # Two functions of the C library that is loaded already, by their names, with numbers of lumbre's own.
    "devices/_denormals.py": {"ctypes"},
    "devices/_memory.py": {"ctypes"},
    # Looks at the memory of NumPy's own generator, at the address that NumPy gives, and writes nothing there.
    "base/_seeds.py": {"ctypes"},
    # Reads back, to try it, the file that the line before it wrote.
    "fitted/_export.py": {"torch.export.load"},
}


def found_in(tree: ast.AST) -> set[str]:
    """The forbidden things that a file uses, called or not."""
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= {_package(alias.name) for alias in node.names} & (MODULES | RUNNERS)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            used |= {_package(module)} & (MODULES | RUNNERS)
            used |= {f"{module}.{alias.name}" for alias in node.names} & ATTRIBUTES
        elif isinstance(node, ast.Name):
            used |= {node.id} & NAMES
        elif isinstance(node, ast.Attribute):
            used |= {ast.unparse(node)} & ATTRIBUTES
            used |= {node.attr} & {"__import__", "__builtins__", "__reduce__"}
        elif isinstance(node, ast.keyword):
            used |= {str(node.arg)} & {"allow_pickle", "weights_only"}
    return used


def _package(module: str) -> str:
    return "" if module in READERS else module.partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_executes_what_it_reads(file: Path) -> None:
    name = file.relative_to(PACKAGE).as_posix()
    assert found_in(ast.parse(file.read_text())) <= ALLOWED.get(name, set())


def test_every_exception_is_needed() -> None:
    for name, allowed in ALLOWED.items():
        assert allowed <= found_in(ast.parse((PACKAGE / name).read_text())), name


def test_optional_packages_are_named_in_the_code() -> None:
    loops = 0
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_extra")):
                continue
            module = node.args[0]
            if not (isinstance(module, ast.Constant) and isinstance(module.value, str)):
                loops += 1
                assert file.name in LOOPS, f"{file.name}:{node.lineno}"
                assert ast.unparse(node.args[0]) == LOOPS[file.name]
    assert loops == len(LOOPS)


# A loop over names that stand in the line above it.
LOOPS = {"_export.py": "package"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "run = eval",
        "import importlib\nimportlib.import_module(document['module'])",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import subprocess",
        "__import__('os')",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert found_in(ast.parse(code))
