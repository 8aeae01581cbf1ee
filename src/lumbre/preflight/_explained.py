"""What a code such as LB007 means, with an example: the text of `lumbre explain`, and of its page in the docs.

Title and text of a check come from the registry. Examples, and what the remarks of a run say, are in `examples.md`.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lumbre.base import OptionError, did_you_mean
from lumbre.preflight._after import AFTER
from lumbre.preflight._registry import CHECKS

_EXAMPLES = Path(__file__).with_name("examples.md")


@dataclass(frozen=True, slots=True)
class Explained:
    """What is known about a code.

    Attributes:
        severity: "error", "warning", "hint", "remark" of a run, or "after training".
        title: what it says, in a line.
        text: the same in some sentences.
        example: Markdown; a block of `diff` with the mistake (-) and what to write instead (+).
    """

    severity: str
    title: str
    text: str
    example: str


@cache
def codes() -> dict[str, Explained]:
    """Every code of a check or a remark, in order."""
    sections = re.findall(
        r"^## (LB\d{3})(?:: ([^\n]+))?\n(.*?)(?=^## |\Z)",
        _EXAMPLES.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    found: dict[str, Explained] = {}
    for code, title, body in sections:
        before, fence, after = body.partition("```diff")
        if code in CHECKS:
            one = CHECKS[code]
            severity, title, text = one.severity, one.title, " ".join((one.look.__doc__ or "").split())
        else:
            severity, text = "after training" if code in AFTER else "remark", before.strip()
        found[code] = Explained(severity, title, text, (fence + after).strip())
    return dict(sorted(found.items()))


def explained(code: str) -> str:
    """The page of a code, as Markdown.

    Args:
        code: such as "LB007", in upper or lower case.

    Raises:
        OptionError: there is no such code.
    """
    known = codes()
    if code.upper() not in known:
        fix = f"{did_you_mean(code, known)}lumbre explain LB007"
        raise OptionError(f"the code {code!r}", f"one of {', '.join(known)}", fix)
    one = known[code.upper()]
    skip = {
        "error": 'It stops `fit()`. If it is wrong here, `fit(..., ignore=("{0}",))` skips it.',
        "warning": 'It is printed, and training goes ahead. `fit(..., ignore=("{0}",))` skips it.',
        "hint": "Only `recipe.check(data)` reports it.",
        "remark": "It is printed once, and kept in `fitted.remarks`.",
        "after training": "Only `review()` of a trained model or a cross-validation reports it.",
    }[one.severity].format(code.upper())
    return (
        f"# {code.upper()}: {one.title}\n\n*{one.severity}* - {one.text}\n\n"
        f"## Example, and what to write instead\n\n{one.example}\n\n{skip}\n"
    )
