"""Views that are clicked in: sizes, pictures, names, and what is remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splatseg_ns.masks import CachedSegmenter, Prompts
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation.clicked_scene import ClickedScene, FreeView
from splatseg_ns.segmentation.prompts import FreeCamera, ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.propagate import find_object
from tests.raster.scenes import SH0, camera, gaussians
from tests.segmentation.clicked import (
    BLUE,
    RED,
    VIEWS,
    Painted,
    PaintedView,
    TruthfulSegmenter,
    ball_before_wall,
    balls,
    enlarged,
)


def scene_of(splats: Splats, *views: PaintedView | FreeView) -> tuple[ClickedScene, TruthfulSegmenter]:
    segmenter = TruthfulSegmenter()
    return ClickedScene(rasterizer_for("cpu"), splats, views, segmenter), segmenter


def one_blob() -> Splats:
    return gaussians([[0.0, 0.0, 2.0]], 0.1, [0.9])


def blank(name: str, seen_from: Camera | None = None) -> PaintedView:
    seen_from = seen_from or camera(8, 6)
    return PaintedView(name, seen_from, torch.zeros(seen_from.height, seen_from.width, 3, dtype=torch.uint8))


def test_a_view_that_does_not_exist_shows_the_nearest_names():
    scene, _ = scene_of(one_blob(), *(blank(f"frame_{number:05d}") for number in range(30)), blank("portrait"))
    with pytest.raises(LookupError, match=r"no view 'frame_0012'; the nearest names are .*frame_00012"):
        scene.view("frame_0012")
    with pytest.raises(LookupError, match="portrait"):
        scene.view("potrait")
    with pytest.raises(LookupError, match="no view '~'; the nearest names are frame_00000"):
        scene.view("~")
    assert scene.view("portrait").name == "portrait"


@pytest.mark.parametrize(("width", "height"), [(1536, 1152), (700, 1500), (3000, 2000), (1024, 768), (40, 30)])
def test_clicks_and_masks_land_at_the_right_pixels_of_any_size(width: int, height: int):
    """The segmenter is asked in the picture's pixels, and its masks come in those that are counted."""
    left, top, right, bottom = width // 2, height // 4, width // 2 + width // 8, height // 2
    picture = torch.zeros(height, width, 3, dtype=torch.uint8)
    picture[top:bottom, left:right, 0] = RED
    seen_from = camera(width, height, focal=(width, width))
    scene, segmenter = scene_of(one_blob(), PaintedView("large", seen_from, picture))
    view = scene.view("large")
    assert view.picture_size == (width, height)
    assert view.image().shape == (height, width, 3)
    assert max(view.camera.width, view.camera.height) == min(max(width, height), 1024)
    across, down = view.camera.width / width, view.camera.height / height
    box = (left * view.scale, top * view.scale, right * view.scale, bottom * view.scale)
    answers = view.ask(Prompts.of([((left + 1) * view.scale, (top + 1) * view.scale)], box=box))
    question = segmenter.questions[0]
    assert question.points[0] == pytest.approx((left + 1, top + 1), abs=1e-3)
    assert question.box == pytest.approx((left, top, right, bottom), abs=1e-3)
    mask = answers.masks[0]
    assert mask.shape == (view.camera.height, view.camera.width)
    rows, columns = mask.nonzero().unbind(dim=1)
    found = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    assert found == pytest.approx((left * across, top * down, right * across, bottom * down), abs=0.75)
    # The camera that counts sees the same rays.
    assert float(view.camera.K[0, 0]) == pytest.approx(width * across)


def test_an_object_is_found_in_pictures_that_are_larger_than_what_is_worked_on():
    large = enlarged(ball_before_wall(), 24, views=(0, 1, 3, 5, 7))
    segmenter = TruthfulSegmenter()
    found = find_object(large.scene(segmenter), large.click(RED))
    assert large.iou(found.known, RED) > 0.95
    assert found.masks[0].mask.shape == (1024, 1024)
    # The click, in the middle of a picture of 1536 pixels.
    assert segmenter.questions[0].points[0] == pytest.approx(large.views[0].middle(RED), abs=1e-3)


