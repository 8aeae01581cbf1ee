"""`fit()` alone, with the look that it takes by itself, for a second of the clock at most (on a loaded machine,
as here, a check may not get its turn); nobody has told it of a test set."""

import dataclasses

from benchmarks.mistakes.plain import Program


def train(program: Program) -> None:
    options = {"epochs": 3, **program.options, "verbose": False}
    program = dataclasses.replace(program, options=options)
    fitted = program.recipe.fit(program.data, **program.options)
    print("\n".join(fitted.remarks))
