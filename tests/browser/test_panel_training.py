"""The panel in the viewer of ns-train: there while nothing changes the Gaussians, gone while something does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from splatseg_ns.demo.bundle import FOLDER, MASKS
from splatseg_ns.plugin.runs import Run
from tests.browser.panel import LONG, Panel
from tests.browser.viewer_page import opened_page
from tests.plugin.viewer_process import started_viewer

pytestmark = pytest.mark.slow

STEPS = 600
"""Of which some are over when the page is there."""

WAITING = "Objects can be worked on while training is paused"


def test_objects_are_worked_on_while_training_is_paused_and_when_it_is_done(browser: Browser, tmp_path: Path):
    masks, outputs = tmp_path / "masks", tmp_path / "outputs"
    masks.mkdir()
    for file in (*sorted(MASKS.iterdir())[::8], MASKS.with_name("labels.json")):
        shutil.copy(file, masks)
    words = [
        "ns-train", "splatseg-lite", "--data", FOLDER, "--output-dir", outputs, "--timestamp", "now",
        "--max-num-iterations", str(STEPS), "--vis", "viewer", "--viewer.max-num-display-images", "0",
        "--pipeline.masks", masks,
    ]  # fmt: skip
    with started_viewer(*words, folder=tmp_path) as viewer, opened_page(browser, viewer.address) as page:
        panel = Panel(page)
        page.wait_until_connected()
        assert WAITING in panel.folder.text and panel.names == []
        page.panel.button("Pause Training").press()
        panel.until("the list of objects", lambda: panel.names == ["background"])
        assert WAITING not in panel.folder.text
        assert "not saved" in panel.files.open().text
        assert not panel.files.button("Save").is_there
        panel.masks.open().button("Label from masks").press()
        panel.until("objects", lambda: "mixer" in panel.names, LONG)
        panel.until("them to be shown", lambda: panel.output.text == "segmentation")
        panel.hide("mixer")
        run = Run.open(outputs / FOLDER.name / "splatseg-lite" / "now")
        assert not run.store.exists()

        page.panel.button("Resume Training").press()
        panel.until("the panel to go", lambda: WAITING in panel.folder.text)
        assert panel.names == [] and panel.output.text == "rgb"
        assert not run.store.exists()

        panel.until("the end of training", lambda: "mixer" in panel.names, LONG)
        assert "saved after every change" in panel.files.open().text
        assert run.store.load(run.splats()).hidden_names() == ()
        panel.hide("mixer")
        document = run.store.load(run.splats())
        assert document.hidden_names() == ("mixer",)
        assert document.counts()[document.object("mixer").id] == panel.counts["mixer"]