def test_clicks_outside_a_large_picture_are_told_in_its_own_pixels():
    seen_from = camera(3000, 2000, focal=(3000.0, 3000.0))
    scene, _ = scene_of(one_blob(), blank("large", seen_from))
    for place in ((3001.0, 5.0), (5.0, 2000.6)):
        with pytest.raises(ValueError, match="outside its picture of 3000x2000 pixels"):
            find_object(scene, ObjectPrompts("mug", (ViewPrompts("large", (place,)),)))


def test_what_masks_say_about_gaussians_is_what_they_vote():
    made = balls()
    scene = made.scene(TruthfulSegmenter())
    masks = torch.stack([made.views[2].objects == id for id in (RED, BLUE)])
    red, blue = scene.view("view_02").lifted(masks)
    votes = scene.rasterizer.votes(made.splats, made.views[2].camera, made.views[2].objects)
    by_label = dict(zip(votes.ids.tolist(), votes.dense().T, strict=True))
    assert torch.allclose(red.inside, by_label[RED], atol=1e-4)
    assert torch.allclose(blue.inside, by_label[BLUE], atol=1e-4)
    assert torch.allclose(red.seen, votes.seen, atol=1e-4) and torch.equal(red.seen, blue.seen)


def test_a_picture_is_read_once_however_often_it_is_asked_about():
    made = balls()
    segmenter = TruthfulSegmenter()
    scene = made.scene(segmenter)
    assert segmenter.embedded == [] and not scene.view("view_00").is_read
    for object in (RED, BLUE, RED):
        find_object(scene, made.click(object))
    assert sorted(segmenter.embedded) == list(range(VIEWS))
    assert scene.view("view_00").is_read


def test_pictures_are_read_ahead_by_a_segmenter_that_can(tmp_path: Path):
    made = balls()
    segmenter = TruthfulSegmenter()
    for _ in range(2):
        scene = ClickedScene(rasterizer_for("cpu"), made.splats, made.views, CachedSegmenter(segmenter, tmp_path))
        found = find_object(scene, made.click(BLUE))
        assert made.iou(found.known, BLUE) > 0.99
    # Another scene of the same pictures finds them on disk.
    assert sorted(segmenter.embedded) == list(range(VIEWS))


def coloured_ball() -> Painted:
    """A ball before a wall whose colours are the segmenter's truth."""
    made = ball_before_wall()
    shades = torch.zeros(len(made.truth), 3)
    shades[made.truth == RED, 0] = 1.0 / 255.0
    shades[:, 2] = 77.0 / 255.0
    sh = ((shades - 0.5) / SH0)[:, None, :]
    return replace(made, splats=replace(made.splats, sh=sh))


def test_a_free_camera_shows_what_the_splats_show_and_can_be_clicked_in():
    made = coloured_ball()
    segmenter = TruthfulSegmenter()
    scene = made.scene(segmenter)
    free = FreeView("free", camera(50, 40, turn=0.4, shift=(0.0, 0.0, 2.2)), scene.rasterizer, made.splats)
    drawn = free.image()
    assert drawn.dtype == torch.uint8 and drawn.shape == (40, 50, 3)
    assert drawn[20, 25].tolist() == [1, 0, 77]
    scene.add(free)
    found = find_object(scene, ObjectPrompts("ball", (ViewPrompts("free", ((25.5, 20.5),)),)))
    assert made.iou(found.known, RED) > 0.97
    assert {used.view for used in found.masks} == {"free", *(view.name for view in made.views)}
    assert 77 in segmenter.embedded


SIDEWAYS = camera(50, 40, turn=0.4, shift=(0.0, 0.0, 2.2))


def prompts_from(seen_from: Camera, name: str = "free") -> ViewPrompts:
    return ViewPrompts(name, ((25.5, 20.5),), camera=FreeCamera.of(seen_from))


