"""What commands print: tables and lines on standard output, progress bars on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from splatseg_ns.lift import Progress as Report

_PIPE_WIDTH = 160
"""Characters per line where nobody looks: nothing is to be cut off."""


def output() -> Console:
    """Standard output as it is now; names with brackets are no markup."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def say(line: str) -> None:
    """One line, as it is."""
    output().print(line, soft_wrap=True)


def table(title: str, *columns: str) -> Table:
    """An empty table; columns after the first two are numbers."""
    made = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place == 1 else "right", no_wrap=True)
    return made


def percent(score: float | None) -> str:
    """A share as a table shows it."""
    return "-" if score is None else f"{100 * score:.2f}"


@contextmanager
def progress(what: str, quiet: bool = False) -> Iterator[Report]:
    """A bar that is told what is done of how much; it goes when the block ends."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # In a log a bar that has gone leaves an empty line.
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


class Stopwatch:
    """The seconds of each stage of a command."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count a block for a stage."""
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    @contextmanager
    def stages(self) -> Iterator[Callable[[str, int, int], None]]:
        """What is told of a stage, what is done and of how much; each has a bar, until the next one begins."""
        bars: dict[str, Report] = {}
        with ExitStack() as running:

            def report(stage: str, done: int, total: int) -> None:
                if stage not in bars:
                    running.close()
                    running.enter_context(self.stage(stage))
                    bars[stage] = running.enter_context(progress(stage))
                bars[stage](done, total)

            yield report

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())
