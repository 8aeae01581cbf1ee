"""The checks by their codes: each is one function, which looks at a `Subject` and yields what it finds."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from time import perf_counter

from lumbre.preflight._finding import Finding, Findings
from lumbre.preflight._subject import Subject


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found, without its code."""

    received: str
    expected: str
    fix: str


Look = Callable[[Subject], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check.

    Attributes:
        code: its number, such as "LB001".
        severity: of what it finds: "error" or "warning".
        title: what it is called in the docs.
        look: the function; its docstring is what the docs say.
        unexplained: look only where no other check has found an error, which would say it better.
    """

    code: str
    severity: str
    title: str
    look: Look
    unexplained: bool = False


CHECKS: dict[str, Check] = {}
"""Every check by its code, in the order in which they run: cheap ones first."""


def check(code: str, severity: str, title: str, *, unexplained: bool = False) -> Callable[[Look], Look]:
    """Register a check."""

    def add(look: Look) -> Look:
        assert code not in CHECKS, code
        CHECKS[code] = Check(code, severity, title, look, unexplained)
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
    for one in sorted(CHECKS.values(), key=lambda each: each.unexplained):
        if one.code in ignore or (one.unexplained and any(found.severity == "error" for found in findings)):
            continue
        if seconds is not None and perf_counter() - begin > seconds:
            break
        findings += [
            Finding(one.code, one.severity, found.received, found.expected, found.fix) for found in one.look(subject)
        ]
    return Findings(findings)
