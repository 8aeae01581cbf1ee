"""What a check found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lumbre.base import PreflightError

SEVERITIES = ("error", "warning", "hint")


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake, or something that looks like one.

    Attributes:
        code: its number, such as "LB001".
        severity: "error" stops `fit()`, "warning" is printed, "hint" is only said by `check()`: it costs little, or may
            well be meant.
        received: what was found.
        expected: what would be right.
        fix: what to write instead.
    """

    code: str
    severity: str
    received: str
    expected: str
    fix: str

    @property
    def page(self) -> str:
        """Its page in the docs; `lumbre explain` prints the same without a network."""
        return f"codes/{self.code}.html"

    def __str__(self) -> str:
        said = f"received: {self.received}\n  expected: {self.expected}\n  instead: {self.fix}"
        return f"{self.severity} {self.code}\n  {said}\n  more: lumbre explain {self.code}"


class PreflightWarning(UserWarning):
    """A check before training found something that looks like a mistake."""


class Findings:
    """What the checks before a run found, errors first. Prints well; is empty, and false, when all is well.

    Attributes:
        left_out: what was not looked at, and why; nothing of it counts as found.
        constant: the loss of the best prediction that looks at no input, of "train" and "valid", where it is known.
    """

    def __init__(self, findings: list[Finding], left_out: Sequence[str] = ()) -> None:
        self.left_out = tuple(left_out)
        self.constant: dict[str, float] = {}
        self._findings = sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.code))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

    def __repr__(self) -> str:
        said = "\n".join(map(str, self._findings)) or "No findings."
        return "\n".join([said, *(f"not looked at: {one}" for one in self.left_out)])

    def raise_errors(self) -> None:
        """Raise the first error, with its code.

        Raises:
            PreflightError: there is one.
        """
        for finding in self._findings:
            if finding.severity == "error":
                fix = f"{finding.fix}\n  more: lumbre explain {finding.code}"
                raise PreflightError(f"({finding.code}) {finding.received}", finding.expected, fix)

    @property
    def warnings(self) -> list[Finding]:
        """Those that are printed and do not stop a run."""
        return [finding for finding in self._findings if finding.severity == "warning"]
