"""The layer of parts in the panel, in ns-viewer on the bundled scene with a part for each half of the teddy bear."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from playwright.sync_api import Browser

from splatseg_ns.plugin.runs import Run
from splatseg_ns.segmentation import SceneObject, Segmentation
from tests.browser.areas import SEEN, UNSEEN, area_of, change
from tests.browser.demo_runs import HERE, write_demo_run
from tests.browser.panel import Panel
from tests.browser.viewer_page import opened_page
from tests.plugin.viewer_process import ViewerProcess

pytestmark = pytest.mark.slow

MIXER, TEDDY = 1, 2
UPPER, LOWER = "teddy_bear upper", "teddy_bear lower"


@pytest.fixture(scope="module")
def shown_run(document: Segmentation, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With objects that have no parts yet."""
    return write_demo_run(tmp_path_factory.mktemp("parts") / "run", document)


def halves(run: Run, document: Segmentation) -> Segmentation:
    """The layer of parts."""
    splats, rows = run.splats(), document.rows("teddy_bear")
    upper = splats.means[:, 2] > splats.means[rows, 2].median()
    labels = torch.where(rows, torch.where(upper, 1, 2), 0)
    parts = [replace(SceneObject.new(1, UPPER), kind="upper"), replace(SceneObject.new(2, LOWER), kind="lower")]
    return Segmentation.of(splats, labels, parts)


def test_parts_are_listed_shown_and_edited_while_the_objects_stay(
    browser: Browser, viewer: ViewerProcess, shown_run: Run, document: Segmentation
):
    with opened_page(browser, viewer.address) as page:
        page.show_scene()
        page.look_from(HERE)
        panel = Panel(page)
        panel.wait_until_open()
        plain = page.canvas()
        teddy, mixer = (area_of(HERE, id, plain, -6) for id in (TEDDY, MIXER))
        layer = panel.folder.dropdown("Layer")
        assert not layer.is_there

        # As splatseg transfer does it, meanwhile.
        shown_run.store.parts.save(halves(shown_run, document))
        panel.choose("mixer")
        panel.deselect()
        panel.until("the choice of layers", lambda: layer.is_there)
        assert layer.text == "objects"

        layer.choose("parts")
        panel.until("the parts to be listed", lambda: panel.names == [UPPER, LOWER, "background"])
        panel.until("both parts to have colours", lambda: change(plain, page.canvas(), teddy) > SEEN)
        panel.hide(UPPER)
        panel.until("the change to be saved", lambda: not shown_run.store.parts.load().object(UPPER).visible)
        assert shown_run.store.load().hidden_names() == ()

        layer.choose("objects")
        panel.until("the objects to be listed", lambda: "mixer" in panel.names)
        panel.output.choose("objects")
        panel.until("all of it to be there again", lambda: change(plain, page.canvas(), teddy | mixer) < UNSEEN)
        assert shown_run.store.load().names == document.names
