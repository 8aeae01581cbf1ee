"""No logic stands in the code twice: no run of six statements whose shape, names aside, is found at two places.

Left aside are imports, docstrings, signatures, and the errors that are raised: what is said in them is what differs.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "lumbre"
RUN = 6
LEFT_ASIDE = (ast.Import, ast.ImportFrom, ast.Raise, ast.FunctionDef, ast.ClassDef)


class _Nameless(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("_", node.ctx)


def statements(block: Sequence[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Line and shape of each statement in the order of the text; of a compound one the head alone."""
    for one in block:
        text = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
        if text or isinstance(one, LEFT_ASIDE):
            continue
        parts = [getattr(one, name, []) for name in ("body", "orelse", "finalbody")]
        parts += [handler.body for handler in getattr(one, "handlers", [])]
        fields = [value for _, value in ast.iter_fields(one) if not _is_block(value)]
        yield one.lineno, f"{type(one).__name__} {[_shape(value) for value in fields]}"
        for part in parts:
            yield from statements(part)


def _shape(value: object) -> str:
    if isinstance(value, list):
        return str([_shape(part) for part in value])
    return ast.dump(_Nameless().visit(value)) if isinstance(value, ast.AST) else repr(value)


def _is_block(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], (ast.stmt, ast.ExceptHandler))


def clones(sources: dict[str, str]) -> list[list[str]]:
    """The places, as "file:line", of each run of statements that is there more than once."""
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, source in sources.items():
        for function in ast.walk(ast.parse(source)):
            if not isinstance(function, ast.FunctionDef):
                continue
            found = list(statements(function.body))
            for at in range(len(found) - RUN + 1):
                run = found[at : at + RUN]
                places[tuple(shape for _, shape in run)].append(f"{name}:{run[0][0]}")
    return [where for where in places.values() if len(where) > 1]


def test_no_logic_is_written_twice() -> None:
    assert clones({str(file.relative_to(PACKAGE)): file.read_text() for file in PACKAGE.rglob("*.py")}) == []


def test_the_same_logic_under_other_names_is_found() -> None:
    body = "    {a} = [1]\n    for one in {a}:\n        if one > 2:\n            {a}.append(one)\n    {b} = len({a})\n"
    body += "    {b} += 1\n    return {b}\n"
    first = "def f(x: int) -> int:\n" + body.format(a="x", b="y")
    other = 'def g() -> int:\n    """Text."""\n' + body.format(a="p", b="q")
    assert clones({"one.py": first, "two.py": other}) == [["one.py:2", "two.py:3"], ["one.py:3", "two.py:4"]]
    assert clones({"one.py": first, "two.py": other.replace("q += 1", "q -= 1")}) == []
