"""Nerfstudio's commands without the processes: loading Nerfstudio anew takes most of their time."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path
from unittest import mock

import torch


def call_command(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What a console script of this environment does, done here; what it raises comes out.

    That the scripts themselves start and end as they should is tested once for each by ``run_command``.
    """
    line = list(map(str, words))
    (script,) = entry_points(group="console_scripts", name=line[0])
    said, complained = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    with chdir(cwd), mock.patch.object(sys, "argv", line), redirect_stdout(said), redirect_stderr(complained):
        try:
            script.load()()
            code = 0
        except SystemExit as stopped:
            code = _exit_code(stopped)
        finally:
            torch.set_num_threads(threads)
    return subprocess.CompletedProcess(line, code, said.getvalue(), complained.getvalue())


def _exit_code(stopped: SystemExit) -> int:
    """As Python does it: what is no number is said on standard error."""
    if stopped.code is None or isinstance(stopped.code, int):
        return stopped.code or 0
    print(stopped.code, file=sys.stderr)
    return 1
