"""Long work beside the viewer: one at a time, told step by step, stopped on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Event

import pytest

from splatseg_ns.plugin.worker import Busy, Report, Work, Worker

PATIENCE = 10.0
"""Seconds after which something will never happen."""


@dataclass
class Listener:
    """Writes down what a worker says."""

    told: list[Work | None] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    deaf: bool = False
    """Fails at whatever it is told."""

    def changed(self, work: Work | None) -> None:
        self.told.append(work)
        self._refuse()

    def failed(self, error: Exception) -> None:
        self.failures.append(str(error))
        self._refuse()

    def _refuse(self) -> None:
        if self.deaf:
            raise RuntimeError("nobody is there any more")


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def worker(listener: Listener) -> Iterator[Worker]:
    made = Worker(listener.changed, listener.failed)
    yield made
    made.close()


class Gate:
    """A long job that goes on when it is told to, with a report before and one after."""

    def __init__(self) -> None:
        self.reached, self.opened, self.done = Event(), Event(), False

    def job(self, report: Report) -> None:
        report("before", 1, 2)
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        report("after", 2, 2)
        self.done = True


def held(worker: Worker) -> Gate:
    """The worker in the middle of a job."""
    gate = Gate()
    worker.start("Hold", gate.job)
    assert gate.reached.wait(PATIENCE)
    return gate


def wait_for(worker: Worker) -> None:
    """Until all is done that has been asked for."""
    over = Event()
    worker.soon("the end", over.set)
    assert over.wait(PATIENCE)


def test_a_long_job_is_followed_from_its_start_to_its_end(worker: Worker, listener: Listener):
    begun = Event()

    def job(report: Report) -> None:
        assert begun.wait(PATIENCE)
        for done in range(3):
            report("masks", done, 2)
        report("votes", 0, 0)

    worker.start("Label", job)
    assert worker.work == Work("Label")
    begun.set()
    wait_for(worker)
    steps = [("masks", 0, 2), ("masks", 1, 2), ("masks", 2, 2), ("votes", 0, 0)]
    assert listener.told == [Work("Label"), *(Work("Label", *step) for step in steps), None]
    assert [work.share for work in listener.told if work is not None] == [0.0, 0.0, 0.5, 1.0, 0.0]
    assert worker.work is None and listener.failures == []


def test_one_long_job_at_a_time(worker: Worker):
    gate = held(worker)
    with pytest.raises(Busy, match=r"^Hold is still going on; wait for it, or cancel it$"):
        worker.start("Another", lambda report: pytest.fail("it was begun all the same"))
    gate.opened.set()
    wait_for(worker)
    second = held(worker)
    second.opened.set()
    wait_for(worker)
    assert gate.done and second.done


def test_a_cancelled_job_stops_at_its_next_step_and_is_no_failure(worker: Worker, listener: Listener):
    gate = held(worker)
    worker.cancel()
    assert worker.work is not None and worker.work.cancelled
    with pytest.raises(Busy):
        worker.start("Another", gate.job)
    gate.opened.set()
    wait_for(worker)
    assert not gate.done and listener.failures == []
    assert listener.told[-2:] == [Work("Hold", "before", 1, 2, cancelled=True), None]
    # The next job knows nothing of that.
    again = held(worker)
    again.opened.set()
    wait_for(worker)
    assert again.done


def test_a_job_that_is_cancelled_before_its_first_step_does_nothing(worker: Worker):
    ready, steps = Event(), []

    def job(report: Report) -> None:
        assert ready.wait(PATIENCE)
        report("first", 0, 1)
        steps.append("first")

    worker.start("Late", job)
    worker.cancel()
    ready.set()
    wait_for(worker)
    assert steps == []


def test_cancelling_nothing_is_nothing(worker: Worker, listener: Listener):
    worker.cancel()
    wait_for(worker)
    assert listener.told == []


def test_what_goes_wrong_is_told_and_the_worker_goes_on(worker: Worker, listener: Listener):
    def broken(report: Report) -> None:
        report("masks", 1, 3)
        raise ValueError("no masks there")

    def broken_too() -> None:
        raise KeyError("nothing")

    worker.start("Label", broken)
    worker.soon("look", broken_too)
    wait_for(worker)
    assert listener.failures == ["no masks there", "'nothing'"]
    assert listener.told[-1] is None and worker.work is None
    gate = held(worker)
    gate.opened.set()
    wait_for(worker)
    assert gate.done


def test_listeners_that_fail_do_not_end_the_worker(worker: Worker, listener: Listener):
    gate = held(worker)
    listener.deaf = True
    gate.opened.set()
    wait_for(worker)
    # It could not be told how far it was, and nobody could be told of that.
    assert not gate.done and worker.work is None
    assert set(listener.failures) == {"nobody is there any more"}
    listener.deaf = False
    again = held(worker)
    again.opened.set()
    wait_for(worker)
    assert again.done


def test_of_small_jobs_for_one_purpose_only_the_last_is_done(worker: Worker):
    gate, done = held(worker), []

    def small(name: str) -> Callable[[], None]:
        return lambda: done.append(name)

    for purpose, name in (("gamma", "gamma 1"), ("look", "look 1"), ("gamma", "gamma 2"), ("gamma", "gamma 3")):
        worker.soon(purpose, small(name))
    assert worker.waits_for("gamma") and worker.waits_for("look") and not worker.waits_for("point")
    # They wait for the long job.
    assert done == []
    gate.opened.set()
    wait_for(worker)
    assert done == ["gamma 3", "look 1"] and not worker.waits_for("gamma")


def test_a_small_job_can_ask_for_itself_again(worker: Worker):
    done: list[int] = []

    def small() -> None:
        done.append(len(done))
        if len(done) < 3:
            worker.soon("look", small)

    worker.soon("look", small)
    while len(done) < 3:
        wait_for(worker)
    assert done == [0, 1, 2]


def test_small_jobs_do_not_count_as_work(worker: Worker, listener: Listener):
    seen: list[Work | None] = []
    worker.soon("look", lambda: seen.append(worker.work))
    wait_for(worker)
    assert seen == [None] and listener.told == []


def test_a_closed_worker_stops_and_takes_on_nothing_more(worker: Worker):
    gate, done = held(worker), []
    worker.soon("look", lambda: done.append("look"))
    worker.close()
    assert worker.work == replace(Work("Hold", "before", 1, 2), cancelled=True)
    gate.opened.set()
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive() and worker.work is None
    assert not gate.done and done == []
    worker.soon("look", lambda: done.append("look"))
    worker.start("Label", lambda report: done.append("label"))
    assert worker.work is None and not worker.waits_for("look")
    assert done == []
