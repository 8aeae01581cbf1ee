"""The inside of a model: its layers, and what each one costs. Nothing here trains or changes it."""

from lumbre.inspection._summary import Layer as Layer
from lumbre.inspection._summary import Summary as Summary
from lumbre.inspection._summary import summary as summary

__all__ = ["Layer", "Summary", "summary"]
