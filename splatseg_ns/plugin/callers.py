"""Who is asking? Nerfstudio does not tell plugins, so the call stack has to."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


def config_file_being_loaded() -> Path | None:
    """The config.yml that nerfstudio's ``eval_setup`` is about to turn into a pipeline, if it is.

    All of ns-viewer, ns-eval, ns-render and ns-export go through there. They hand on what is in the file but not where
    it lies, and look for its checkpoint where the run was trained, relative to the working directory.
    """
    for frame in _callers("nerfstudio.utils.eval_utils", "eval_setup"):
        return Path(frame.f_locals["config_path"])
    return None


def is_exporting_splats() -> bool:
    """Whether this is ``ns-export gaussian-splat``."""
    return any(
        type(frame.f_locals.get("self")).__name__ == "ExportGaussianSplat"
        for frame in _callers("nerfstudio.scripts.exporter", "main")
    )


def _callers(module: str, function: str) -> Iterator[FrameType]:
    """The frames of a function among those that led here."""
    frame = inspect.currentframe()
    while frame is not None:
        # Other than __name__, the spec has the module's name under ``python -m`` too.
        spec = frame.f_globals.get("__spec__")
        if frame.f_code.co_name == function and spec is not None and spec.name == module:
            yield frame
        frame = frame.f_back
