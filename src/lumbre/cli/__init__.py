"""The command line: `lumbre demo`. It picks what to run; Python configures it.

Used by no package. Nothing can be done here that the public API cannot do.
"""

from lumbre.cli._main import main
