"""The reference: a module's public names as a table with their first lines, then each with its docstring.

    .. public:: lumbre.inspect

documents what `lumbre.inspect.__all__` names, as `lumbre.inspect.activations`, wherever its file is. Names below the
directive choose some of them. `Name = lumbre.package._file` is a class that calls return and that has no public name.
"""

import importlib
import inspect
import re
from functools import cache
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import lumbre

LEFT_OUT = (
    (lumbre.Callback, r"on_\w+"),  # its own docstring lists the events, in their order
    (lumbre.sklearn.Classifier, r"set_\w+_request"),  # scikit-learn adds these
    (lumbre.sklearn.Regressor, r"set_\w+_request"),
)

# Bases that have no page: what they do is read about where it is called.
PARTS = ("Spec", "Understood")


def public_module(name: str) -> Any:
    """The module, or what stands in its place: `lumbre.inspect` is `lumbre.fitted._inspect`."""
    found: Any = lumbre
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found if isinstance(found, ModuleType) else importlib.import_module(name)


def first_line(thing: Any) -> str:
    """The first sentence of a docstring."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return " ".join(text.split())


def members(kind: type) -> list[str]:
    """What a class has to be read about: documented, public, and not of a base that is documented elsewhere."""
    bases = kind.__mro__[1:]
    inherited = {
        name
        for base in bases
        if not base.__name__.startswith("_") and base.__name__ not in PARTS
        for name in vars(base)
    }
    left_out = (
        "|".join(names for base, names in LEFT_OUT if issubclass(kind, base)) or "$"
    )
    own = {
        name: part
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("lumbre")
        for name, part in vars(base).items()
    }
    return [
        name
        for name, part in own.items()
        if not name.startswith("_")
        and name not in inherited
        and not re.fullmatch(left_out, name)
        and (callable(part) or isinstance(part, property | classmethod | staticmethod))
        and inspect.getdoc(part)
    ]


class Public(SphinxDirective):
    """The directive."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """A table of names, and what autodoc makes of each."""
        module = self.arguments[0]
        found = public_module(module)
        names = list(self.content) or sorted(
            found.__all__, key=lambda name: (name.lower(), name)
        )
        rows, bodies = (
            [".. list-table::", "   :widths: auto", "   :class: names", ""],
            [],
        )
        for entry in names:
            name, _, private = (part.strip() for part in entry.partition("="))
            place = private or module
            thing = getattr(
                importlib.import_module(private) if private else found, name
            )
            rows += [
                f"   * - :py:obj:`{name} <{place}.{name}>`",
                f"     - {first_line(thing)}",
            ]
            bodies += self.of(place, name, thing)
        lines = [*rows, "", *bodies]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, module), 0, holder)
        return holder.children

    @staticmethod
    def of(place: str, name: str, thing: Any) -> list[str]:
        """Lines of reStructuredText that document one name."""
        if inspect.isclass(thing):
            shown = ", ".join(members(thing))
            return [
                f".. autoclass:: {place}.{name}",
                *([f"   :members: {shown}"] if shown else []),
                "",
            ]
        directive = "autofunction" if callable(thing) else "autodata"
        return [f".. {directive}:: {place}.{name}", ""]


@cache
def public_places() -> dict[str, str]:
    """The public name by the last part of it, such as {"Callback": "lumbre.Callback"}."""
    modules = {"lumbre": lumbre} | {
        f"lumbre.{name}": thing
        for name in lumbre.__all__
        if isinstance(thing := getattr(lumbre, name), ModuleType)
    }
    return {
        name: f"{place}.{name}"
        for place, module in reversed(modules.items())
        for name in module.__all__
    }


def lead_to_public_names(
    app: Sphinx, env: Any, node: addnodes.pending_xref, content: nodes.Node
) -> Any:
    """A type in a signature is named by its file; the reference has it under its public name."""
    target = node.get("reftarget", "")
    place = public_places().get(target.rpartition(".")[2])
    if (
        node.get("refdomain") != "py"
        or not target.startswith("lumbre.")
        or place is None
    ):
        return None
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, "obj", place, node, content
    )


def without_private_files(app: Sphinx, page: nodes.document) -> None:
    """A class without a public name is shown by its own alone."""
    for prefix in list(page.findall(addnodes.desc_addname)):
        if "._" in prefix.astext():
            prefix.parent.remove(prefix)


def without_catch_all(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    signature: Any,
    gives: Any,
) -> Any:
    """`**unknown` only catches misspelt options, to name the right ones."""
    return (
        None
        if signature is None
        else (re.sub(r",? ?\*\*unknown(: \w+)?", "", signature), gives)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("public", Public)
    app.connect("missing-reference", lead_to_public_names)
    app.connect("doctree-read", without_private_files)
    app.connect("autodoc-process-signature", without_catch_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
