"""Which parameters are trained, and which of them at what learning rate: freezing, and groups by name.

Names are those of `module.named_parameters()`. A pattern is such a name, the name of a part ("encoder" means all
that is in it), or either with the wildcards of `fnmatch` ("encoder.*", "*.bias", "layers.[01]").
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import nn

from lumbre.base import RecipeError, did_you_mean

Module = TypeVar("Module", bound=nn.Module)


def freeze(module: Module, *patterns: str) -> Module:
    """Keep parameters as they are: they get no gradient, and no optimizer changes them.

    Batch normalisation goes on to follow its inputs with its running statistics in training mode, frozen or not.

    Args:
        module: whose parameters; it is changed itself.
        *patterns: which ones; all where none is given. "encoder" and "encoder.*" mean all parameters of a part.

    Returns:
        `module`.

    Raises:
        RecipeError: a pattern matches no parameter.

    Example:
        >>> import lumbre as lb
        >>> from torch import nn
        >>> net = lb.freeze(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "0")
        >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        ['2.weight', '2.bias']
    """
    return _set_trainable(module, patterns, False)


def unfreeze(module: Module, *patterns: str) -> Module:
    """Let parameters be trained again.

    Args:
        module: whose parameters; it is changed itself.
        *patterns: which ones, as for `freeze`; all where none is given.

    Returns:
        `module`.

    Raises:
        RecipeError: a pattern matches no parameter.

    Example:
        >>> import lumbre as lb
        >>> from torch import nn
        >>> net = lb.unfreeze(lb.freeze(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))), "1")
        >>> [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        ['1.weight', '1.bias']
    """
    return _set_trainable(module, patterns, True)


def param_groups(module: nn.Module, groups: Mapping[str, Mapping[str, Any]], **defaults: Any) -> list[dict[str, Any]]:
    """A module's parameters in groups with options of their own, for an optimizer of torch.

    Each parameter belongs to the first pattern that matches it; what is left makes the last group. Frozen ones are
    there too, so that they can be unfrozen in the course of a run.

    In a recipe `set_opt_hparams(lr=1e-3, groups={"body": {"lr": 1e-4}})` does the same.

    Args:
        module: whose parameters.
        groups: options by pattern; patterns as for `freeze`.
        **defaults: options of every group that does not have its own.

    Raises:
        RecipeError: a pattern matches no parameter, or only such as belong to an earlier one.

    Example:
        >>> import lumbre as lb
        >>> from torch import nn, optim
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        >>> optimizer = optim.AdamW(
        ...     lb.param_groups(
        ...         net, {"0": {"lr": 1e-4}, "*.bias": {"weight_decay": 0}}, lr=1e-3
        ...     )
        ... )
        >>> [
        ...     (group["lr"], group["weight_decay"], len(group["params"]))
        ...     for group in optimizer.param_groups
        ... ]
        [(0.0001, 0.01, 2), (0.001, 0, 1), (0.001, 0.01, 1)]
    """
    return grouped(module.named_parameters(), groups, **defaults)


def matrices_and_rest(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """A module's parameters in two lists, for optimizers such as Muon that take matrices alone.

    Args:
        module: whose parameters.

    Returns:
        The parameters of two dimensions without the tables of embeddings; and all others. Authors of such optimizers
        mostly keep the last layer out of the first list, too: move it over by hand.

    Example:
        >>> import lumbre as lb
        >>> from torch import nn, optim
        >>> class Net(nn.Sequential):
        ...     def configure_optimizers(self, lr=0.02):
        ...         matrices, rest = lb.matrices_and_rest(self)
        ...         return {
        ...             "muon": optim.Muon(matrices, lr=lr),
        ...             "adamw": optim.AdamW(rest, lr=lr / 20),
        ...         }
        >>> net = Net(nn.Embedding(10, 4), nn.Linear(4, 8), nn.Linear(8, 2))
        >>> [len(part) for part in lb.matrices_and_rest(net)]
        [2, 3]
    """
    tables = {id(part.weight) for part in module.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag))}
    matrices = [one for one in module.parameters() if one.ndim == 2 and id(one) not in tables]
    chosen = {id(one) for one in matrices}
    return matrices, [one for one in module.parameters() if id(one) not in chosen]


def sparse_tables(module: nn.Module) -> dict[str, nn.Parameter]:
    """The tables of embeddings whose gradients are sparse (`nn.Embedding(..., sparse=True)`), by name."""
    named = dict(module.named_parameters())
    parts = [part for part in module.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag)) and part.sparse]
    tables = {id(part.weight) for part in parts}
    return {name: one for name, one in named.items() if id(one) in tables}


def grouped(
    named: Iterable[tuple[str, nn.Parameter]], groups: Mapping[str, Mapping[str, Any]], **defaults: Any
) -> list[dict[str, Any]]:
    """`param_groups` of parameters with their names."""
    left = dict(named)
    names = list(left)
    found: list[dict[str, Any]] = []
    for pattern, options in groups.items():
        _matching(names, pattern)
        mine = [name for name in left if _matches(name, pattern)]
        if not mine:
            raise RecipeError(
                f"the group {pattern!r}, all of whose parameters belong to groups before it",
                "a parameter for each group: it belongs to the first pattern that matches",
                f"set {pattern!r} before the wider patterns",
            )
        found.append({"params": [left.pop(name) for name in mine], **defaults, **options})
    if left:
        found.append({"params": list(left.values()), **defaults})
    return found


def _set_trainable(module: Module, patterns: tuple[str, ...], trainable: bool) -> Module:
    parameters = dict(module.named_parameters(remove_duplicate=False))  # a shared one goes by each of its names
    # Every pattern is looked at before anything changes.
    names = [name for pattern in patterns for name in _matching(parameters, pattern)] if patterns else parameters
    for name in names:
        parameters[name].requires_grad_(trainable)
    return module


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a pattern means."""
    names = list(names)
    found = [name for name in names if _matches(name, pattern)]
    if not found:
        parts = dict.fromkeys(
            part for name in names for part in (name.partition(".")[0], name.rpartition(".")[0], name)
        )
        shown = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names)) or "it has no parameters"
        hint = did_you_mean(pattern.removesuffix(".*"), parts)
        raise RecipeError(
            f"the pattern {pattern!r}, which matches no parameter",
            f"names of parameters or parts of the module; its parts: {shown}",
            f"{hint}named_parameters() tells all names",
        )
    return found


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
