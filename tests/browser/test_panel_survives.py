"""What happens to the work when pages come and go, and when the viewer is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from splatseg_ns.demo.bundle import bundled_capture
from splatseg_ns.plugin.runs import Run
from splatseg_ns.segmentation import Segmentation
from tests.browser.areas import area_of, change
from tests.browser.demo_runs import viewer_of, write_demo_run
from tests.browser.panel import LONG, Panel
from tests.browser.test_panel_clicks import BREAD, HERE, SEEN, THERE, likeness
from tests.browser.viewer_page import opened_page
from tests.plugin.viewer_process import ViewerProcess, started_viewer

pytestmark = pytest.mark.slow


def test_two_pages_share_the_work_and_each_points_from_its_own_camera(
    browser: Browser, viewer: ViewerProcess, shown_run: Run
):
    with opened_page(browser, viewer.address) as first:
        one = Panel(first)
        first.show_scene()
        first.look_from(HERE)
        with opened_page(browser, viewer.address) as second:
            other = Panel(second)
            second.show_scene()
            second.look_from(THERE)
            other.use_mouse("click on it")
            other.point_at(THERE, BREAD)
            one.until("the mask to be known to the first page too", lambda: "mask of" in one.select.text)
            other.start_making("bread")
        # The second page is closed in the middle of it.
        one.until("the object", lambda: "bread" in one.names, LONG)
        one.until_idle()
        assert likeness(shown_run, "bread", BREAD, bundled_capture().with_split("test")) > 0.7
        one.deselect()
        first.wait_until_still()
        before = first.canvas()
        with opened_page(browser, viewer.address) as third:
            late = Panel(third)
            third.wait_until_connected()
            late.until("the list", lambda: late.names == ["bread", "background"])
            late.hide("bread")
            one.until("the first page's list to follow", lambda: one.in_row("bread", "Show").is_there)
            bread = area_of(HERE, BREAD, before, -4)
            one.until("the first page's picture to follow", lambda: change(before, first.canvas(), bread) > SEEN)


def test_a_killed_viewer_leaves_a_whole_document(browser: Browser, document: Segmentation, tmp_path: Path):
    run = write_demo_run(tmp_path / "run", document)
    with started_viewer(*viewer_of(run), folder=tmp_path) as viewer, opened_page(browser, viewer.address) as page:
        panel = Panel(page)
        page.wait_until_connected()
        panel.until("the list", lambda: "mixer" in panel.names)
        panel.hide("mixer")
        panel.masks.open().button("Segment everything").press()
        panel.until("work to begin", lambda: panel.folder.button("Cancel").is_there)
        # Each of them writes the document; nobody waits for the last one.
        for _ in range(3):
            panel.undo()
            panel.redo()
        viewer.kill()
        panel.until("the page to notice", lambda: not page.is_connected)
    found = run.store.load(run.splats())
    assert found.names == document.names and found.counts() == document.counts()
    assert found.votes() is not None
    assert found.hidden_names() in ((), ("mixer",))
    with started_viewer(*viewer_of(run), folder=tmp_path) as viewer, opened_page(browser, viewer.address) as page:
        panel = Panel(page)
        page.wait_until_connected()
        panel.until("the list", lambda: "mixer" in panel.names)
        assert panel.in_row("mixer", "Show" if found.hidden_names() else "Hide").is_there
        panel.deselect()
        assert panel.counts["mixer"] == document.counts()[document.object("mixer").id]
