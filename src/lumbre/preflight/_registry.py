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
    """A check: its code, how grave what it finds is, what it is called in the docs, and the function."""

    code: str
    severity: str
    title: str
    look: Look


CHECKS: dict[str, Check] = {}
"""Every check by its code, in the order in which they run: cheap ones first."""


def check(code: str, severity: str, title: str) -> Callable[[Look], Look]:
    """Register a check."""

    def add(look: Look) -> Look:
        assert code not in CHECKS, code
        CHECKS[code] = Check(code, severity, title, look)
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
    for one in CHECKS.values():
        if one.code in ignore:
            continue
        if seconds is not None and perf_counter() - begin > seconds:
            break
        findings += [
            Finding(one.code, one.severity, found.received, found.expected, found.fix) for found in one.look(subject)
        ]
    return Findings(findings)
