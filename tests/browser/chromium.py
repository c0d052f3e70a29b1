"""The browser: Chromium without a window, drawing in software."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")

_FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--use-gl=angle",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def installed_chromium() -> str | None:
    """The path of the first that is there."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def started_chromium() -> Iterator[Browser]:
    """A browser that ends with the block. Within it no asyncio loop can be run: Playwright has its own."""
    path = installed_chromium()
    if path is None:
        raise FileNotFoundError(f"none of {', '.join(_NAMES)} is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
