"""The scene in a browser: ns-viewer on the bundled capture draws what the splats are, from where the camera is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from splatseg_ns.demo.bundle import bundled_capture
from splatseg_ns.plugin.runs import Run
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation import Segmentation
from tests.browser.conftest import OpenPage
from tests.browser.demo_runs import inside_of
from tests.browser.viewer_page import ViewerPage

pytestmark = pytest.mark.slow

GREY_LEVELS = 4.0
"""By how much pictures differ in the mean for having been JPEGs, and for being drawn larger than they are."""


@pytest.fixture(scope="module")
def shown_run(labelled_run: Run) -> Run:
    return labelled_run


def drawn(run: Run, camera: Camera) -> np.ndarray:  # [H, W, 3] uint8
    """By the engine of this process."""
    colors = rasterizer_for("cpu").render(run.splats(), camera).colors
    return (colors.clamp(0, 1) * 255).to(torch.uint8).numpy()


def difference(picture: np.ndarray, other: np.ndarray) -> float:
    """In grey levels, in the mean, at the size of the other."""
    resized = Image.fromarray(picture).resize((other.shape[1], other.shape[0]), Image.Resampling.BOX)
    return float(np.abs(np.asarray(resized).astype(float) - other).mean())


def test_the_browser_shows_what_the_splats_are(page: ViewerPage, shown_run: Run, tmp_path: Path):
    height, width = page.picture().shape[:2]
    expected = drawn(shown_run, page.camera(width, height))
    assert expected.std() > 20
    assert difference(page.picture(), expected) < GREY_LEVELS
    assert difference(page.canvas(), expected) < GREY_LEVELS
    shot = np.asarray(Image.open(page.screenshot(tmp_path / "shot.png")).convert("RGB"))
    assert shot[60:640, 10:790].std() > 20
    assert page.crashes == []


def test_the_camera_goes_where_a_picture_was_taken(page: ViewerPage):
    view = bundled_capture().view("frame_00007")
    page.look_from(view)
    camera = page.camera(view.width, view.height)
    assert torch.allclose(camera.viewmat, view.camera.viewmat, atol=1e-4)
    assert torch.allclose(camera.K, view.camera.K, atol=0.01)
    assert difference(page.picture(), view.image().numpy()) < 2 * GREY_LEVELS
    assert page.spot_of(view, view.width / 2 - 0.5, view.height / 2 - 0.5) == pytest.approx([400.0, 300.0], abs=1.0)


def test_two_pages_show_the_scene_from_two_places(open_page: OpenPage):
    capture, pages = bundled_capture(), (open_page(), open_page())
    views = capture.view("frame_00003"), capture.view("frame_00027")
    for page, view in zip(pages, views, strict=True):
        page.look_from(view)
    for page, view in zip(pages, views, strict=True):
        assert difference(page.canvas(), view.image().numpy()) < 2 * GREY_LEVELS


def test_a_page_that_is_reloaded_shows_the_scene_again(page: ViewerPage):
    before = page.canvas()
    page.look_from(bundled_capture().view("frame_00007"))
    assert difference(page.canvas(), before) > 5 * GREY_LEVELS
    page.reload()
    assert difference(page.canvas(), before) < 0.1


def test_another_output_is_shown_by_choosing_it(page: ViewerPage, document: Segmentation):
    view = bundled_capture().view("frame_00007")
    page.look_from(view)
    before = page.canvas()
    output = page.panel.tab("Control").folder("Render Options").dropdown("Output type")
    assert {"rgb", "segmentation", "objects", "object_mask"} <= set(output.options())
    with page.redrawn():
        output.choose("segmentation")
    shown = page.canvas()
    for entry in document.objects[:3]:
        spot = page.spot_of(view, *inside_of(view, entry.id))
        assert np.abs(shown[int(spot.y), int(spot.x)].astype(int) - entry.color).max() < 30, entry.name
    with page.redrawn():
        output.choose("rgb")
    assert difference(page.canvas(), before) < 0.1
