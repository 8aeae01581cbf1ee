"""Two hosts, which are network namespaces of this machine: one is killed, or cut off, and the other trains on.

`make hosts` runs it. It needs the right to make namespaces, and skips where there is none.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("script.py")
NAMES = ("lumbre-a", "lumbre-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
_SECONDS = 240.0

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]


def ip(*words: str, check: bool = True) -> str:
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True).stdout


def forget() -> None:
    for name in NAMES:
        for pid in ip("netns", "pids", name, check=False).split():
            os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", name, check=False)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Two namespaces, joined by a pair of virtual cards that are called eth0 in both."""
    try:
        forget()
        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", "lumbre0", "netns", NAMES[0], "type", "veth", "peer", "lumbre1", "netns", NAMES[1])
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces are not permitted here: {error}")
    try:
        for name, card, address in zip(NAMES, ("lumbre0", "lumbre1"), ADDRESSES, strict=True):
            ip("-n", name, "link", "set", card, "name", "eth0")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for up in ("lo", "eth0"):
                ip("-n", name, "link", "set", up, "up")
        yield
    finally:
        forget()


def torchrun(host: int, folder: Path, life: int = 0) -> subprocess.Popen[bytes]:
    """What a user starts on each host."""
    command = [
        *("ip", "netns", "exec", NAMES[host], sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=5", "--rdzv-backend=c10d", "--rdzv-id=hosts"),
        *(f"--rdzv-endpoint={ADDRESSES[0]}:29400", f"--local-addr={ADDRESSES[host]}"),
        f"--rdzv-conf=is_host={int(host == 0)},last_call_timeout=5",
    ]
    # Agents of torch 2.13 that share their store with the processes wait in vain when a host comes back.
    alone = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    given = {**os.environ, **alone, "GLOO_SOCKET_IFNAME": "eth0", "LUMBRE_TIMEOUT_SECONDS": "10"}
    with (folder / f"{host}-{life}.log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(SCRIPT), str(folder), f"{host}-{life}"], env=given, stdout=log, stderr=log
        )


@dataclass(frozen=True)
class Line:
    at: float
    pid: int
    size: int
    step: int


def lines(folder: Path, name: str) -> list[Line]:
    path = folder / f"{name}.reported"
    reported = path.read_text().splitlines() if path.exists() else []
    return [Line(float(at), int(pid), int(size), int(step)) for at, pid, size, step in map(str.split, reported)]


def wait_for(folder: Path, name: str, size: int, after: float = 0.0, updates: int = 0) -> Line:
    """The first batch that a process on a host, in a run of several, reported after a time."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        for line in lines(folder, name):
            if line.size == size and line.at > after and line.step >= updates:
                return line
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("*.log")))
    raise AssertionError(f"no batch on {name} of a run of {size}:\n{logs}")


def newest(folder: Path) -> int:
    return max(int(path.name.split("-")[1]) for path in (folder / "run").glob("step-*"))


@pytest.mark.parametrize("way", ["killed", "cut off"])
def test_a_host_that_is_lost_costs_the_steps_since_the_last_checkpoint(
    way: str, hosts: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started = [torchrun(host, tmp_path) for host in (0, 1)]
    try:
        wait_for(tmp_path, "0-0", 2, updates=50)
        kept = newest(tmp_path)
        if way == "killed":
            for pid in ip("netns", "pids", NAMES[1]).split():
                os.kill(int(pid), signal.SIGKILL)
        else:
            ip("-n", NAMES[1], "link", "set", "eth0", "down")
        lost_at = time.time()
        back = wait_for(tmp_path, "0-0", 1, after=lost_at)
        assert back.step >= kept
        with capfd.disabled():
            print(f"\n{way}: back in training after {back.at - lost_at:.1f} s", flush=True)
        assert back.at - lost_at < 60
        assert "PeerError: received: rank 0 of 2 cannot go on" in (tmp_path / "0-0.log").read_text()
        if way == "killed":  # and the host comes back
            began = time.time()
            started.append(torchrun(1, tmp_path, life=1))
            both = wait_for(tmp_path, "1-1", 2)
            assert both.step > back.step
            with capfd.disabled():
                print(f"both train {both.at - began:.1f} s after the second was started again", flush=True)
    finally:
        for one in started:
            one.kill()
            one.wait()
