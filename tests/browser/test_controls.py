"""The harness itself: every kind of element of viser's panel is found by its words, and does what users make it do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import viser
from playwright.sync_api import Browser

from tests.browser.controls import Notification
from tests.browser.viewer_page import Spot, ViewerPage, opened_page
from tests.browser.waiting import until
from tests.plugin.viewer_process import free_port


@dataclass
class Panel:
    """A panel with one element of each kind, and what has come of them."""

    server: viser.ViserServer
    told: list[tuple[str, Any]] = field(default_factory=list)

    def build(self) -> None:
        gui = self.server.gui
        with gui.add_tab_group().add_tab("Control"), gui.add_folder("Segmentation"):
            with gui.add_folder("Select"):
                self._tell("Name", gui.add_text("Name", "nothing"))
                self._tell("Bias", gui.add_slider("Bias", min=-1.0, max=1.0, step=0.01, initial_value=0.0))
                self._tell("Seeds", gui.add_number("Seeds", 3, min=0, max=9))
                self._tell("Output", gui.add_dropdown("Output", ["rgb", "objects", "object_mask"], initial_value="rgb"))
                self._tell("Colour", gui.add_rgb("Colour", (255, 0, 0)))
                self._tell("Mode", gui.add_button_group("Mode", ["Positive", "Negative"]))
            with gui.add_folder("Objects", expand_by_default=False):
                self._tell("teddy bear (40)", gui.add_checkbox("teddy bear (40)", True, hint="seen"))
                self._tell("Delete", gui.add_button("Delete"))
            self.hidden = gui.add_button("Cancel", visible=False)
            self.progress = gui.add_progress_bar(12.5)

    def _tell(self, label: str, handle: Any) -> None:
        is_button = isinstance(handle, viser.GuiButtonHandle | viser.GuiButtonGroupHandle)
        when = handle.on_click if is_button else handle.on_update
        when(lambda _: self.told.append((label, handle.value)))


@pytest.fixture
def panel() -> Iterator[Panel]:
    server = viser.ViserServer(host="127.0.0.1", port=free_port(), verbose=False)
    panel = Panel(server)
    panel.build()
    yield panel
    server.stop()


@pytest.fixture
def page(browser: Browser, panel: Panel) -> Iterator[ViewerPage]:
    with opened_page(browser, f"http://127.0.0.1:{panel.server.get_port()}") as page:
        page.wait_until_connected()
        yield page


def test_what_is_written_and_chosen_arrives(page: ViewerPage, panel: Panel):
    select = page.panel.folder("Segmentation").folder("Select")
    select.text_field("Name").write("mug <b>&")
    select.number("Bias").set(-0.25)
    select.number("Seeds").set(7)
    select.dropdown("Output").choose("object_mask")
    select.color("Colour").write("#102030")
    select.button_in_group("Mode", "Negative").press()
    expected = [
        ("Name", "mug <b>&"),
        ("Bias", -0.25),
        ("Seeds", 7),
        ("Output", "object_mask"),
        ("Colour", (16, 32, 48)),
        ("Mode", "Negative"),
    ]
    until(page.page, "all to arrive", lambda: len(panel.told) >= len(expected))
    assert panel.told == expected
    assert select.labels() == ["Name", "Bias", "Seeds", "Output", "Colour", "Mode"]
    assert select.dropdown("Output").options() == ["rgb", "objects", "object_mask"]
    assert (select.text_field("Name").text, select.number("Bias").value) == ("mug <b>&", -0.25)
    assert (select.dropdown("Output").text, select.color("Colour").text) == ("object_mask", "#102030")


def test_folders_open_and_close(page: ViewerPage, panel: Panel):
    segmentation = page.panel.tab("Control").folder("Segmentation")
    objects = segmentation.folder("Objects")
    assert segmentation.is_open and not objects.is_open
    assert not objects.button("Delete").is_there
    box = objects.open().checkbox("teddy bear (40)")
    assert box.is_checked
    box.set(False)
    objects.button("Delete").press()
    until(page.page, "both to arrive", lambda: len(panel.told) == 2)
    assert panel.told == [("teddy bear (40)", False), ("Delete", True)]
    assert not objects.close().is_open and not box.is_there


def test_what_the_viewer_shows_and_hides_is_seen(page: ViewerPage, panel: Panel):
    assert not page.panel.button("Cancel").is_there
    assert page.panel.progress() == [12.5]
    panel.hidden.visible, panel.hidden.disabled, panel.progress.value = True, True, 75
    until(page.page, "the button", lambda: page.panel.button("Cancel").is_there)
    assert not page.panel.button("Cancel").is_enabled
    until(page.page, "the progress", lambda: page.panel.progress() == [75.0])


def test_windows_notifications_and_downloads_come_up(page: ViewerPage, panel: Panel):
    (client,) = panel.server.get_clients().values()
    client.add_notification("Done", "8 objects", auto_close=False)
    until(page.page, "the notification", page.notifications)
    assert page.notifications() == [Notification("Done", "8 objects")]
    modal = panel.server.gui.add_modal("Extract")
    with modal:
        panel.server.gui.add_button("Close").on_click(lambda _: modal.close())
    until(page.page, "the window", lambda: page.window.button("Close").is_there)
    assert page.window.text.startswith("Extract")
    page.window.button("Close").press()
    until(page.page, "the window to go", lambda: not page.window.button("Close").is_there)
    with page.downloading() as downloads:
        client.send_file_download("mug.ply", b"ply" * 100_000)
    assert downloads[0].suggested_filename == "mug.ply"
    assert downloads[0].path().read_bytes() == b"ply" * 100_000


def test_clicks_and_boxes_in_the_scene_arrive(page: ViewerPage, panel: Panel):
    arrived: list[Any] = []
    scene = panel.server.scene
    scene.on_pointer_event("click")(lambda event: arrived.append(event.screen_pos))
    until(page.page, "the page to know", lambda: page.takes_clicks)
    width, height = page.scene_size
    page.click(Spot(width / 4, height / 2))
    until(page.page, "the click", lambda: arrived)
    assert arrived[0][0] == pytest.approx((0.25, 0.5), abs=0.002)
    scene.remove_pointer_callback()
    until(page.page, "the page to know", lambda: not page.takes_clicks)
    scene.on_pointer_event("rect-select")(lambda event: arrived.append(event.screen_pos))
    until(page.page, "the page to know", lambda: page.takes_clicks)
    page.drag(Spot(width / 8, height / 4), Spot(width / 2, height * 3 / 4))
    until(page.page, "the box", lambda: len(arrived) == 2)
    assert sum(arrived[1], ()) == pytest.approx((0.125, 0.25, 0.5, 0.75), abs=0.002)
