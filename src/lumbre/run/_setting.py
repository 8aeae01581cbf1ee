"""Where a run takes place: its processes, its device, its precision, its seed."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lumbre.devices import Precision, resolve_device, seeder
from lumbre.processes import World, join_world
from lumbre.run._options import Options


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same for all of a run, whatever its data and its module.

    Attributes:
        world: the processes that share the run.
        device: where this process computes.
        precision: of forward passes.
        seed: the same in all processes, also where none was given.
        seed_step: seeds the generators for (stream name, epoch, batch).
    """

    world: World
    device: torch.device
    precision: Precision
    seed: int
    seed_step: Callable[[str, int, int], None]


def setting_of(options: Options) -> Setting:
    """The setting that the options ask for.

    Raises:
        OptionError: a device or precision that is not there.
    """
    world = join_world()
    # Without a seed the first process draws one, so that all of them have the same order and first weights.
    seed = world.gather(secrets.randbits(32))[0] if options.seed is None else options.seed
    device = resolve_device(options.device)
    return Setting(world, device, Precision(options.precision, device), seed, seeder(seed, device, world.rank))
