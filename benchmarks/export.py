"""Nets of many kinds written as programs, read again by torch and by ONNX Runtime, and run beside the module.

    python -m benchmarks.export [--only gru attention] [--out benchmarks/results/export.md]

`make bench-export`. Each net is trained for an epoch, exported without data, so that lumbre makes up the rows, and
run by what reads the file: for one row, two, and many. The table has the largest difference of a number from the
module's own, divided by the module's largest number where that is above 1; or the first line of the refusal.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import io
import platform
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, optim

import lumbre as lb
from benchmarks.export_nets import NETS, Net

ROWS = (1, 2, 3, 5, 17, 64)
OUT = Path(__file__).parent / "results" / "export.md"


def leaves(found: Any) -> list[Tensor]:
    """The tensors of a structure, in order."""
    if isinstance(found, Tensor):
        return [found]
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, (tuple, list)) else ()
    return [leaf for part in parts for leaf in leaves(part)]


def loss(pred: Any, target: Tensor) -> Tensor:
    """A number for any prediction: what is learned plays no part."""
    parts = [leaf.abs().float() for leaf in leaves(pred) if leaf.is_floating_point() or leaf.is_complex()]
    return sum((part.square().mean() for part in parts), torch.zeros(()))


def fit(net: Net) -> lb.Fitted:
    """The net after an epoch of small steps, so that buffers such as those of BatchNorm are no longer as at first."""
    torch.manual_seed(0)
    data = net.inputs(24)
    recipe = lb.setup(net.module, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=1e-3)
    options: dict[str, Any] = {"batch_size": 8, "preflight": False, "verbose": False, "device": "cpu"}
    return recipe.fit((data, torch.zeros(24)), epochs=1, **options, **net.options)


def gap(ours: list[Tensor], theirs: list[Any]) -> float:
    """The largest difference of a number, beside the largest of ours."""
    worst = 0.0
    if len(ours) != len(theirs):
        return float("inf")
    for mine, other in zip(ours, theirs, strict=True):
        here = torch.view_as_real(mine.resolve_conj()) if mine.is_complex() else mine
        there = torch.as_tensor(other)
        there = torch.view_as_real(there.resolve_conj()) if there.is_complex() else there
        if here.shape != there.shape:
            return float("inf")
        gap = (here.double() - there.double()).abs()
        gap = torch.where(here.double() == there.double(), torch.zeros_like(gap), gap)
        scale = max(1.0, here.double().abs().max().item() if here.numel() else 0.0)
        worst = max(worst, (gap.max().item() if gap.numel() else 0.0) / scale)
    return worst


def reader(path: Path) -> Callable[[list[Tensor]], list[Any]]:
    """What runs the file, without lumbre."""
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()
        return lambda tensors: leaves(program(*tensors))
    import onnxruntime

    running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    slots = [slot.name for slot in running.get_inputs()]

    def run(tensors: list[Tensor]) -> list[Any]:
        names = ["input"] if len(tensors) == 1 else [f"input_{i}" for i in range(len(tensors))]
        fed = {name: one.numpy() for name, one in zip(names, tensors, strict=True) if name in slots}
        return running.run(None, fed)

    return run


def tried(fitted: lb.Fitted, net: Net, path: Path) -> str:
    """What came of a file: the largest difference, or why there is none."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            fitted.export(path)
    except lb.LumbreError as error:
        return "refused: " + str(error).splitlines()[0].removeprefix("received: ")[:110]
    except Exception as error:
        return f"FAILS: {type(error).__name__}: {str(error).splitlines()[0][:110]}"
    run, worst = reader(path), 0.0
    model = fitted.model.cpu().eval()
    for rows in ROWS:
        generator_state = torch.get_rng_state()
        torch.manual_seed(rows)
        given = net.inputs(rows)
        torch.set_rng_state(generator_state)
        with torch.no_grad():
            function: Any = getattr(model, "predict", model)
            ours = leaves(function(*given) if isinstance(given, tuple) else function(given))
            theirs = run([one.detach() for one in leaves(given)])
        worst = max(worst, gap(ours, theirs))
    kinds = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
    close = max([1e-4, *(4 * torch.finfo(kind).eps for kind in kinds)])  # of 16 bits there are few
    return f"{worst:.1e}" if worst <= close else f"DIFFERS: {worst:.3g}"


@dataclass
class Seen:
    """What was seen of a net, by the suffix of the file."""

    name: str
    parameters: int
    pt2: str
    onnx: str


def look(net: Net, kinds: tuple[str, ...]) -> Seen:
    """Train, export, read and compare one net."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            fitted = fit(net)
        except lb.LumbreError as error:
            said = "not trained: " + str(error).splitlines()[0].removeprefix("received: ")[:110]
            return Seen(net.name, 0, said, said)
        count = sum(parameter.numel() for parameter in fitted.model.parameters())
        found = {kind: tried(fitted, net, Path(folder) / f"net.{kind}") for kind in kinds}
    return Seen(net.name, count, found.get("pt2", "not tried"), found.get("onnx", "not tried"))


def page(seen: list[Seen], kinds: tuple[str, ...]) -> str:
    """The table, and where it comes from."""
    packages = ["torch", *(("onnx", "onnxscript", "onnxruntime") if "onnx" in kinds else ())]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    lines = [
        "# Nets exported, beside the module's own numbers",
        "",
        f"{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"{versions}; {datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}. `make bench-export`; {len(seen)} nets, each "
        f"for {', '.join(map(str, ROWS))} rows drawn anew. A figure is the largest difference of a number from the "
        "module's own, divided by the module's largest where that is above 1.",
        "",
    ]
    for kind in kinds:
        texts = [getattr(one, kind) for one in seen]
        numbers = [float(text) for text in texts if text[0].isdigit()]
        said = sum(text.startswith(("refused", "not trained")) for text in texts)
        wrong, largest = len(seen) - len(numbers) - said, max(numbers, default=0)
        lines += [
            f"`.{kind}`: {len(numbers)} of {len(seen)} are written, and differ by at most {largest:.1e}; {said} are "
            f"refused in words; {wrong} are wrong or fail otherwise.",
            "",
        ]
    lines += ["| net | parameters | .pt2 | .onnx |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.parameters:,} | {one.pt2} | {one.onnx} |" for one in seen]
    return "\n".join(lines).replace("|| ", "| ") + "\n"


def main() -> None:
    """Try all nets, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="words in the names of nets")
    parser.add_argument("--kinds", nargs="*", default=["pt2", "onnx"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    kinds = tuple(given.kinds)
    nets = [net for net in NETS if not given.only or any(word in net.name for word in given.only)]
    seen = list[Seen]()
    for net in nets:
        seen.append(look(net, kinds))
        print(f"{net.name:42}  {seen[-1].pt2:24}  {seen[-1].onnx}", flush=True)
    if not given.only or given.out is not None:
        (given.out or OUT).write_text(page(seen, kinds))
    if any(getattr(one, kind).startswith(("DIFFERS", "FAILS")) for one in seen for kind in kinds):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
