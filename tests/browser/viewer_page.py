"""A viewer in a browser: its scene, its camera and its panel."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from PIL import Image
from playwright.sync_api import Browser, Download, Locator, Page, Route
from viser.transforms import SO3

from splatseg_ns.scene import Camera, View
from tests.browser.controls import Controls, Notification
from tests.browser.waiting import until

SIZE = (1120, 652)
"""Of the window, in pixels: panel and title leave 800 x 600, which has the shape of the bundled pictures."""

FRAME_PAUSE = 100
"""Milliseconds."""

_SCRIPT = (Path(__file__).parent / "page_script.js").read_text()

_QUIET, _FRAMES = 0.6, 3
"""Seconds and frames without a new picture. The viewer sends those that it still owes every 0.2 seconds."""

_BLUR = r"Math\.max\(\w+\*\.5,38\)"
"""Frames per second, in viser's client. With fewer it draws fewer pixels, a fifth in width and height in the end."""

_NO_PICTURE = "<svg xmlns='http://www.w3.org/2000/svg'/>"

_READ_NOTIFICATIONS = """
    entries => entries.map(entry => ["title", "description"].map(
        part => entry.querySelector(`.mantine-Notification-${part}`)?.innerText ?? ""))
"""


class Spot(NamedTuple):
    """A place in the scene's part of the window, in pixels from its upper left corner."""

    x: float
    y: float


@dataclass(frozen=True)
class ViewerPage:
    """A page that shows a viewer."""

    page: Page
    console: list[str] = field(default_factory=list)
    """What the page wrote there; viser's client itself writes an error or two."""
    crashes: list[str] = field(default_factory=list)
    """Errors in the page that nothing has caught."""

    # The panel.

    @property
    def panel(self) -> Controls:
        """All of it, whichever tab is in front."""
        return Controls(self.page.locator("body"))

    @property
    def window(self) -> Controls:
        """The newest one that has come up over the page."""
        return Controls(self.page.get_by_role("dialog").last)

    @property
    def is_connected(self) -> bool:
        """To a viewer that lives."""
        return self.page.get_by_text("Connected", exact=True).count() > 0

    def wait_until_connected(self, timeout: float = 60.0) -> None:
        """Wait for a viewer that answers and knows of the page, and for the panel that it describes."""
        # What the client itself has in the panel folds away when there is something of the viewer's.
        own = self.page.get_by_text("Export Canvas", exact=True)
        until(self.page, "the viewer's panel", lambda: self._state()["panel"] and not own.is_visible(), timeout)

    def notifications(self) -> list[Notification]:
        """All that are up, the oldest first."""
        found = self.page.locator(".mantine-Notification-root").evaluate_all(_READ_NOTIFICATIONS)
        return [Notification(*parts) for parts in found]

    @contextmanager
    def downloading(self, timeout: float = 60.0) -> Iterator[list[Download]]:
        """Holds what the browser has downloaded once the block has ended."""
        downloads: list[Download] = []
        with self.page.expect_download(timeout=1000 * timeout) as expected:
            yield downloads
        downloads.append(expected.value)

    # The scene.

    def show_scene(self) -> None:
        """Wait until all of the page is there, with a picture."""
        self.wait_until_connected()
        self.wait_until_still()

    def wait_until_still(self, timeout: float = 60.0) -> None:
        """Wait for the best picture that the viewer has of what the camera sees."""
        until(self.page, "a picture that stays", self._is_still, timeout)

    @contextmanager
    def redrawn(self, timeout: float = 60.0) -> Iterator[None]:
        """The block ends when something new has been drawn because of it, and is still."""
        before = self._state()["pictures"]
        yield
        until(self.page, "a new picture", lambda: self._state()["pictures"] > before, timeout)
        self.wait_until_still(timeout)

    def picture(self) -> np.ndarray:  # [h, w, 3] uint8
        """The newest picture from the viewer, before the browser has drawn anything into it."""
        return _decoded(self.page.evaluate("harness.pictureUrl()"))

    def canvas(self) -> np.ndarray:  # [H, W, 3] uint8
        """The scene as the browser shows it, markers and frames included, and nothing of the page."""
        return _decoded(self._canvas.evaluate("canvas => canvas.toDataURL()"))

    def screenshot(self, file: Path) -> Path:
        """All of the page as a PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)
        return file

    def camera(self, width: int, height: int) -> Camera:
        """Where the scene is seen from, in the frame of the splats, for a picture of this size."""
        told = self._state()["camera"]
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.from_numpy(SO3(np.array(told["wxyz"])).as_matrix())
        pose[:3, 3] = torch.tensor(told["position"], dtype=torch.float64) / VISER_NERFSTUDIO_SCALE_RATIO
        focal = height / 2 / math.tan(told["fov"] / 2)
        K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        return Camera(torch.linalg.inv(pose).float(), K, width, height)

    def look_from(self, view: View) -> None:
        """Put the camera where a picture was taken, with as much to be seen above and below the middle."""
        forward, up = view.viewmat[2, :3], -view.viewmat[1, :3]
        position = view.camera.position
        placed = {
            "position": (VISER_NERFSTUDIO_SCALE_RATIO * position).tolist(),
            "look_at": (VISER_NERFSTUDIO_SCALE_RATIO * (position + forward)).tolist(),
            "up": up.tolist(),
            "fov": 2 * math.atan(view.height / 2 / view.lens.fy),
        }
        with self.redrawn():
            self.page.evaluate("camera => harness.setCamera(camera)", placed)

    def spot_of(self, view: View, column: float, row: float) -> Spot:
        """Where a pixel of a picture is shown when the scene is seen from where it was taken."""
        box = self._box()
        focal = box["height"] / 2 / math.tan(self._state()["camera"]["fov"] / 2)
        right, down = (column + 0.5 - view.lens.cx) / view.lens.fx, (row + 0.5 - view.lens.cy) / view.lens.fy
        return Spot(box["width"] / 2 + focal * right, box["height"] / 2 + focal * down)

    @property
    def scene_size(self) -> tuple[float, float]:
        """Width and height of the scene's part of the window, in pixels."""
        box = self._box()
        return box["width"], box["height"]

    @property
    def takes_clicks(self) -> bool:
        """Whether clicks and boxes in the scene go to the viewer."""
        return self._canvas.evaluate("canvas => canvas.style.cursor") == "pointer"

    def click(self, spot: Spot) -> None:
        """Click into the scene."""
        box = self._box()
        self.page.mouse.click(box["x"] + spot.x, box["y"] + spot.y, delay=50)

    def drag(self, start: Spot, end: Spot) -> None:
        """Draw a box in the scene, or turn it, as the viewer has it."""
        box = self._box()
        self.page.mouse.move(box["x"] + start.x, box["y"] + start.y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end.x, box["y"] + end.y, steps=5)
        self.page.mouse.up()

    def reload(self) -> None:
        """As if the user had reloaded the page; the camera is back where it starts."""
        self.page.reload()
        self.show_scene()

    def _is_still(self) -> bool:
        state = self._state()
        camera, picture = state["camera"], state["picture"]
        if camera is None or picture is None:
            return False
        box = self._box()
        shapes = (box["width"] / box["height"], camera["aspect"], picture["width"] / picture["height"])
        whole = max(picture["width"], picture["height"]) >= self.panel.number("Max res").value
        in_shape = max(shapes) - min(shapes) < 0.02
        return whole and in_shape and picture["age"] > _QUIET and picture["frames"] >= _FRAMES

    def _state(self) -> dict[str, Any]:
        return self.page.evaluate("harness.state()")

    def _box(self) -> Any:
        return self._canvas.bounding_box()

    @property
    def _canvas(self) -> Locator:
        # There is another, for drawing boxes; this one is three.js's.
        return self.page.locator("canvas[data-engine]")


