"""What to expect of 8 to 8192 devices: a model on paper, as code, and a simulation that checks it.

    python benchmarks/scaling_model.py                       the table
    python benchmarks/scaling_model.py --plot scaling.png    and the picture

Step time, volume of the all-reduce, size and interval of checkpoints, mean time between failures, goodput:
`docs/scaling.md` explains each formula and compares the outcome with published runs. Nothing here is measured on a
cluster of our own.

Goodput is the share of the devices' time that does work which is kept: (time of computing in a step) / (time of a
step), times the share of the hours that neither a checkpoint, nor lost work, nor a restart takes.
"""

import argparse
import math
from dataclasses import dataclass, replace

import numpy as np

DEVICES = tuple(2**power for power in range(3, 14))
HOUR = 3600.0
LLAMA_3_DEVICE_HOURS = 54 * 24 * 16_384 / 419  # device hours per unexpected interruption


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The machines. Defaults: hosts of eight H100 with one 400 Gb/s network card for each."""

    devices_per_host: int = 8
    flops: float = 989e12  # dense bfloat16, as the data sheet says
    utilization: float = 0.45  # share of them that one host reaches, compute alone
    link_bytes_per_second: float = 450e9  # one way, within a host
    network_bytes_per_second: float = 50e9  # one way, a card
    hop_seconds: float = 10e-6
    storage_bytes_per_second: float = 100e9  # of the file system, all writers together
    device_write_bytes_per_second: float = 2e9
    device_mtbf_hours: float = LLAMA_3_DEVICE_HOURS
    restart_seconds: float = 600.0  # notice, start processes, load, first step


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The training. Defaults: seven billion parameters, data parallel, 16,384 tokens a device and step."""

    parameters: float = 7e9
    tokens_per_device: int = 16_384
    gradient_bytes: int = 2  # a parameter; bfloat16
    state_bytes: int = 12  # a parameter; float32 weights and Adam's two moments
    overlap: float = 0.9  # share of the all-reduce that hides behind the backward pass where it has time to


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the model expects of a number of devices. Times in seconds."""

    devices: int
    compute: float
    all_reduce_bytes: float
    all_reduce: float
    step: float
    checkpoint_bytes: float
    checkpoint: float
    mtbf: float
    interval: float
    kept: float
    goodput: float


def ring_bytes(size: float, devices: int) -> float:
    """What each of `devices` sends in a ring all-reduce of `size` bytes: 2 (n - 1) / n of them.

    Source: Patarasuk, Yuan: Bandwidth optimal all-reduce algorithms for clusters of workstations, 2009.
    """
    return 2 * (devices - 1) / devices * size


def all_reduce_seconds(size: float, devices: int, cluster: Cluster) -> float:
    """Rings within hosts, then rings of the same place in every host, each with its part of the bytes."""
    local = min(devices, cluster.devices_per_host)
    hosts = math.ceil(devices / cluster.devices_per_host)
    within = ring_bytes(size, local) / cluster.link_bytes_per_second + 2 * (local - 1) * cluster.hop_seconds
    between = ring_bytes(size / local, hosts) / cluster.network_bytes_per_second + 2 * (hosts - 1) * cluster.hop_seconds
    return within + between


def young(checkpoint: float, mtbf: float) -> float:
    """Seconds of work between checkpoints, to first order. Source: Young, CACM 17(9), 1974."""
    return math.sqrt(2 * checkpoint * mtbf)


def daly(checkpoint: float, mtbf: float) -> float:
    """Seconds of work between checkpoints, to higher order. Source: Daly, FGCS 22(3), 2006."""
    if checkpoint >= 2 * mtbf:
        return mtbf
    ratio = checkpoint / (2 * mtbf)
    return young(checkpoint, mtbf) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint


def kept_share(interval: float, checkpoint: float, restart: float, mtbf: float) -> float:
    """The share of the hours that is work which is kept, where failures come at random (exponential times).

    A stretch of `interval` seconds of work and its checkpoint takes mtbf e^(restart / mtbf) (e^((interval + checkpoint)
    / mtbf) - 1) seconds on average, failures during checkpoints and restarts among them. Source: Daly, 2006.
    """
    stretch = mtbf * math.exp(restart / mtbf) * math.expm1((interval + checkpoint) / mtbf)
    return interval / stretch


def simulated_share(
    interval: float, checkpoint: float, restart: float, mtbf: float, *, stretches: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """The same share, played through failure by failure, and its standard error."""
    generator = np.random.default_rng(seed)
    seconds = np.empty(stretches)
    for stretch in range(stretches):
        clock, need = 0.0, interval + checkpoint
        while (failure := generator.exponential(mtbf)) < need:
            clock += failure
            while (failure := generator.exponential(mtbf)) < restart:  # it fails again before it is back
                clock += failure
            clock += restart
        seconds[stretch] = clock + need
    mean = seconds.mean()
    error = seconds.std() / math.sqrt(stretches)
    return float(interval / mean), float(interval / mean * error / mean)


def expect(devices: int, work: Work, cluster: Cluster) -> Outcome:
    """What to expect of `devices`, each with the same share of tokens (the global batch grows with them)."""
    compute = 6 * work.parameters * work.tokens_per_device / (cluster.flops * cluster.utilization)
    size = work.parameters * work.gradient_bytes
    reduce = all_reduce_seconds(size, devices, cluster)
    backward = compute * 2 / 3
    step = compute + reduce - work.overlap * min(reduce, backward)
    state = work.parameters * work.state_bytes
    speed = min(devices * cluster.device_write_bytes_per_second, cluster.storage_bytes_per_second)
    checkpoint = state / speed
    mtbf = cluster.device_mtbf_hours * HOUR / devices
    interval = daly(checkpoint, mtbf)
    kept = kept_share(interval, checkpoint, cluster.restart_seconds, mtbf)
    return Outcome(
        devices=devices,
        compute=compute,
        all_reduce_bytes=ring_bytes(size, devices),
        all_reduce=reduce,
        step=step,
        checkpoint_bytes=state,
        checkpoint=checkpoint,
        mtbf=mtbf,
        interval=interval,
        kept=kept,
        goodput=compute / step * kept,
    )


def table(outcomes: list[Outcome]) -> str:
    """A Markdown table."""
    lines = [
        "| devices | step | all-reduce, a device | exposed | checkpoint "
        "| mean time between failures | interval | kept | goodput |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.devices} | {one.step:.2f} s | {one.all_reduce_bytes / 1e9:.1f} GB, {one.all_reduce:.2f} s"
        f" | {one.step - one.compute:.2f} s | {one.checkpoint:.1f} s | {one.mtbf / HOUR:,.1f} h"
        f" | {one.interval / 60:.1f} min | {one.kept:.2%} | {one.goodput:.1%} |"
        for one in outcomes
    ]
    return "\n".join(lines)


def plot(work: Work, cluster: Cluster):
    """Goodput by number of devices, for restarts of one minute, ten minutes and an hour."""
    import pandas as pd
    import plotnine as p9

    rows = [
        (devices, name, expect(devices, work, replace(cluster, restart_seconds=seconds)).goodput)
        for seconds, name in ((60, "1 minute"), (600, "10 minutes"), (3600, "1 hour"))
        for devices in DEVICES
    ]
    frame = pd.DataFrame(rows, columns=["devices", "restart", "goodput"])
    names = ["1 minute", "10 minutes", "1 hour"]
    frame["restart"] = pd.Categorical(frame["restart"], categories=names)
    return (
        p9.ggplot(frame, p9.aes("devices", "goodput", colour="restart", linetype="restart"))
        + p9.geom_line(size=1)
        + p9.scale_x_continuous(trans="log2", breaks=list(DEVICES[::2]), labels=[str(n) for n in DEVICES[::2]])
        + p9.scale_y_continuous(labels=lambda shares: [f"{share:.0%}" for share in shares])
        + p9.scale_colour_manual(["#0072B2", "#D55E00", "#009E73"])
        + p9.labs(x="devices", y="goodput", colour="a restart takes", linetype="a restart takes")
        + p9.theme_minimal()
        + p9.theme(figure_size=(6.5, 3.5))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, default=Work().parameters)
    parser.add_argument("--tokens", type=int, default=Work().tokens_per_device, help="a device and step")
    parser.add_argument("--restart-seconds", type=float, default=Cluster().restart_seconds)
    parser.add_argument("--device-mtbf-hours", type=float, default=Cluster().device_mtbf_hours)
    parser.add_argument("--plot", help="file for the picture")
    given = parser.parse_args()
    work = Work(parameters=given.parameters, tokens_per_device=given.tokens)
    cluster = Cluster(restart_seconds=given.restart_seconds, device_mtbf_hours=given.device_mtbf_hours)
    outcomes = [expect(devices, work, cluster) for devices in DEVICES]
    print(table(outcomes))
    print("\nShare kept, closed form beside simulation (mean and standard error over 20,000 stretches):")
    for one in outcomes[::5]:
        share, error = simulated_share(one.interval, one.checkpoint, cluster.restart_seconds, one.mtbf)
        print(f"  {one.devices} devices: {one.kept:.4%} beside {share:.4%} +- {error:.4%}")
    if given.plot:
        plot(work, cluster).save(given.plot, dpi=120, verbose=False)


if __name__ == "__main__":
    main()
