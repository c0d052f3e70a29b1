"""Nerfstudio's commands that show a viewer, as real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.plugin.examples import environment_of_commands, script


@dataclass(frozen=True)
class ViewerProcess:
    """A command whose viewer has answered."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def page(self) -> str:
        """What a browser gets first."""
        with urlopen(self.address, timeout=10) as page:
            return page.read().decode()

    def kill(self) -> None:
        """As kill -9 does, or a machine that runs out of memory: the process and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)


@contextmanager
def started_viewer(*words: str | Path, folder: Path, timeout: float = 120.0) -> Iterator[ViewerProcess]:
    """The viewer of a command that is run in a folder, once it answers; the command ends with the block."""
    port = free_port()
    log = folder / "viewer.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            script([*words, "--viewer.websocket-port", str(port)]), cwd=folder, env=environment_of_commands(),
            stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    viewer = ViewerProcess(process, f"http://127.0.0.1:{port}", log)
    try:
        _wait_for_answer(viewer, timeout)
        yield viewer
    finally:
        viewer.kill()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_for_answer(viewer: ViewerProcess, timeout: float) -> None:
    """Nobody listens until the run is loaded."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        assert viewer.process.poll() is None, viewer.log.read_text()
        with suppress(OSError):
            viewer.page()
            return
        time.sleep(0.2)
    raise TimeoutError(viewer.log.read_text())
