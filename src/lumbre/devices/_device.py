"""The choice of a device, and the seeding of its generator."""

from collections.abc import Callable

import torch

from lumbre.base import HOST_CHANCE, OptionError, kept_chance, seed_host, stream


def resolve_device(device: str | torch.device) -> torch.device:
    """The device named, or for "auto" the first there is of CUDA, Apple's MPS and the CPU.

    Raises:
        OptionError: the name is unknown, or this machine lacks the device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise OptionError(f"device={device!r}", "auto, cpu, cuda, cuda:N or mps", 'device="auto"') from error
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            raise OptionError(
                f"device={str(device)!r} where torch sees {count} CUDA devices",
                "a device that this machine has and this torch supports",
                'device="auto" takes the best there is',
            )
        return found if ":" in str(device) else torch.device("cuda", torch.cuda.current_device())
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError("device='mps' on a machine without it", "an Apple GPU", 'device="auto"')
    return found


class Seeder:
    """Seeds the generators a module draws from, when it is called with (stream name, epoch, batch).

    Processes that share a run draw the same first weights, and everything else each for itself.

    Seeding those of Python and NumPy takes longer than many a step. So they are seeded at the first call of each
    stream, and at every call once somebody was seen to draw from them.

    Args:
        seed: the run's seed.
        device: where it takes place.
        rank: of the process.

    Attributes:
        drawn: whether Python's or NumPy's generator was seen to be used.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self.drawn = False
        self._seed, self._rank = seed, rank
        self._seed_torch = _torch_seeder(device)
        self._begun: set[str] = set()

    def __call__(self, name: str, epoch: int, batch: int) -> None:
        """Seed for batch `batch` of `epoch`."""
        stream_name = name if self._rank == 0 or name == "init" else f"{name}/{self._rank}"
        value = stream(self._seed, stream_name, epoch, batch)
        self.look()
        if self.drawn:
            seed_host(value)
        elif name not in self._begun or HOST_CHANCE.owner is not self:
            HOST_CHANCE.seed(value)
            if HOST_CHANCE.owner is not self:
                HOST_CHANCE.owner, HOST_CHANCE.drawn = self, False
            self._begun.add(name)
        self._seed_torch(value)

    def look(self) -> None:
        """See whether anybody has drawn from Python's or NumPy's generator since the last call."""
        if self.drawn or HOST_CHANCE.owner is not self:
            return
        HOST_CHANCE.look()
        self.drawn, HOST_CHANCE.drawn = HOST_CHANCE.drawn, False


def seeder(seed: int, device: torch.device, rank: int = 0) -> Seeder:
    """What seeds the generators of a run."""
    return Seeder(seed, device, rank)


def same_chance(device: torch.device, seed: int = 0) -> None:
    """Seed all generators for a look at a module: the same seed, the same chance.

    Where the generators were noted (`noted_once()`), those of Python and NumPy need no seed: they are put back.
    """
    kept = kept_chance(device)
    if kept is None or seed:
        seeder(seed, device)("predict", 0, 0)
    else:
        kept.put_back()
        _torch_seeder(device)(stream(seed, "predict", 0, 0))


def _torch_seeder(device: torch.device) -> Callable[[int], None]:
    """Seeds torch's generators, by the objects themselves: `torch.manual_seed` takes a hundred times as long."""
    seed_cpu = torch.default_generator.manual_seed
    if device.type == "cuda":
        torch.cuda.init()
        seed_device = torch.cuda.default_generators[device.index or 0].manual_seed
    elif device.type == "mps":
        seed_device = torch.mps.manual_seed
    else:
        seed_device = None

    def seed_torch(value: int) -> None:
        seed_cpu(value)
        if seed_device is not None:
            seed_device(value)

    return seed_torch
