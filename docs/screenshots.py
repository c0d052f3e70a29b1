"""The pictures of the viewer in these pages (``make screenshots``), taken of a real one in a real browser."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from splatseg_ns.demo.bundle import MASKS, bundled_capture
from splatseg_ns.masks import LabelFolder
from tests.browser.chromium import started_chromium
from tests.browser.demo_runs import demo_document, inside_of, viewer_of, write_demo_run
from tests.browser.viewer_page import ViewerPage, opened_page
from tests.browser.waiting import until
from tests.plugin.viewer_process import started_viewer

IMAGES = Path(__file__).parent / "images"

_SIZE = (1280, 800)
_VIEW = "frame_00021"
_TEDDY = 2
_QUALITY = 88


def main() -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory() as name, started_chromium() as browser:
        for work, document in ((_click, None), (_hide, demo_document())):
            folder = Path(name, work.__name__)
            run = write_demo_run(folder / "run", document)
            with (
                started_viewer(*viewer_of(run), folder=folder) as viewer,
                opened_page(browser, viewer.address, _SIZE) as page,
            ):
                page.show_scene()
                page.look_from(bundled_capture().view(_VIEW))
                work(page)


def _click(page: ViewerPage) -> None:
    """From a click to an object."""
    select = page.panel.folder("Select")
    view = LabelFolder.open(MASKS, bundled_capture().names).attach(bundled_capture()).view(_VIEW)
    select.dropdown("Mouse").choose("click on it")
    until(page.page, "the picture to be read", lambda: "ready" in select.text)
    page.click(page.spot_of(view, *inside_of(view, _TEDDY)))
    until(page.page, "a mask", lambda: "mask of" in select.text)
    select.text_field("Name").write("teddy")
    page.wait_until_still()
    _save(page, "viewer-click")
    select.button("Make object").press()
    until(page.page, "the object", lambda: "teddy" in page.panel.folder("Objects").text, 300.0)
    page.wait_until_still()
    page.panel.folder("Select").close()
    _save(page, "viewer-object")


def _hide(page: ViewerPage) -> None:
    """All but two objects hidden, a shadow of the others left."""
    page.panel.folder("Select").close()
    objects = page.panel.folder("Objects")
    for label, word in (("All", "Hide"), ("mixer", "Show"), ("coffee_cup", "Show"), ("background", "Hide")):
        with page.redrawn():
            objects.button_in_group(label, word).press()
        if label == "coffee_cup":
            objects.button_in_group("Page", ">").press()
    with page.redrawn():
        objects.number("Ghosts, %").set(15)
    _save(page, "viewer-hidden")


def _save(page: ViewerPage, name: str) -> None:
    """As a JPEG, which is small enough for a page."""
    shot = page.screenshot(IMAGES / f"{name}.png")
    file = shot.with_suffix(".jpg")
    with Image.open(shot) as picture:
        picture.convert("RGB").save(file, quality=_QUALITY)
    shot.unlink()
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
