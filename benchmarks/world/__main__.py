"""Each part of others in lumbre: checked, one step beside a loop by hand, trained, saved, resumed, in bfloat16.

`make world`, or `python -m benchmarks.world --groups timm optimizers`. Writes docs/world.md from what it saw.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import io
import itertools
import json
import os
import platform
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

import lumbre as lb
from benchmarks.world.parts import GROUPS, Part

ROOT = Path(__file__).parent.parent.parent
RUN: dict[str, Any] = {"batch_size": 16, "shuffle": False, "verbose": False, "device": "cpu", "seed": 1}


@dataclass
class Seen:
    """What was seen of a part; a text that is not empty says what does not hold."""

    package: str
    kind: str
    name: str
    trains: str = ""
    findings: str = ""
    step: str = ""
    file: str = ""
    resumes: str = ""
    bfloat16: str = ""


class _Start(lb.Callback):
    """Keeps the state from which a run begins."""

    def on_fit_begin(self, ctx: lb.Context) -> None:
        self.state = {name: value.clone() for name, value in ctx.model.state_dict().items()}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]


def _seeded(make: Callable[..., optim.Optimizer]) -> Callable[..., optim.Optimizer]:
    """The optimizer with a seed before each of its steps, for those that draw by chance."""

    def made(*args: Any, **options: Any) -> optim.Optimizer:
        optimizer = make(*args, **options)
        step, counted = optimizer.step, itertools.count()

        def seeded(closure: Any = None) -> Any:
            seed = next(counted)
            torch.manual_seed(seed)
            random.seed(seed)
            return step() if closure is None else step(closure)

        optimizer.step = seeded
        return optimizer

    return made


def _far(part: Part, few: tuple[Any, Tensor]) -> float:
    """How far two updates are from those by hand, where a seed is set before each."""
    part, start = replace(part, optimizer=_seeded(part.optimizer)), _Start()
    torch.manual_seed(0)
    recipe = lb.setup(part.module, loss=part.loss(), optimizer=part.optimizer).set_opt_hparams(**part.options)
    fitted = recipe.fit(few, epochs=2, callbacks=start, preflight=False, **RUN)
    return _apart(_by_hand(part, start.state, few), fitted)


def _in_double(part: Part, few: tuple[Any, Tensor]) -> tuple[Part, tuple[Any, Tensor]]:
    """The same with numbers of twice as many digits."""
    x, y = few[0].double(), few[1].double() if few[1].is_floating_point() else few[1]
    return replace(part, module=lambda: part.module().double()), (x, y)


def _apart(hand: nn.Module, fitted: lb.Fitted) -> float:
    pairs = zip(hand.parameters(), fitted.model.parameters(), strict=True)
    return max(float((a - b).detach().abs().max() / b.detach().abs().max().clamp_min(1e-3)) for a, b in pairs)


def _by_hand(part: Part, start: dict[str, Tensor], data: tuple[Any, Tensor]) -> nn.Module:
    """Two updates by torch alone."""
    torch.manual_seed(0)
    loss, net = part.loss(), part.module()  # a loss draws its weights as the recipe's did
    net.load_state_dict(start)
    function: Any = net.loss if loss is None else loss
    own = list(loss.parameters()) if isinstance(loss, nn.Module) else []
    optimizer: Any = part.optimizer([*net.parameters(), *own], **part.options)
    modal = all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))
    if modal:
        optimizer.train()
    net.train()

    @torch.enable_grad()
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = function(net(data[0]), data[1])
        value.backward(create_graph=part.graph)
        return value

    for _ in range(2):
        if part.closure:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    if modal:
        optimizer.eval()
    return net


def look(part: Part) -> Seen:
    """Try everything that is tried."""
    seen = Seen(part.package, part.kind, part.name)
    torch.manual_seed(0)
    try:
        loss, start = part.loss(), _Start()
    except TypeError as error:
        seen.trains = f"not made here: {_first_line(error)}"
        return seen
    x, y = part.data()
    recipe = lb.setup(part.module, loss=loss, optimizer=part.optimizer).set_opt_hparams(**part.options)
    few = (x[:16], y[:16])
    try:
        found = [one for one in recipe.check((x, y)) if one.severity != "hint"]
        seen.findings = ", ".join(one.code for one in found)
        fitted = recipe.fit(few, epochs=2, callbacks=start, **RUN)
    except Exception as error:
        seen.trains = _first_line(error)
        return seen
    try:
        torch.manual_seed(0)
        far = _apart(_by_hand(part, start.state, few), fitted)
        far = far if far <= 1e-5 else _far(part, few)
        if far > 1e-5 and isinstance(few[0], Tensor) and few[0].is_floating_point():  # sums in another order, perhaps
            far = _far(*_in_double(part, few))
        seen.step = "" if far <= 1e-5 else f"differs by {far:.1e}"
    except Exception as error:
        seen.step = f"the loop by hand fails: {_first_line(error)}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(folder) / "net.lumbre"
            fitted.save(path)
            mine, theirs = fitted.predict(few), lb.load(path, recipe).predict(few)
            tensors = [(a, b) for a, b in zip(_leaves(mine), _leaves(theirs), strict=True)]
            seen.file = "" if all(torch.equal(a, b) for a, b in tensors) else "predicts something else"
        except Exception as error:
            seen.file = _first_line(error)
    try:
        proof = str(recipe.verify_resume((x, y), batch_size=8)).splitlines()[0]
        seen.resumes = "" if proof.startswith("Exact") else proof[:160]
    except Exception as error:
        seen.resumes = _first_line(error)
    try:
        recipe.fit(few, epochs=1, precision="bfloat16", **RUN)
    except Exception as error:
        seen.bfloat16 = _first_line(error)
    return seen


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [leaf for part in parts for leaf in _leaves(part)]


def _processor() -> str:
    """What the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(seen: list[Seen]) -> str:
    """The page."""
    now, columns = datetime.date.today().isoformat(), ("trains", "findings", "step", "file", "resumes", "bfloat16")
    lines = [
        "# Parts of others",
        "",
        "Modules, losses and optimizers that others wrote, as `make world` found them: each is checked, trained for",
        "two updates beside a loop by hand (equal to 1e-5 of the largest weight, in float64 where rounding is larger;",
        "with the same seed before each step of an optimizer that draws at random), saved and loaded, stopped and",
        "resumed, and trained in bfloat16.",
        f"Run on {now}, {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{torch.__version__}.",
        "",
        "| package | version | kind | n | trains | no warning | step as by hand | file | resumes | bfloat16 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for package, kind in dict.fromkeys((one.package, one.kind) for one in seen):
        mine = [one for one in seen if (one.package, one.kind) == (package, kind)]
        trained = [one for one in mine if not one.trains]
        counts = [len(trained), *(sum(not getattr(one, name) for one in trained) for name in columns[1:])]
        version = importlib.metadata.version(package.partition(".")[0])
        lines.append(f"| {package} | {version} | {kind} | {len(mine)} | " + " | ".join(map(str, counts)) + " |")
    lines += ["", "What does not hold, and what was seen:", "", "| part | what | seen |", "|---|---|---|"]
    for one in seen:
        for name in columns:
            if what := getattr(one, name):
                said = what.replace("|", "/").replace("<", "&lt;")
                lines.append(f"| {one.package}: {one.name} | {name} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Look at the groups that were asked for, and write the page where all were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--json", help="where to write what was seen, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    seen: list[Seen] = []
    for group in given.groups:
        for part in GROUPS[group]():
            with contextlib.redirect_stdout(io.StringIO()):
                seen.append(look(part))
            print(seen[-1], flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps([asdict(one) for one in seen], indent=1))
    if given.groups == list(GROUPS):
        (ROOT / "docs" / "world.md").write_text(table(seen))


if __name__ == "__main__":
    main()
