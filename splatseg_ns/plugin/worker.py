"""Long work in one thread of its own, so that the viewer goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Condition, Thread

Report = Callable[[str, int, int], None]
"""Tells what is being done, how much of it is done and how much there is; raises ``Cancelled`` if it is to stop."""


class Cancelled(Exception):
    """The user has had enough of it."""


class Busy(RuntimeError):
    """Something else is being done."""


@dataclass(frozen=True)
class Work:
    """What the worker is doing."""

    name: str
    stage: str = ""
    done: int = 0
    total: int = 0
    """0 while that is not known."""

    cancelled: bool = False

    @property
    def share(self) -> float:
        """How much of the stage is done, from 0 to 1."""
        return self.done / self.total if self.total else 0.0


class Worker:
    """Does one thing after the other.

    A long job is begun only if no other is running. Small ones wait for their turn; of those that wait for the same
    thing only the last one is done.
    """

    def __init__(self, changed: Callable[[Work | None], None], failed: Callable[[Exception], None]) -> None:
        """``changed`` hears of every step of a long job, and of its end; ``failed`` of what went wrong."""
        self._changed, self._failed = changed, failed
        self._long: tuple[Work, Callable[[Report], None]] | None = None
        self._soon: dict[str, Callable[[], None]] = {}
        self._work: Work | None = None
        self._wake = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="splatseg-worker", daemon=True)
        self._thread.start()

    @property
    def work(self) -> Work | None:
        """The long job that is running or about to."""
        return self._work

    def start(self, name: str, job: Callable[[Report], None]) -> None:
        """Begin a long job, or raise ``Busy``."""
        with self._wake:
            if self._closed:
                return
            if self._work is not None:
                raise Busy(f"{self._work.name} is still going on; wait for it, or cancel it")
            self._work = Work(name)
            self._long = (self._work, job)
            self._wake.notify_all()
        self._changed(self._work)

    def soon(self, what: str, job: Callable[[], None]) -> None:
        """Do something small when nothing else is running, in place of what was to be done for the same purpose."""
        with self._wake:
            if not self._closed:
                self._soon[what] = job
                self._wake.notify_all()

    def waits_for(self, what: str) -> bool:
        """Whether something small is still to be done for this purpose."""
        with self._wake:
            return what in self._soon

    def cancel(self) -> None:
        """Have the long job stop at its next step."""
        with self._wake:
            if self._work is None:
                return
            self._work = replace(self._work, cancelled=True)
        self._changed(self._work)

    def close(self, wait: float = 0.0) -> None:
        """Stop as soon as possible, and take on nothing more; waits so many seconds for the end of what is done."""
        with self._wake:
            self._closed = True
            self._soon.clear()
            if self._work is not None:
                self._work = replace(self._work, cancelled=True)
            self._wake.notify_all()
        if wait:
            self._thread.join(wait)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._long or self._soon)
                if self._closed:
                    return
                long, self._long = self._long, None
                soon = None if long else self._soon.pop(next(iter(self._soon)))
            if long is not None:
                self._outlive(partial(long[1], self._report))
                with self._wake:
                    self._work = None
                self._outlive(partial(self._changed, None))
            elif soon is not None:
                self._outlive(soon)

    def _outlive(self, action: Callable[[], None]) -> None:
        """What people click at can fail in every way, and so can telling them: the worker goes on."""
        try:
            action()
        except Cancelled:
            pass
        except Exception as error:
            with suppress(Exception):
                self._failed(error)

    def _report(self, stage: str, done: int, total: int) -> None:
        with self._wake:
            if self._work is None or self._work.cancelled:
                raise Cancelled
            self._work = replace(self._work, stage=stage, done=done, total=total)
        self._changed(self._work)
