"""Does a backward of one's own fit its forward? Functions of the user's own are asked by small changes."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.base import cloned, is_users_own, untouched
from lumbre.devices import same_chance
from lumbre.preflight._recorder import nodes_of
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_MOST_NUMBERS, _FEWEST, _TRIES = 200_000, 8, 16
_FITS, _SMALL = 0.5, 1e-5


@check("LB140", "warning", "A backward that does not fit its forward", costly=True)
def does_not_fit(subject: Subject) -> Iterator[Found]:
    """A `torch.autograd.Function` of the user's own is called with numbers nearby: its backward() says otherwise than
    its forward() does. A sign, an inner derivative or the gradient that comes in was forgotten. (Numbers that do not
    change what comes out, as rounding makes them, and functions that give what they are given, as one that turns
    gradients round, are meant to have a backward of another kind; so is one that gives on what comes in.)"""
    found = subject.evaluated
    if subject.loss is None or found.failure is not None:
        return
    ends = [*tensors(found.pred), *([found.loss] if isinstance(found.loss, Tensor) else [])]
    classes = {getattr(node, "_forward_cls", None) for node, _ in nodes_of([one for one in ends if one.requires_grad])}
    own = [one for one in classes if isinstance(one, type) and is_users_own(one) and "apply" not in vars(one)]
    for function, args in _called(subject, own).items() if own else ():
        if (cosine := _fit(function, args)) is not None and cosine < _FITS:
            yield Found(
                f"{function.__name__}.backward(), whose gradients do not go with how forward() changes (cosine "
                f"{cosine:.2g})",
                "the gradient that comes in, times the derivative of forward()",
                f"torch.autograd.gradcheck({function.__name__}.apply, x.double().requires_grad_()); where another "
                'gradient is meant: ignore=("LB140",)',
            )
            return


def _called(subject: Subject, own: list[Any]) -> dict[Any, tuple[Any, ...]]:
    """What each function is called with first, in a pass of the first batch."""
    assert subject.loss is not None
    called: dict[Any, tuple[Any, ...]] = {}

    def noting(function: Any) -> Callable[..., Any]:
        apply = function.apply

        def noted(*args: Any) -> Any:
            called.setdefault(function, tuple(one.detach().clone() if isinstance(one, Tensor) else one for one in args))
            return apply(*args)

        return noted

    for one in own:
        one.apply = noting(one)
    try:
        with untouched(subject.model, subject.device, subject.loss), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same_chance(subject.device)
            subject.loss(subject.call(cloned(subject.batch.input)), subject.batch.target)
    finally:
        for one in own:
            del one.apply
    return called


def _fit(function: Any, args: tuple[Any, ...]) -> float | None:
    """The least cosine between changes by forward() and by backward() over the inputs; None where none can be had."""
    wide = [one.double() if isinstance(one, Tensor) and one.is_floating_point() else one for one in args]
    if sum(one.numel() for one in wide if isinstance(one, Tensor)) > _MOST_NUMBERS:
        return None
    generator = torch.Generator().manual_seed(0)
    lowest: float | None = None
    for at, given in enumerate(wide):
        if not isinstance(given, Tensor) or not given.is_floating_point() or given.numel() < _FEWEST:
            continue

        def of(x: Tensor, at: int = at) -> Tensor:
            return function.apply(*wide[:at], x, *wide[at + 1 :])

        def drawn(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=torch.double).to(like.device)

        try:
            leaf = given.clone().requires_grad_()
            with torch.enable_grad():
                out = of(leaf)
                if not isinstance(out, Tensor) or not out.requires_grad:
                    continue
                weights = drawn(out) if out.numel() > 1 else torch.ones_like(out)
                slope: Any = torch.autograd.grad(out, leaf, weights, allow_unused=True)[0]
            if slope is None or _meant(given, out, weights, slope):
                continue
            by = _SMALL * float(given.abs().mean() + 1e-3)
            with torch.no_grad():
                lives = of(given + by) != of(given - by)
                mask = lives.double() if lives.shape == given.shape else torch.ones_like(given)
                ways = [drawn(given) * mask for _ in range(_TRIES)]
                changes = torch.stack([((of(given + by * one) - of(given - by * one)) * weights).sum() for one in ways])
            said = torch.stack([(slope * one).sum() for one in ways])
        except Exception:  # a function of other kinds of numbers, or with several results
            continue
        size = float(changes.norm())
        if float(mask.sum()) >= _FEWEST and size > 0 and bool(changes.isfinite().all()):
            cosine = float((changes * said).sum()) / (size * max(float(said.norm()), 1e-300))
            lowest = cosine if lowest is None else min(lowest, cosine)
    return lowest


def _meant(given: Tensor, out: Tensor, weights: Tensor, slope: Tensor) -> bool:
    """Whether a function gives what it is given, or its backward the gradient that comes in, or 0: straight through."""
    if out.shape != given.shape:
        return False
    return torch.equal(out, given) or bool(((slope == weights) | (slope == 0)).all())