@contextmanager
def opened_page(
    browser: Browser, address: str, size: tuple[int, int] = SIZE, frame_pause: int = FRAME_PAUSE
) -> Iterator[ViewerPage]:
    """A page of its own, which has nothing that other pages have stored, on its way to the viewer."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    try:
        context.route("**/*", _serve)
        context.add_init_script(_SCRIPT.replace("FRAME_PAUSE", str(frame_pause)))
        viewer = ViewerPage(context.new_page())
        viewer.page.on("console", lambda message: viewer.console.append(f"{message.type}: {message.text}"))
        viewer.page.on("pageerror", lambda error: viewer.crashes.append(str(error)))
        viewer.page.goto(address)
        yield viewer
    finally:
        context.close()


def _serve(route: Route) -> None:
    """All that is the viewer's own, as it is but for one constant: software draws slowly, and shall stay sharp."""
    address = route.request.url
    if not address.startswith("http://127.0.0.1"):
        if route.request.resource_type == "image":
            route.fulfill(content_type="image/svg+xml", body=_NO_PICTURE)
        else:
            route.abort()
    elif re.search(r"/assets/index-[^/]*\.js$", address):
        response = route.fetch()
        body, changed = re.subn(_BLUR, "0", response.text())
        assert changed == 1, "viser's client is another than 0.2.7's: look for its PerformanceMonitor"
        route.fulfill(response=response, body=body)
    else:
        route.continue_()


def _decoded(url: str) -> np.ndarray:  # [H, W, 3] uint8
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
