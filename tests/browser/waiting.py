"""Waiting for what a page will show."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from playwright.sync_api import Page

T = TypeVar("T")

_EVERY = 50.0
"""Milliseconds."""


def until(page: Page, what: str, condition: Callable[[], T], timeout: float = 60.0) -> T:
    """Let the page go on until a condition holds, and give what it gave."""
    end = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        page.wait_for_timeout(_EVERY)
    return found
