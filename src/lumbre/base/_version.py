"""The version: the one place that holds it. The package's build and whatever shows a version read it here."""

__version__ = "0.1.0"
