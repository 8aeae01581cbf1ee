"""Writes docs/preflight.md: what each check looks for, and the results on the corpus of mistakes."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from corpus import CASES, FOUND, GROWN, HEALTHY, LATER, MORE, REPORTED
from corpus.harness import Row, checked, examples, fitted, grown_table, missed, run, run_grown, table
from corpus.program import Case

from lumbre.preflight import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "preflight.md"
_FIGURES = "## How many mistakes are found"
_BESIDE = "## Beside others"

_HEAD = """# Preflight

Most training mistakes raise no error. Before the first epoch `fit()` looks for about a second at the module, one batch
and the data; `recipe.check(data)` looks at everything and returns the findings. Each says what was received, what was
expected, and what to write instead; [each code](codes/index.md) has a page with an example, which `lumbre explain`
prints, too. An error stops the run: it cannot train. A warning is a `PreflightWarning`. A hint is reported only by
`check()`: it costs little, or may be intended.

- `recipe.check(data, test_data=test)` also checks whether test rows were used for training or validation.
- `fit(..., ignore=("LB038",))` and `check(..., ignore=...)` skip checks; `fit(..., preflight=False)` skips all of them.
- The module, its buffers and gradients, and the random generators are not changed.
- A recipe in whose net `fit()` found nothing is looked at again only in its rows, as long as the module's code, the
  shapes and the options stay: many fits of a recipe, as in cross-validation, pay once. What a module reads from outside
  its attributes, such as a global switch, is not noticed; `check()` always looks at everything.

During training `fit()` prints one line, only once, for each problem in the history; `fitted.remarks` keeps it.
LB101: the training loss does not move. LB102: it diverges. LB103: it jumps up and down.
LB104: validation is far better than training. LB105: over-fitting. LB106: CPU or GPU idle, since the model waits
for data. LB107: parameters did not change. LB108: a group of parameters changes ten thousand times less than another.
LB109: what the checks did not look at: rows that cannot be read twice, or checks that the second was too short for
(errors are always looked for). LB110: the run ended no better than a constant prediction, such as the shares of the
classes or the mean of the targets. LB111: validation is far worse than that, beside training that is far better:
other rows, or other labels.
`fitted.ledger` shows how the run changed each parameter, and `recipe.plot_lr(data, epochs)` plots the learning rates
before a run.

## The checks
"""

_FIGURE_HEAD = """
Measured on {pairs} pairs of small programs in `tests/preflight/corpus`, one with a single mistake and the same program
without it, and on {sound} further sound (correct) programs. The mistakes are rewritten from public issues and
questions (`sources.csv` lists them). A hash of the source's name assigned each pair to one of two halves: the checks
were developed on "develop"; "frozen" was written before the checks and only measured. The further sound programs were
also available during development. Five seeds each: a mistake counts as found if most seeds find it, a sound program as
a false alarm if any seed reports it. Errors and warnings count; hints have their own line. Brackets give the share and
its 95 % interval (Wilson). Programs and checks have the same author, so the figures hold for mistakes like these, not
for all mistakes. LB031, LB051 to LB053, LB056 to LB062 were added after both halves had been measured, for mistakes in
neither half; they have their own test pairs. LB014, LB025, LB029 and LB036 were also extended then, and one sound twin
in "develop" lost an unneeded bias, which LB031 reports as a hint. By then "frozen" had been measured more than once
and its programs had been seen. Nothing was changed for them, but its figure is a little less independent than the
first one.
"""

_GROWN_HEAD = """
### Later pairs

{pairs} further pairs, written later, after causes that people ask about again and again: own programs, in other
clothing than the first ones. Many of their causes have checks that were written together with them, so that they say
whether a check holds in other programs, not how many mistakes of all are found. A hash of the name decides the half:
"develop" was looked at while the checks were made; no check was changed after a look at "frozen", of which one
program that could not run was mended first. Three seeds on "develop"; on "frozen" five for `check()` and one for
`fit()`; remarks of a run of three epochs count for `fit()`, hints do not. Who wrote the checks wrote the pairs, too:
take the rates for what they are.

"""

_REPORTED = "### Pairs after reports"
_REPORTED_HEAD = """
{pairs} further pairs: pictures, sequences, graphs, tables, adversaries, steps and losses of one's own, after issues of
other projects and questions that are asked again and again (`reported.csv`). They were written before anybody looked
at what the checks said of them, and run once as the checks were: `check()` named 21 of 49 causes in the half "develop"
(43 %) and 24 of 48 in "frozen" (50 %), `fit()` 22 and 26, and nothing was said of a sound twin. Then checks were added
(LB081 to LB096, LB112 and LB113) for what had been silent in "develop"; "frozen" was counted again after that and not
looked at, though who made the checks had written its programs. Only the one sound twin that was warned of then was,
and mended: it had mirrored its validation pictures, too, which was no sound program. Seed 1; two epochs for `fit()`;
remarks count for `fit()`, hints do not. Some causes can hardly be found before a run at all: labels that were shuffled
apart from their rows, flips that change a class, a generator that is trained to be found out.

