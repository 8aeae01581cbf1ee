"""`recipe.check(data, test_data=test)`, as its page advises before a run; errors and warnings count, hints do not."""

from benchmarks.mistakes.plain import Program


def train(program: Program) -> None:
    for one in program.recipe.check(program.data, test_data=program.test, **program.options):
        if one.severity != "hint":
            print(one)
