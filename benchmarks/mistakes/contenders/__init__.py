"""One contender a file: `train(program)` runs a program as the library's documentation says; what it says is caught.

The first paragraph of each file says what is switched on and what differs; the page quotes it.
"""

NAMES = ("lumbre", "lumbre_fit", "raw", "lightning", "skorch", "keras", "fastai", "accelerate", "ignite", "torcheck",
         "deepchecks")  # fmt: skip
CHECKERS = ("torcheck", "deepchecks")
"""Those that have an environment of their own: they want older versions than the rest."""
