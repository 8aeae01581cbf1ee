"""The command line: `lumbre demo`. It picks what to run; Python configures it."""

from lumbre.cli._main import main as main
