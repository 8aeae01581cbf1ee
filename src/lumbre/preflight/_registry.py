"""The checks by their codes: each is one function, which looks at a `Subject` and yields what it finds."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

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
    """

    code: str
    severity: str
    title: str
    look: Look
    unexplained: bool = False
    unless: tuple[str, ...] = ()
    several: bool = False


CHECKS: dict[str, Check] = {}
"""Every check by its code, in the order in which they run: cheap ones first."""


def check(
    code: str,
    severity: str,
    title: str,
    *,
    unexplained: bool = False,
    unless: tuple[str, ...] = (),
    several: bool = False,
) -> Callable[[Look], Look]:
    """Register a check; the arguments are attributes of `Check`."""

    def add(look: Look) -> Look:
        assert code not in CHECKS, code
        CHECKS[code] = Check(code, severity, title, look, unexplained, unless, several)
        return look

    return add


def run_checks(subject: Subject, *, ignore: Collection[str] = (), seconds: float | None = None) -> Findings:
    """What the checks find in `subject`, which is left as it was.

    Args:
        subject: what to look at.
        ignore: codes of checks to leave out.
        seconds: start no further check after so long.
    """
    findings: list[Finding] = []
    begin = perf_counter()
    causes = {code for one in CHECKS.values() for code in one.unless}
    for one in sorted(CHECKS.values(), key=lambda each: each.unexplained or bool(each.unless)):
        if one.code in ignore and one.code not in causes:  # what follows from a cause is ignored with it
            continue
        if one.unexplained and any(found.severity == "error" for found in findings):
            continue
        if any(found.code in one.unless for found in findings):
            continue
        if seconds is not None and perf_counter() - begin > seconds:
            break
        findings += [
            Finding(one.code, found.severity or one.severity, found.received, found.expected, found.fix)
            for found in islice(one.look(subject), None if one.several else 1)
        ]
    return Findings([found for found in findings if found.code not in ignore])