"""

_FOUND = "### Pairs after threads"
_FOUND_HEAD = """
{pairs} further pairs, after issues and questions that a search brought up in many fields (`found.csv`): metric
learning, survival, detection, distillation, reinforcement learning, equations, sounds, tables. They were written before
the code of the checks was read, and a seeded draw gave each its half before any was run. As the checks were, `check()`
named 9 of 34 causes in "develop" (26 %) and 11 of 35 in "frozen" (31 %), hints not counted. Then checks were added
(LB123 to LB130) and others extended for what was silent in "develop", of which three programs that were not sound were
mended; of "frozen", only the counts were looked at, once before and once after that. (Then LB126 was narrowed for rows
that are compared with one another, with one pair of "frozen" in view; the table is of that state.) Who made the checks
had written both halves, so that "frozen" is no other person's sample. Seed 1; two epochs for `fit()`; remarks count for
`fit()`, hints do not. About a fifth of the causes can hardly be seen before a run by anything that does not know what
is meant: the two arguments of a pinball loss that changed places, the spread of a latent variable computed as its
variance.

"""

_MORE = "### Further pairs after threads"
_MORE_HEAD = """
{pairs} further pairs, after other issues and questions (`more.csv`): masks and places of attention, dimensions, blocks,
terms of losses, adversaries, rates, pictures, series. They were written before the code of the checks was read, and a
seeded draw gave each its half before any was run. As the checks were, `check()` named 17 of 32 causes in "develop"
(53 %) and 19 of 32 in "frozen" (59 %), `fit()` 18 and 20; 3 and 2 sound twins were warned of, and of "frozen" another
two in `fit()`. Two of those of "develop" and two of "frozen" were no sound programs (a state read behind padding, a
schedule that changes nothing, a loss without end) and were mended; the others were false alarms, and the checks were
mended: a contrastive loss (LB067) and rows that are mixed with their targets (LB085), the latter of "frozen". Then
checks were extended for what was silent in "develop" (LB139 was added); of the mistakes of "frozen" only counts were
looked at. Who made the checks had written both halves. Seed 1; two epochs for `fit()`; remarks count for `fit()`, hints
do not. Labels that were sorted apart from their rows, or a mean over channels in place of pixels, can hardly be seen by
anything that does not know what is meant.

"""

_MENDED = "### Pairs after what others mended"
_MENDED_HEAD = """
{pairs} further pairs, after mends and questions of other projects (`later.csv`): flows, codes, policies, views,
decoders, adapters, windows, optimizers and backward passes of one's own. They were written before the code of the
checks was read, and a seeded draw gave each its half before any was run. As the checks were, `check()` named 21 of 38
causes in "develop" (55 %) and 26 of 37 in "frozen" (70 %), `fit()` 22 and 26; of the sound twins, three of "develop"
were warned of, whose target did rise with one column: they were mended. Then checks were extended for what was silent
in "develop" (LB140 was added); of "frozen", only the counts were looked at, once before and once after that. Who made
the checks had written both halves, so that "frozen" is no other person's sample. Seed 1; two epochs for `fit()`;
remarks count for `fit()`, hints do not.

"""

_EXAMPLES = """
In addition, the {count} programs of `examples/` ran with the checks' warnings as errors: {failed} of them failed.
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
    told = _EXAMPLES.format(count=len(ended), failed=len(failed) or "none")
    return f"{_FIGURES}\n{head}\n{table(rows)}\n{told}{later()}"


def later() -> str:
    """The part of the page about the later pairs; takes minutes."""
    rows = {
        (half, how): run_grown(half, look, range(3 if half == "develop" else 5))
        for half in ("develop", "frozen")
        for how, look in (("check", checked), ("fit", fitted))
    }
    return f"{_GROWN_HEAD.format(pairs=len(GROWN))}{grown_table(rows)}\n"


def reported() -> str:
    """The part of the page about the pairs after reports; takes minutes."""
    return f"{_REPORTED}\n{_REPORTED_HEAD.format(pairs=len(REPORTED))}{grown_table(_both(REPORTED))}\n\n"


def found() -> str:
    """The part of the page about the pairs after threads; takes minutes."""
    return f"{_FOUND}\n{_FOUND_HEAD.format(pairs=len(FOUND))}{grown_table(_both(FOUND))}\n\n"


def more() -> str:
    """The part of the page about the further pairs after threads; takes minutes."""
    return f"{_MORE}\n{_MORE_HEAD.format(pairs=len(MORE))}{grown_table(_both(MORE))}\n\n"


def mended() -> str:
    """The part of the page about the pairs after what others mended; takes minutes."""
    return f"{_MENDED}\n{_MENDED_HEAD.format(pairs=len(LATER))}{grown_table(_both(LATER))}\n\n"


def _both(cases: list[Case]) -> dict[tuple[str, str], list[Row]]:
    """Of each half what `check()` and `fit()` say, with one seed."""
    looks = {"check": checked, "fit": lambda one: fitted(one, epochs=2)}
    return {
        (half, how): run_grown(half, look, (1,), cases) for half in ("develop", "frozen") for how, look in looks.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    after = PAGE.read_text().partition(_FIGURES)[2] if PAGE.exists() else ""
    old, beside, others = after.partition(_BESIDE)
    old, _, pairs = old.partition(_REPORTED)
    measured = figures() + "\n" if "--corpus" in sys.argv else _FIGURES + old
    pairs, _, threads = pairs.partition(_FOUND)
    measured += reported() if {"--corpus", "--reported"} & set(sys.argv) else _REPORTED + pairs
    measured += found() + more() + mended() if {"--corpus", "--threads"} & set(sys.argv) else _FOUND + threads
    PAGE.write_text(checks() + "\n" + measured + beside + others)
