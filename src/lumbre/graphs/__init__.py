"""A training step as one graph, compiled or recorded, and the proof that it does what the eager step does.

Used by run. When to use a graph is not decided here; where none can be made or proved, `steps` does the work.
"""

from lumbre.graphs._compile import obstacle
from lumbre.graphs._compiled import Compiled