def test_prompts_bring_their_free_camera_and_others_name_a_view():
    made = coloured_ball()
    scene = made.scene(TruthfulSegmenter())
    view = scene.clicked(prompts_from(SIDEWAYS))
    assert view.name == "free" and view.is_free and torch.equal(view.camera.viewmat, SIDEWAYS.viewmat)
    assert torch.equal(view.image(), FreeView("free", SIDEWAYS, scene.rasterizer, made.splats).image())
    assert scene.clicked(prompts_from(SIDEWAYS)) is view is scene.view("free")
    assert scene.clicked(ViewPrompts("view_03")) is scene.view("view_03")
    assert not scene.view("view_03").is_free
    with pytest.raises(LookupError, match="no view 'elsewhere'"):
        scene.clicked(ViewPrompts("elsewhere"))
    found = find_object(scene, ObjectPrompts("ball", (prompts_from(SIDEWAYS, "another name"),)))
    assert made.iou(found.known, RED) > 0.97 and found.masks[0].view == "another name"


@pytest.mark.parametrize("name", ["free", "view_03"])
def test_two_cameras_cannot_have_views_of_one_name(name: str):
    scene = coloured_ball().scene(TruthfulSegmenter())
    scene.clicked(prompts_from(SIDEWAYS))
    turned = camera(50, 40, turn=0.5, shift=(0.0, 0.0, 2.2))
    with pytest.raises(ValueError, match=f"view {name}: another camera's view is called so; each needs a name of its"):
        scene.clicked(prompts_from(turned, name))
    assert torch.equal(scene.view("free").camera.viewmat, SIDEWAYS.viewmat)


def test_only_views_with_clicks_are_remembered():
    made = coloured_ball()
    scene = made.scene(TruthfulSegmenter())
    looked_at = scene.prepared(FreeView("free", SIDEWAYS, scene.rasterizer, made.splats))
    with pytest.raises(LookupError, match="no view 'free'"):
        scene.view("free")
    assert scene.keep(looked_at) is looked_at is scene.view("free")
    # The one that was there first stays, with all that has been found out about it.
    assert scene.keep(scene.prepared(FreeView("free", SIDEWAYS, scene.rasterizer, made.splats))) is looked_at
    scene.forget("free")
    with pytest.raises(LookupError, match="no view 'free'"):
        scene.view("free")
    scene.forget("free")


def test_views_of_the_capture_are_not_forgotten():
    made = balls()
    scene = made.scene(TruthfulSegmenter(), chosen=range(6))
    held_out = scene.add(made.views[7])
    for name in ("view_00", "view_07", "view_99"):
        scene.forget(name)
    assert scene.view("view_07") is held_out and scene.view("view_00").name == "view_00"


def test_views_that_were_added_are_not_carried_to():
    made = balls()
    scene = made.scene(TruthfulSegmenter(), chosen=range(6))
    scene.add(made.views[7])
    middle = torch.tensor([0.5, 0.35, 0.4])
    assert {view.name for view in scene.views_of(middle, None)} == {f"view_{place:02d}" for place in range(6)}
    found = find_object(scene, made.click(BLUE, view=7))
    assert {used.view for used in found.masks} == {"view_07", *(f"view_{place:02d}" for place in range(6))}
    again = find_object(scene, made.click(BLUE, view=0))
    assert "view_07" not in {used.view for used in again.masks}


def test_views_of_a_point_have_it_in_their_pictures():
    made = ball_before_wall()
    scene = made.scene(TruthfulSegmenter())
    corner_of_wall = torch.tensor([2.8, 2.8, 3.0], dtype=torch.float64)
    names = [view.name for view in scene.views_of(corner_of_wall, None)]
    assert names and set(names) < {view.name for view in made.views}
    assert [view.name for view in scene.views_of(corner_of_wall, 1)] == names[:1]
    assert scene.views_of(torch.tensor([0.0, 1000.0, 0.0]), None) == []
