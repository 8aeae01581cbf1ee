"""Writes docs/preflight.md: what each check looks for, and how the corpus of mistakes is judged."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from corpus import CASES, HEALTHY
from corpus.harness import examples, missed, run, table

from lumbre.preflight import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "preflight.md"
_FIGURES = "## How many mistakes are found"
_BESIDE = "## Beside others"

_HEAD = """# Preflight

Most broken trainings raise no error. Before the first epoch `fit()` looks for about a second at the module, one batch
and the data; `recipe.check(data)` looks at everything and returns the findings. Each says what was received, what was
expected, and what to write instead. An error stops the run: it cannot train. A warning is a `PreflightWarning`. A hint
is only told by `check()`: it costs little, or may well be meant.

- `recipe.check(data, test_data=test)` also asks whether rows to test on were trained or validated on.
- `fit(..., ignore=("LB038",))` and `check(..., ignore=...)` leave checks out; `fit(..., preflight=False)` all of them.
- The module, its buffers and gradients, and the random generators are left as they were.

While the model is trained, `fit()` says once, in a line, what looks wrong in the history; `fitted.remarks` keeps it.
LB101: the training loss does not move. LB102: it diverges. LB103: it jumps up and down.
LB104: validation is far better than training. LB105: over-fitting. LB106: processor or GPU idle, since the model waits
for data. LB107: parameters did not change. LB108: a group of parameters changes ten thousand times less than another.
`fitted.ledger` tells what the run did to each parameter, and `recipe.plot_lr(data, epochs)` draws the learning rates
ahead of a run.

## What is looked for
"""

_FIGURE_HEAD = """
Measured on {pairs} pairs of small programs in `tests/preflight/corpus`, each with one mistake and beside it the same
program without, and on {sound} further sound ones. The mistakes come from issues and questions in public (`sources.csv`
names each), rewritten. A hash of the source's name put each into one of two halves: on "develop" the checks were made;
"frozen" was written before them and only measured. The further sound programs were at hand too while the checks were
made. Five seeds each; a mistake counts as found where most seeds find it, a sound program as wrongly named where any
seed does. Errors and warnings count; hints have a line of their own. In brackets the share and its 95 % interval
(Wilson). Programs and checks have the same author, so take the figures as what is found of mistakes like these, not of
all there are. LB031, LB051 to LB053, LB056 to LB061 came after both halves had been measured, for mistakes that neither
has; they are tested by pairs of their own. So did wider forms of LB014, LB025, LB029 and LB036; and one mended twin of
"develop" lost a needless bias then, which LB031 hints at. By then "frozen" had been measured more than once and its
programs had been seen, though nothing was changed for them: its figure is a little less fresh than the first one was.
"""

_EXAMPLES = """
Beside these, the {count} programs of `examples/` ran with warnings of the checks as errors: {failed} of them failed.
"""


def checks() -> str:
    """The part of the page about the checks."""
    lines = [_HEAD]
    for code, one in sorted(CHECKS.items()):
        text = " ".join((one.look.__doc__ or "").split())
        lines += [f"({code.lower()})=", f"### {code}: {one.title}", "", f"*{one.severity}* - {text}", ""]
    return "\n".join(lines)


def figures() -> str:
    """The part of the page about the corpus; takes minutes."""
    rows = run()
    print(missed(rows))
    head = _FIGURE_HEAD.format(pairs=len(CASES), sound=len(HEALTHY))
    ended = examples()
    failed = {name: last for name, last in ended.items() if last}
    print(failed)
    return f"{_FIGURES}\n{head}\n{table(rows)}\n{_EXAMPLES.format(count=len(ended), failed=len(failed) or 'none')}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    after = PAGE.read_text().partition(_FIGURES)[2] if PAGE.exists() else ""
    old, beside, others = after.partition(_BESIDE)
    measured = figures() + "\n" if "--corpus" in sys.argv else _FIGURES + old
    PAGE.write_text(checks() + "\n" + measured + beside + others)
