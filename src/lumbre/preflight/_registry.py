"""The checks by their codes: each is one function, which looks at a `Subject` and yields what it finds."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from lumbre.base import Budget, LumbreError
from lumbre.preflight._finding import Finding, Findings
from lumbre.preflight._subject import Subject


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found, without its code; with a severity of its own where it is less than the check's."""

    received: str
    expected: str
    fix: str
    severity: str | None = None


Look = Callable[[Subject], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        code: its number, such as "LB001".
        severity: of what it finds: "error", "warning" or "hint".
        title: what it is called in the docs.
        look: the function; its docstring is what the docs say.
        unexplained: look only where no other check has found an error, which would say it better.
        unless: codes of checks that name the cause of what this one sees; look only where they found nothing.
        several: all that it yields are findings, not the first alone.
        costly: it takes passes of its own, so that others come first where time is short.
    """

    code: str
    severity: str
    title: str
    look: Look
    unexplained: bool = False
    unless: tuple[str, ...] = ()
    several: bool = False
    costly: bool = False

    @property
    def of_rows(self) -> bool:
        """Whether other rows of the same form may give another answer, and not only another net."""
        return self.look.__module__.rpartition(".")[2] in _OF_ROWS


_WAITING = 30.0
_OF_ROWS = ("_alike", "_answers", "_data", "_labels", "_validation")

CHECKS: dict[str, Check] = {}
"""Every check by its code, in the order in which they are imported; `in_turn` gives that in which they run."""


def check(
    code: str,
    severity: str,
    title: str,
    *,
    unexplained: bool = False,
    unless: tuple[str, ...] = (),
    several: bool = False,
    costly: bool = False,
) -> Callable[[Look], Look]:
    """Register a check; the arguments are attributes of `Check`."""

    def add(look: Look) -> Look:
        assert code not in CHECKS, code
        CHECKS[code] = Check(code, severity, title, look, unexplained, unless, several, costly)
        return look

    return add


def in_turn() -> list[Check]:
    """Errors first; then what looks at passes that were made, then what makes its own; causes come first."""

    def rank(one: Check) -> tuple[bool, bool, bool, bool]:
        return one.severity != "error", one.unexplained, one.costly, bool(one.unless)

    return sorted(CHECKS.values(), key=rank)


def run_checks(
    subject: Subject, *, ignore: Collection[str] = (), seconds: float | None = None, rows_alone: bool = False
) -> Findings:
    """What the checks find in `subject`, which is left as it was.

    Args:
        subject: what to look at.
        ignore: codes of checks to leave out.
        seconds: start no further check after so long; errors are always looked for.
        rows_alone: look at the rows alone: of the net nothing was found in a run like this one.
    """
    findings: list[Finding] = []
    late: list[str] = []
    failed: list[str] = []
    budget: Budget | None = None
    causes = {code for one in CHECKS.values() for code in one.unless}
    for one in in_turn():
        if rows_alone and not one.of_rows:
            continue
        if one.code in ignore and one.code not in causes:  # what follows from a cause is ignored with it
            continue
        if one.unexplained and any(found.severity == "error" for found in findings):
            continue
        if any(found.code in one.unless for found in findings):
            continue
        if one.severity != "error" and seconds is not None:
            # What is looked at is in memory: who waits here waits for a processor that others use.
            budget = Budget(seconds, waiting=_WAITING) if budget is None else budget
            if budget.is_over:
                late.append(one.code)
                continue
        try:
            found_here = list(islice(one.look(subject), None if one.several else 1))
        except LumbreError:
            raise
        except Exception as error:  # a module or a tensor that a check cannot look at is no mistake, and ends no run
            failed.append(f"{one.code}, which cannot look at this: {_in_short(error)}")
            continue
        findings += [
            Finding(one.code, found.severity or one.severity, found.received, found.expected, found.fix)
            for found in found_here
        ]
    left_out = [*subject.unseen, *failed, *([_for_time(late, seconds)] if late and seconds is not None else [])]
    return Findings([found for found in findings if found.code not in ignore], left_out)


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


def _for_time(codes: list[str], seconds: float) -> str:
    shown = ", ".join(codes[:6]) + (f" and {len(codes) - 6} more" if len(codes) > 6 else "")
    return f"{shown}, for which {seconds:g} s were too short; recipe.check(data) takes its time"
