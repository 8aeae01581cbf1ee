"""The choice of a device, and the seeding of its generator."""

from collections.abc import Callable

import torch

from lumbre.base import OptionError, stream


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
    except RuntimeError as error:
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


def seeder(seed: int, device: torch.device, rank: int = 0) -> Callable[[str, int, int], None]:
    """A function that seeds the generators a module draws from, for (stream name, epoch, batch).

    Processes that share a run draw the same first weights, and everything else each for itself.

    It seeds the generator objects themselves: `torch.manual_seed` does the same a hundred times slower.
    """
    seed_cpu = torch.default_generator.manual_seed
    if device.type == "cuda":
        torch.cuda.init()
        seed_device = torch.cuda.default_generators[device.index or 0].manual_seed
    elif device.type == "mps":
        seed_device = torch.mps.manual_seed
    else:
        seed_device = None

    def seed_step(name: str, epoch: int, batch: int) -> None:
        value = stream(seed, name if rank == 0 or name == "init" else f"{name}/{rank}", epoch, batch)
        seed_cpu(value)
        if seed_device is not None:
            seed_device(value)

    return seed_step
