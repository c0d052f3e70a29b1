"""From a click in the scene to an object on disk, in ns-viewer on the bundled capture, which nobody has segmented.

All tests work on one viewer: each finds what those before it have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from splatseg_ns.demo.bundle import bundled_capture
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.workspace import EXPORTS
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import View, read_ply
from tests.browser.areas import SEEN, UNSEEN, area_of, change, changed_share
from tests.browser.demo_runs import HERE, inside_of
from tests.browser.panel import LONG, Panel
from tests.browser.viewer_page import Spot, opened_page
from tests.plugin.viewer_process import ViewerProcess

pytestmark = pytest.mark.slow


TEDDY, BREAD = 2, 6
"""In the true masks."""

THERE = bundled_capture().view("frame_00027")


def likeness(run: Run, name: str, id: int, views: Iterable[View]) -> float:
    """How well an object on disk fits its true masks: the mean IoU."""
    splats = run.splats()
    rows = run.store.load(splats).rows(name).float()[:, None]
    found = []
    for view in views:
        mask = rasterizer_for("cpu").render(splats, view.camera, features=rows).colors[..., 0] > 0.5
        truth = view.label_map() == id
        found.append(float((mask & truth).sum() / (mask | truth).sum()))
    return float(np.mean(found))


def is_green(canvas: np.ndarray, spot: Spot) -> bool:
    """As what was clicked on is marked."""
    red, green, blue = canvas[int(spot.y), int(spot.x)].astype(int)
    return green > max(red, blue) + 40


@pytest.fixture(scope="module")
def other(browser: Browser, viewer: ViewerProcess) -> Iterator[Panel]:
    """A second page, of somebody else."""
    with opened_page(browser, viewer.address) as page:
        page.show_scene()
        yield Panel(page)


@pytest.fixture(scope="module")
def teddy(panel: Panel) -> str:
    """The name of an object that was made by one click."""
    panel.use_mouse("click on it")
    panel.point_at(HERE, TEDDY)
    panel.make("teddy")
    return "teddy"


def test_a_click_shows_a_marker_and_what_the_segmenter_sees(panel: Panel):
    page, plain = panel.page, panel.page.canvas()
    teddy, elsewhere = area_of(HERE, TEDDY, plain, -6), ~area_of(HERE, TEDDY, plain, 24)
    panel.use_mouse("click on it")
    assert panel.output.text == "rgb"
    spot = panel.point_at(HERE, TEDDY)
    panel.until("the mask to be drawn", lambda: change(plain, page.canvas(), teddy) > SEEN)
    page.wait_until_still()
    shown = page.canvas()
    assert change(plain, shown, elsewhere) < UNSEEN
    assert is_green(shown, spot) and not is_green(plain, spot)
    assert panel.output.text == "objects"
    panel.select.button("Clear").press()
    panel.until("the mask to go", lambda: change(plain, page.canvas(), teddy) < UNSEEN)
    panel.until("the marker to go", lambda: not is_green(page.canvas(), spot))
    assert change(plain, page.canvas()) < UNSEEN
    assert panel.output.text == "rgb" and "mask of" not in panel.select.text


def test_a_box_is_drawn_and_corrected(panel: Panel):
    page, plain = panel.page, panel.page.canvas()
    teddy = area_of(HERE, TEDDY, plain, -6)
    rows, columns = np.nonzero(area_of(HERE, TEDDY, plain, 8))
    panel.use_mouse("draw a box")
    page.drag(Spot(float(columns.min()), float(rows.min())), Spot(float(columns.max()), float(rows.max())))
    panel.until("the mask to be drawn", lambda: change(plain, page.canvas(), teddy) > SEEN)
    assert panel.select.dropdown("Mouse").text == "click on it"
    page.wait_until_still()
    whole = changed_share(plain, page.canvas(), teddy)
    assert whole > 0.8
    panel.use_mouse("click off it")
    page.click(page.spot_of(HERE, *inside_of(HERE, TEDDY)))
    panel.until("less of it", lambda: changed_share(plain, page.canvas(), teddy) < 0.8 * whole)
    panel.select.button("Clear").press()
    panel.until("the mask and the box to go", lambda: change(plain, page.canvas()) < UNSEEN)


def test_an_object_in_the_making_can_be_given_up(panel: Panel, shown_run: Run):
    panel.use_mouse("click on it")
    panel.point_at(HERE, TEDDY)
    panel.start_making("nothing")
    panel.until("some views to be asked", lambda: max(panel.page.panel.progress()) > 0)
    panel.folder.button("Cancel").press()
    panel.until_idle()
    assert panel.names == ["background"] and panel.said() == []
    assert not shown_run.store.exists()
    # What was pointed at is still there, to be made after all.
    assert "mask of" in panel.select.text
    panel.select.button("Clear").press()
    panel.until("what was pointed at to go", lambda: "ready" in panel.select.text)


def test_a_click_becomes_an_object(panel: Panel, teddy: str, shown_run: Run):
    assert panel.names == [teddy, "background"] and panel.selected_name == teddy
    assert panel.said() == [f"teddy: {panel.counts[teddy]} Gaussians"]
    document = shown_run.store.load(shown_run.splats())
    assert [entry.name for entry in document.objects] == [teddy]
    assert document.counts() == {document.ids[0]: panel.counts[teddy]}
    assert likeness(shown_run, teddy, TEDDY, bundled_capture().with_split("test")) > 0.7


def test_what_is_hidden_leaves_the_picture_and_comes_back(panel: Panel, teddy: str, shown_run: Run):
    page = panel.page
    panel.deselect()
    panel.until("the usual picture", lambda: panel.output.text == "rgb")
    page.wait_until_still()
    before = page.canvas()
    inside, elsewhere = area_of(HERE, TEDDY, before, -6), ~area_of(HERE, TEDDY, before, 24)
    panel.hide(teddy)
    panel.until("the teddy to go", lambda: change(before, page.canvas(), inside) > SEEN)
    page.wait_until_still()
    assert change(before, page.canvas(), elsewhere) < UNSEEN
    assert panel.output.text == "objects"
    assert shown_run.store.load().hidden_names() == (teddy,)
    panel.undo()
    panel.until("the teddy to come back", lambda: change(before, page.canvas(), inside) < UNSEEN)
    assert panel.in_row(teddy, "Hide").is_there and panel.output.text == "rgb"
    assert shown_run.store.load().hidden_names() == ()


def test_a_reloaded_page_finds_all_again(panel: Panel, teddy: str, shown_run: Run):
    page = panel.page
    panel.choose(teddy)
    panel.selected.text_field("New name").write("the bear")
    panel.selected.button("Rename").press()
    panel.until("the new name", lambda: panel.names == ["the bear", "background"])
    panel.hide("the bear")
    page.wait_until_still()
    before, counts = page.canvas(), panel.counts
    page.reload()
    page.look_from(HERE)
    assert panel.counts == counts and panel.selected_name == "the bear"
    assert panel.in_row("the bear", "Show").is_there
    panel.until("the picture from before", lambda: change(before, page.canvas()) < UNSEEN)
    document = shown_run.store.load()
    assert document.names == ["the bear"] and document.hidden_names() == ("the bear",)
    assert [entry.operation for entry in document.history][-2:] == ["rename", "hide"]
    for _ in range(2):
        panel.undo()
    panel.until("the old name", lambda: panel.names == [teddy, "background"])
    assert shown_run.store.load().names == [teddy]


def test_an_export_is_downloaded_and_lies_in_the_run(panel: Panel, teddy: str, shown_run: Run):
    panel.choose(teddy)
    panel.files.open()
    with panel.page.downloading() as downloads:
        panel.files.button_in_group("Export .ply", "Selected").press()
    file = shown_run.folder / EXPORTS / "teddy.ply"
    assert downloads[0].suggested_filename == file.name
    assert downloads[0].path().read_bytes() == file.read_bytes()
    with np.load(file.with_name("labels.npz")) as labels:
        count = int((labels["labels"] == labels["ids"][0]).sum())
    assert len(read_ply(file)) == count
    assert 0.5 * panel.counts[teddy] < count <= panel.counts[teddy]


def test_what_one_page_hides_is_hidden_in_the_other(panel: Panel, teddy: str, other: Panel):
    page = panel.page
    panel.deselect()
    page.wait_until_still()
    before = page.canvas()
    inside = area_of(HERE, TEDDY, before, -6)
    other.hide(teddy)
    panel.until("the list to say so", lambda: panel.in_row(teddy, "Show").is_there)
    panel.until("the teddy to go", lambda: change(before, page.canvas(), inside) > SEEN)
    other.undo()
    panel.until("the teddy to come back", lambda: change(before, page.canvas(), inside) < UNSEEN)


def test_a_page_may_be_closed_while_its_object_is_made(panel: Panel, other: Panel, shown_run: Run):
    """And what was clicked there counts from there, whatever the others look at."""
    column, row = inside_of(THERE, BREAD)
    labels = HERE.label_map()
    assert labels is not None and int(labels[row, column]) != BREAD
    other.page.look_from(THERE)
    other.use_mouse("click on it")
    before = other.page.canvas()
    other.point_at(THERE, BREAD)
    bread = area_of(THERE, BREAD, before, -3)
    other.until("the mask to be drawn", lambda: change(before, other.page.canvas(), bread) > SEEN)
    other.start_making("bread")
    other.until("some views to be asked", lambda: max(other.page.panel.progress()) > 0)
    assert panel.folder.button("Cancel").is_there
    other.page.page.close()
    panel.until("the bread", lambda: "bread" in panel.names, LONG)
    assert likeness(shown_run, "bread", BREAD, bundled_capture().with_split("test")) > 0.7
