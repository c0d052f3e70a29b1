"""Pictures of one camera by name, each made when it is first looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Wish:
    """What a viewer is going to look at."""

    outputs: tuple[str, ...]
    """In this order; a name that no picture has, as before the first choice, stands for the first of them all."""

    depth_of: str = "rgb"
    """The picture whose depth ``depth`` is to be. The viewer hides markers behind what it shows by it."""


_wish: ContextVar[Wish | None] = ContextVar("wish", default=None)


@contextmanager
def wishing(wish: Wish) -> Iterator[None]:
    """Have models make at once only these of the pictures that this thread asks them for."""
    token = _wish.set(wish)
    try:
        yield
    finally:
        _wish.reset(token)


def current_wish() -> Wish | None:
    """What this thread is going to look at; None for everything."""
    return _wish.get()


class Pictures(MutableMapping[str, Tensor]):
    """A model's outputs: all names are there from the start, and each picture as soon as somebody reads it."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._entries: dict[str, Tensor | Callable[[], Tensor]] = dict(makers)
        self.seconds = 0.0
        """How long those took that were made at once."""

    def make(self, names: Sequence[str]) -> None:
        """Make these at once."""
        start = time.perf_counter()
        for name in names:
            self[name if name in self else next(iter(self))]
        self.seconds = time.perf_counter() - start

    def made(self) -> list[str]:
        """The names of those that are there already."""
        return [name for name, entry in self._entries.items() if isinstance(entry, Tensor)]

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        if not isinstance(entry, Tensor):
            entry = self._entries[name] = entry()
        return entry

    def __setitem__(self, name: str, picture: Tensor) -> None:
        self._entries[name] = picture

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        # What mappings do by default is to read it.
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
