"""`fit()` alone, with its automatic checks, for at most one second of wall time (on a loaded machine, as here, a check
may not get its turn); it does not get the test set."""

import dataclasses

from benchmarks.mistakes.plain import Program


def train(program: Program) -> None:
    options = {"epochs": 3, **program.options, "verbose": False}
    program = dataclasses.replace(program, options=options)
    fitted = program.recipe.fit(program.data, **program.options)
    print("\n".join(fitted.remarks))
