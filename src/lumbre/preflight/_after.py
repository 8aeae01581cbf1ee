"""The codes of what is looked at after training: of a model, of a cross-validation.

Who has the numbers judges them: `fitted`, `trials` and `tune`. What a code means is in `examples.md`.
"""

from lumbre.preflight._finding import Finding

AFTER = {
    "LB131": "warning",
    "LB132": "warning",
    "LB133": "warning",
    "LB134": "warning",
    "LB135": "hint",
    "LB136": "hint",
    "LB137": "warning",
    "LB138": "warning",
}
"""The severity of each code; none is an error, since the model is there already."""


def found_after(code: str, received: str, expected: str, fix: str) -> Finding:
    """A finding of a check after training."""
    return Finding(code, AFTER[code], received, expected, fix)
