"""Torch's own threads, which get in the way of the CPU engine's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread(device: torch.device | str = "cpu") -> Iterator[None]:
    """Have torch work on one thread for a while, if the device is the CPU.

    Its threads spin between steps: on a busy machine they hold up those of the engine, and what takes ten seconds takes
    a minute. The engine does the heavy work, so little is lost where the machine is free.
    """
    before = torch.get_num_threads()
    if torch.device(device).type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
