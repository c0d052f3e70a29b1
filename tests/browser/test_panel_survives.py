"""What is left of the work when the viewer is killed in the middle of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from splatseg_ns.segmentation import Segmentation
from tests.browser.demo_runs import viewer_of, write_demo_run
from tests.browser.panel import Panel
from tests.browser.viewer_page import opened_page
from tests.plugin.viewer_process import started_viewer

pytestmark = pytest.mark.slow


def test_a_killed_viewer_leaves_a_whole_document(browser: Browser, document: Segmentation, tmp_path: Path):
    run = write_demo_run(tmp_path / "run", document)
    pending = run.store.folder / "labels.pending.npz"
    with started_viewer(*viewer_of(run), folder=tmp_path) as viewer, opened_page(browser, viewer.address) as page:
        panel = Panel(page)
        panel.wait_until_open()
        panel.hide("mixer")
        panel.masks.open().button("Segment everything").press()
        panel.until("work to begin", lambda: panel.folder.button("Cancel").is_there)
        panel.undo_button.locator.click()
        end = time.monotonic() + 20.0
        # In the middle of a save: it begins with this file, and ends without it.
        while not pending.exists():
            assert time.monotonic() < end, "nothing was saved"
        viewer.kill()
        panel.until("the page to notice", lambda: not page.is_connected)
    left = run.store.load(run.splats())
    assert left.names == document.names and left.counts() == document.counts()
    assert left.votes() is not None
    assert left.hidden_names() in ((), ("mixer",))
    with started_viewer(*viewer_of(run), folder=tmp_path) as viewer, opened_page(browser, viewer.address) as page:
        panel = Panel(page)
        panel.wait_until_open()
        assert panel.names[0] == "mixer" and panel.counts["mixer"] == document.counts()[document.ids[0]]
        toggle, hidden = ("Show", ()) if left.hidden_names() else ("Hide", ("mixer",))
        panel.in_row("mixer", toggle).press()
        panel.until("it to be saved", lambda: run.store.load().hidden_names() == hidden)
    assert not pending.exists()
