"""Table and plot of what was measured."""

import ast
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.works import WORKS

# (work, contender, how many times its speed lumbre is meant to have)
GOALS = (
    ("tabular_128", "raw", 2.3),
    ("tabular_128", "expert", 0.95),
    ("tabular_128", "lightning", 3.5),
    ("tabular_128", "keras", 2.5),
    ("tabular_128", "skorch", 2.5),
    ("penguins", "raw", 1 / 1.1),
    ("mnist", "expert", 1.0),
    ("mnist_bfloat16", "raw_float32", 1.8),
    ("residual", "raw", 1.25),
    ("transformer", "raw", 1.1),
    ("lstm", "raw", 1.0),
    ("long", "raw", 6.0),
    ("long", "lightning", 10.0),
)


def machine() -> str:
    """Processor, cores, system and torch, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = named[0] if named else platform.processor() or platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def spread(values: list[float], form: str = ".2f") -> str:
    """The median, and from where to where the middle 80 % lie."""
    low, high = quantiles(values)
    return f"{statistics.median(values):{form}} ({low:{form}}-{high:{form}})"


def quantiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    cuts = statistics.quantiles(values, n=10, method="inclusive")
    return cuts[0], cuts[-1]


def ratios(result: dict[str, Any], slow: str, fast: str, clock: str) -> list[float]:
    """How many times as fast one contender is as the other, in each round."""
    return [one[slow][clock] / one[fast][clock] for one in result["rounds"]]


def learned(result: dict[str, Any], name: str) -> str:
    """Whether a contender learned as the raw loop did: within the spread that seeds make, and 0.02 for chance."""
    if "raw" not in result["rounds"][0] or result["share"] > 1 or len(result["rounds"]) < 3:
        return "not compared"
    own, base = ([one[who]["accuracy"] for one in result["rounds"]] for who in (name, "raw"))
    allowed = 0.02 + max(max(values) - min(values) for values in (own, base))
    return "equal" if abs(statistics.median(own) - statistics.median(base)) <= allowed else "NOT EQUAL"


def table(result: dict[str, Any]) -> str:
    """A work as a table in Markdown."""
    rounds = result["rounds"]
    names = [name for name in rounds[0] if name != "load"]
    names.sort(key=lambda name: statistics.median(one[name]["cpu"] for one in rounds))
    load = spread([one["load"] for one in rounds], ".1f")
    lines = [
        f"### {result['work']}: {result['title']}",
        "",
        f"{result['rows']:,} rows, {result['epochs']} epoch(s), {result['steps']:,} steps, {result['precision']}; "
        f"data: {result['data']}; {len(rounds)} interleaved rounds, {result['threads']} thread(s), load average {load}."
        + (" **--quick: the times say nothing.**" if result["quick"] else ""),
        "",
        "| contender | wall s | CPU s | speed / raw, wall | speed / raw, CPU | loss | accuracy | learned | import s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        wall, cpu, loss, accuracy = ([one[name][key] for one in rounds] for key in ("wall", "cpu", "loss", "accuracy"))
        beside = [spread(ratios(result, "raw", name, clock)) if "raw" in names else "-" for clock in ("wall", "cpu")]
        share = " (scaled)" if result["share"] > 1 and name != "lumbre" else ""
        lines.append(
            f"| {name}{share} | {spread(wall)} | {spread(cpu)} | {beside[0]} | {beside[1]} | {spread(loss, '.3f')} "
            f"| {spread(accuracy, '.3f')} | {learned(result, name)} | {result['import_seconds'][name]:.1f} |"
        )
    lines += [f"\n{name}: {why}." for name, why in result["absent"].items()]
    if result["share"] > 1:
        lines.append(f"\nscaled: trained 1/{result['share']} of the epochs; the time is multiplied.")
    if "lumbre" in names and rounds[0]["lumbre"]["note"].startswith("compiled"):
        first, *later = (one["lumbre"]["cpu"] for one in rounds)
        warm = f", in later rounds, which find what it left, {statistics.median(later):.1f} s" if later else ""
        lines.append(f"\nlumbre compiles with an empty cache in its first round: {first:.1f} s of CPU time{warm}.")
    if "lumbre" in names:
        lines.append(f"\nlumbre's engine: {rounds[-1]['lumbre']['note']}.")
    return "\n".join(lines) + "\n"


def goals(results: dict[str, dict[str, Any]]) -> str:
    """What lumbre is meant to reach, and what it did."""
    lines = ["| work | lumbre beside | goal | wall | CPU | reached |", "|---|---|---|---|---|---|"]
    for work, other, goal in GOALS:
        found = results.get(work)
        if found is None or not {other, "lumbre"} <= set(found["rounds"][0]):
            continue
        wall, cpu = (ratios(found, other, "lumbre", clock) for clock in ("wall", "cpu"))
        reached = "yes" if statistics.median(cpu) >= goal else "no"
        lines.append(f"| {work} | {other} | {goal:.2f}x | {spread(wall)} | {spread(cpu)} | {reached} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    """What each contender does, from the head of its file."""
    lines = ["| contender | settings |", "|---|---|"]
    for file in sorted(Path(__file__).with_name("contenders").glob("[!_]*.py")):
        told = ast.get_docstring(ast.parse(file.read_text())) or ""
        lines.append(f"| {file.stem} | {' '.join(told.split(chr(10) * 2)[0].split())} |")
    return "\n".join(lines) + "\n"


def write_report(folder: Path) -> str:
    """Gather the works that were measured into one page and one picture."""
    results = {name: json.loads(file.read_text()) for name in WORKS if (file := folder / f"{name}.json").exists()}
    machines = sorted({one["machine"] for one in results.values()})
    versions = sorted({version for one in results.values() for version in one["versions"].values()})
    page = [
        "# lumbre beside other libraries",
        "",
        "Same net, data, batch size, Adam, epochs and first weights; a warm process for each contender; each round "
        "runs all of them in an order drawn anew, with other first weights. Speeds are ratios within a round: "
        "median, and in brackets the middle 80 %. CPU time is disturbed less than wall time by what else a "
        "machine does. Import and a warm-up of four batches are not counted; lumbre's checks and compilation are.",
        "",
        *(f"Machine: {one}." for one in machines),
        f"Versions: {', '.join(versions)}.",
        "",
        "![speeds](peers.png)",
        "",
        "## Goals",
        "",
        goals(results),
        "## Settings",
        "",
        settings(),
        "## Works",
        "",
        *(table(one) for one in results.values()),
    ]
    target = folder / "peers.md"
    target.write_text("\n".join(page))
    draw(results, folder / "peers.png")
    return str(target)


def draw(results: dict[str, dict[str, Any]], target: Path) -> None:
    import pandas as pd
    import plotnine as p9

    rows = [
        {"work": found["work"], "contender": name, "speed": statistics.median(values), "low": low, "high": high}
        for found in results.values()
        if "raw" in found["rounds"][0]
        for name in found["rounds"][0]
        if name != "load"
        for values in [ratios(found, "raw", name, "cpu")]
        for low, high in [quantiles(values)]
    ]
    frame = pd.DataFrame(rows)
    names = frame.groupby("contender")["speed"].median().sort_values().index
    frame["contender"] = pd.Categorical(frame["contender"], names)
    frame["work"] = pd.Categorical(frame["work"], list(results))
    frame["of"] = ["lumbre" if name == "lumbre" else "others" for name in frame["contender"]]
    plot = (
        p9.ggplot(frame, p9.aes("speed", "contender", color="of"))
        + p9.geom_vline(xintercept=1, linetype="dashed", color="grey")
        + p9.geom_errorbarh(p9.aes(xmin="low", xmax="high"), height=0.3)
        + p9.geom_point(size=2)
        + p9.facet_wrap("work", ncol=3, scales="free_x")
        + p9.scale_color_manual({"lumbre": "#c0392b", "others": "#2c3e50"}, guide=None)
        + p9.labs(x="speed, raw loop = 1 (CPU time; median, 10-90 %)", y="")
        + p9.theme_bw()
        + p9.theme(figure_size=(11, 9))
    )
    plot.save(target, dpi=110, verbose=False)
