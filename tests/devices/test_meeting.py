"""Processes meet in a store that still holds what others before them left there."""

import threading
import time

import pytest
from torch.distributed import HashStore

from lumbre.processes._meeting import meet


def meeting(store: HashStore, size: int, late: float = 0.0) -> list[str]:
    """What each of so many threads writes and reads in the place where they meet."""
    found = [""] * size

    def come(rank: int) -> None:
        time.sleep(late * rank)
        place = meet(store, rank, size, 30)
        assert not place.check([f"address {rank}"])
        place.set(f"address {rank}", f"{rank}")
        while not place.check([f"address {other}" for other in range(size)]):
            time.sleep(0.01)
        found[rank] = "".join(place.get(f"address {other}").decode() for other in range(size))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_each_start_has_an_empty_place_of_its_own() -> None:
    store = HashStore()
    assert meeting(store, 3) == ["012"] * 3
    assert meeting(store, 3, late=0.1) == ["012"] * 3
    assert meeting(store, 2, late=0.1) == ["01"] * 2
    assert meeting(store, 4) == ["0123"] * 4


def test_those_before_are_not_taken_for_those_who_come() -> None:
    store = HashStore()
    meeting(store, 2)
    with pytest.raises(RuntimeError, match=r"waited 0\.3 seconds"):
        meet(store, 0, 2, 0.3)
    with pytest.raises(RuntimeError, match=r"waited 0\.3 seconds"):
        meet(store, 1, 2, 0.3)
    assert meeting(store, 2) == ["01"] * 2
