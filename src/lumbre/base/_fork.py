"""Whether processes can be started as forks of this one."""

import sys
from pathlib import Path

import torch


def can_fork() -> bool:
    """Whether a fork of this process could compute gradients.

    It could on Linux, as long as neither CUDA nor the threads that torch's autograd has for GPUs were started. torch
    starts these with the first backward pass where there are GPUs; and in a build for CUDA without one, too, once
    something has been compiled before that pass (seen in torch 2.11 to 2.14). It has no name for that state, but its
    threads have one.
    """
    if sys.platform != "linux" or torch.cuda.is_initialized():
        return False
    return not any(_name(thread).startswith("pt_autograd_") for thread in Path("/proc/self/task").iterdir())


def start_autograd() -> None:
    """Start torch's autograd before something is compiled, so that it starts no threads for GPUs that are not there."""
    if not torch.cuda.is_available():  # where there are GPUs, a backward pass would ask them
        torch.ones(1, requires_grad=True).sum().backward()


def _name(thread: Path) -> str:
    try:
        return (thread / "comm").read_text()
    except OSError:  # it has ended
        return ""
