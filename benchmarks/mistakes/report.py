"""From what was said to who found what: a table for the page."""

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.mistakes.child import without_numbers
from benchmarks.mistakes.plain import CASES, Case, share

# What names the cause of a mistake, by the code that lumbre has for it. Generous: a word that points to it will do.
CAUSES = {
    "LB001": r"require grad|trainable|no parameter|grad_fn",
    "LB002": r"\bnan|\binf|missing|null",
    "LB003": r"shape|channels|size|expected input",
    "LB004": r"\blong\b|int64|class|dtype|scalar type",
    "LB005": r"out of (bounds|range)|target -?[\d#]+ is|class labels",
    "LB006": r"target size|broadcast|shape|same size|must match|dimension",
    "LB007": r"softmax|probabilit|logits|sigmoid|all > ?0 and < ?1",
    "LB008": r"more than 1 value|batch.?norm",
    "LB009": r"shape|size|dtype|type",
    "LB011": r"softmax|probabilit|logits|sigmoid|all > ?0 and < ?1",
    "LB012": r"softmax|probabilit|log.?prob|logits",
    "LB014": r"metric|probabilit|logits",
    "LB015": r"activation|relu|tanh|sigmoid|negative|softmax",
    "LB016": r"one (score|class|output)|number of classes|gradient|constant output|n.t chang|should change",
    "LB017": r"between 0 and 1|0 and 1|binary|labels",
    "LB018": r"softmax|\bdim\b|rows|batch dim",
    "LB019": r"softmax|constant output",
    "LB020": r"batch_first|rows|batch dim|samples depend",
    "LB021": r"squeeze|target size|shape|dimension|size",
    "LB022": r"optimizer|not (updated|trained|chang)|n.t chang|should change|unchanged",
    "LB023": r"grad|unused|n.t chang|should change|not chang|unchanged|detach",
    "LB024": r"gradient|vanish|n.t chang|should change|not chang|unchanged",
    "LB025": r"initial|first weights|loss at",
    "LB026": r"list|register|unregistered|not a module",
    "LB027": r"activation|non-?linear",
    "LB028": r"symmetr|same weights|initial",
    "LB029": r"dead|relu|n.t chang|should change|not chang|unchanged",
    "LB030": r"dropout",
    "LB032": r"dropout",
    "LB033": r"learning.?rate|\blr\b",
    "LB034": r"weight.?decay|regulari",
    "LB035": r"schedul|total.?steps|step",
    "LB036": r"reduction|accumul|\bsum\b",
    "LB037": r"single value|constant|duplicate|identical|correlation",
    "LB038": r"scale|normali[sz]|standardi[sz]|outlier",
    "LB039": r"scale|normali[sz]|255|uint8",
    "LB040": r"channels",
    "LB041": r"duplicate|leak|overlap|samples mix|in both",
    "LB042": r"drift|shift|distribution|new label|unseen",
    "LB043": r"leak|predictive power|pps|label correlation",
    "LB044": r"imbalanc|class distribution|majority",
    "LB045": r"shuffl|order",
    "LB046": r"duplicate|leak|overlap|samples mix|same",
    "LB047": r"one class|single|constant|same label|number of classes",
    "LB048": r"number of classes|outputs",
    "LB049": r"classification|classes",
    "LB050": r"scale|normali[sz]|standardi[sz]|outlier",
    "LB054": r"negative|sign\b",
    "LB055": r"float|\blong\b|dtype|scalar type",
}
GROUPS = {"loss_and_output": "loss and output", "nets": "net", "data_and_rates": "data and rates"}

Said = dict[str, dict[str, Any]]


def names(contender: str, case: Case, line: str) -> bool:
    """Whether a line names the cause."""
    if contender.startswith("lumbre"):
        return any(code in line for code in case.codes)
    return any(re.search(CAUSES[code], line, re.IGNORECASE) for code in case.codes)


def signs(said: Said, case: Case) -> list[str]:
    """What is said of the broken program and not of the mended one."""
    mended = {without_numbers(line) for line in said[f"mended/{case.name}"]["said"]}
    return [line for line in said[f"broken/{case.name}"]["said"] if without_numbers(line) not in mended]


# Where a checker raises what it has found; other errors on a sound program mean that it cannot be given.
_OWN = ("[output_spec.py]", "[param_spec.py]", "[registry.py]")


def ran(result: dict[str, Any]) -> bool:
    """Whether a sound program could be given."""
    failed = [line for line in result["said"] if line.startswith("error: ")]
    return not result["unsupported"] and all("RuntimeError" in line and line.endswith(_OWN) for line in failed)


def noise(said: Said) -> set[str]:
    """Lines that are said of half of all sound programs: they tell nothing of any."""
    sound = [one for key, one in said.items() if not key.startswith("broken/") and ran(one)]
    counts: dict[str, int] = {}
    for one in sound:
        for line in {without_numbers(line) for line in one["said"]}:
            counts[line] = counts.get(line, 0) + 1
    return {line for line, count in counts.items() if 2 * count > len(sound)}


def row(contender: str, title: str, said: Said) -> str:
    """A line of the table."""
    if contender.startswith("lumbre"):  # what it says of a sound program is a false alarm, not a program it cannot run
        given = list(CASES)
    else:
        given = [case for case in CASES if ran(said[f"mended/{case.name}"])]
        given = [case for case in given if not said[f"broken/{case.name}"]["unsupported"]]
    named = {case.name: any(names(contender, case, line) for line in signs(said, case)) for case in given}
    cells = [title, str(len(given))]
    for module in GROUPS:
        part = [case for case in given if case.make.__module__.endswith(module)]
        cells.append(f"{sum(named[case.name] for case in part)} of {len(part)}")
    cells.append(share(sum(named.values()), len(given)))
    cells.append(str(sum(bool(signs(said, case)) for case in given)))
    heard = noise(said)
    sound = [key for key in said if key.startswith("sound/") or key in {f"mended/{case.name}" for case in given}]
    sound = [key for key in sound if contender.startswith("lumbre") or ran(said[key])]
    false = [key for key in sound if {without_numbers(line) for line in said[key]["said"]} - heard]
    cells.append(f"{len(false)} of {len(sound)}")
    return "| " + " | ".join(cells) + " |"


def about(contender: str) -> str:
    """The first paragraph of a contender's file."""
    source = (Path(__file__).parent / "contenders" / f"{contender}.py").read_text()
    return " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())


def table(results: dict[str, tuple[str, Said]]) -> str:
    """The whole table. `results`: by contender, its title and what it said."""
    head = ["", "pairs", *GROUPS.values(), "right cause named", "any sign", "false alarms"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [row(name, title, said) for name, (title, said) in results.items()]
    notes = (f"- {title}: {about(name)}" for name, (title, _) in results.items())
    lines += ["", *(textwrap.fill(note, 120, subsequent_indent="  ", break_on_hyphens=False) for note in notes)]
    return "\n".join(lines)
