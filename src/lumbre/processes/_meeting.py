"""How processes that torchrun has started find one another, and nobody who is no longer there.

The store through which they exchange addresses is torchrun's, and outlives them: after a restart it still holds those
of the processes before, and who reads them waits for somebody who is dead. Nothing in the environment tells one start
from the next on all hosts, so each process brings a name of chance; they meet under all names together.
"""

import secrets
import time

from torch.distributed.distributed_c10d import PrefixStore, Store

_PAUSE = 0.02


def meet(store: Store, rank: int, size: int, seconds: float) -> Store:
    """A part of `store` that is empty, and the same for all `size` processes that are there now.

    Raises:
        RuntimeError: they do not all come in so many seconds.
    """
    own = secrets.token_hex(8)
    store.set(f"lumbre/here/{rank}", own)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if rank == 0:
            here = [own, *(_held(store, f"lumbre/here/{other}") for other in range(1, size))]
            store.set("lumbre/all", " ".join(here))
        names = _held(store, "lumbre/all")
        if names.split(" ")[rank : rank + 1] == [own] and names.count(" ") == size - 1:
            place = f"lumbre/{names.replace(' ', '-')}"
            store.set(f"{place}/{rank}", "here")
            # A name may be of a process before; it never answers, and the name of the one that came is soon there.
            if rank == 0 and store.check([f"{place}/{other}" for other in range(size)]):
                store.set(f"{place}/begin", "now")
            if store.check([f"{place}/begin"]):
                return PrefixStore(place, store)
        time.sleep(_PAUSE)
    raise RuntimeError(f"waited {seconds:g} seconds")


def _held(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""
