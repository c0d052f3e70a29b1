"""Nerfstudio takes seconds to be loaded, so only what needs it waits for it."""

from __future__ import annotations

import warnings

from splatseg_ns.cli.console import progress


def load_nerfstudio() -> None:
    """Import what runs are read with, behind a bar and without the warnings of libraries about their own code."""
    with progress("Nerfstudio"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import splatseg_ns.plugin.runs  # noqa: F401
