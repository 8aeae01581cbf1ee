"""`python -m lumbre.cli`."""

from lumbre.cli import main

raise SystemExit(main())
