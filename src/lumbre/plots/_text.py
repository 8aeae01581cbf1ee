"""Names as they are: matplotlib would set what stands between two dollar signs as a formula."""

from collections.abc import Iterable


def literal(text: object) -> str:
    """A name that is drawn as it is written, whatever number of dollar signs it has."""
    return str(text).replace("$", r"\$")


def literals(texts: Iterable[object]) -> list[str]:
    """The same for the labels of a scale."""
    return [literal(text) for text in texts]
