"""The pictures of the viewer in these pages (``make screenshots``), taken of a real one in a real browser."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from splatseg_ns.demo.bundle import bundled_capture
from tests.browser.chromium import installed_chromium, started_chromium
from tests.browser.demo_runs import demo_document, write_demo_run
from tests.browser.viewer_page import ViewerPage, opened_page
from tests.plugin.viewer_process import started_viewer

IMAGES = Path(__file__).parent / "images"

_SIZE = (1280, 800)
_COLORS = 256


def main() -> None:
    """Take them all."""
    chromium = installed_chromium()
    if chromium is None:
        raise SystemExit("there is no Chromium to take pictures of; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = write_demo_run(folder / "run", demo_document())
        words = ("ns-viewer", "--load-config", run.folder / "config.yml")
        with (
            started_viewer(*words, folder=folder) as viewer,
            started_chromium(chromium) as browser,
            opened_page(browser, viewer.address, _SIZE) as page,
        ):
            page.show_scene()
            page.look_from(bundled_capture().view("frame_00007"))
            _save(page, "viewer-open")


def _save(page: ViewerPage, name: str) -> None:
    """A PNG with a palette, which is small enough for a page."""
    file = page.screenshot(IMAGES / f"{name}.png")
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
