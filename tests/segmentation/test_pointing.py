"""Pointing at an object click by click, from any camera."""

from __future__ import annotations

import gc
import json
import weakref
from functools import cache

import pytest
import torch
from torch import Tensor

from splatseg_ns.demo.scene import ring_of_cameras
from splatseg_ns.lift import Labels, render_label_map
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.clicked_scene import ClickedScene, FreeView
from splatseg_ns.segmentation.pointing import Mark, Pointing, Preview
from splatseg_ns.segmentation.prompts import FreeCamera, Level, ViewPrompts, prompts_from_json
from splatseg_ns.segmentation.propagate import find_object
from splatseg_ns.segmentation.surfaces import projected
from tests.segmentation.clicked import BLUE, GREEN, RED, ColourSegmenter, PaintedView, balls, enlarged
from tests.segmentation.test_clicks import CENTRES, RADII

HERE, THERE, BEHIND = (ring_of_cameras(16, 120, 90)[place] for place in (1, 15, 7))
"""Between the views of the capture; the last sees the balls from the other side."""


@cache
def photographs() -> tuple[PaintedView, ...]:
    """The views of the capture with pictures as the splats are drawn; the last two are held out."""
    engine, splats = rasterizer_for("cpu"), balls().splats
    drawn = {view: FreeView(view.name, view.camera, engine, splats) for view in balls().views}
    return tuple(PaintedView(view.name, view.camera, free.image()) for view, free in drawn.items())


def pointing_with(segmenter: ColourSegmenter) -> Pointing:
    views = photographs()
    scene = ClickedScene(rasterizer_for("cpu"), balls().splats, views[:6], segmenter)
    for view in views[6:]:
        scene.add(view)
    return Pointing(scene)


@pytest.fixture
def segmenter() -> ColourSegmenter:
    return ColourSegmenter()


@pytest.fixture
def pointing(segmenter: ColourSegmenter) -> Pointing:
    return pointing_with(segmenter)


@cache
def true_map(camera: Camera) -> Tensor:  # [H, W]
    """Which object each pixel shows."""
    labels = Labels(balls().truth, torch.ones(len(balls().truth)))
    return render_label_map(rasterizer_for("cpu"), balls().splats, camera, labels, torch.arange(4))


def middle(camera: Camera, object: int) -> tuple[float, float]:
    """A pixel well inside what is seen of an object."""
    rows, columns = (true_map(camera) == object).nonzero().double().unbind(dim=1)
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


def box_around(camera: Camera, object: int) -> tuple[float, float, float, float]:
    rows, columns = (true_map(camera) == object).nonzero().double().unbind(dim=1)
    return float(columns.min()), float(rows.min()), float(columns.max()) + 1.0, float(rows.max()) + 1.0


def is_on(mark: Mark, object: int) -> bool:
    distance = float((mark.points[0] - torch.tensor(CENTRES[object])).norm())
    return abs(distance - RADII[object]) < 0.05


def iou_of_mask(preview: Preview, *objects: int) -> float:
    true = torch.isin(true_map(preview.camera), torch.tensor(objects))
    return float((preview.mask & true).sum() / (preview.mask | true).sum())


SKY = (60.0, 2.5)


def test_a_click_is_marked_where_the_thing_is(pointing: Pointing):
    assert not pointing and pointing.marks == ()
    mark = pointing.click(HERE, *middle(HERE, BLUE))
    assert mark.kind == "on" and is_on(mark, BLUE)
    x, y, depth = projected(HERE, mark.points[0])
    assert (x, y) == pytest.approx(middle(HERE, BLUE), abs=1e-3) and mark.depth == pytest.approx(depth)
    off = pointing.click(THERE, *middle(THERE, RED), on=False)
    assert off.kind == "off" and is_on(off, RED)
    assert pointing and pointing.marks == (mark, off)


def test_clicks_are_in_the_pixels_of_the_camera_that_they_were_made_in(pointing: Pointing):
    large = HERE.resized(2400, 1800)
    x, y = middle(HERE, BLUE)
    mark = pointing.click(large, 20.0 * x, 20.0 * y)
    assert is_on(mark, BLUE)
    (entry,) = pointing.prompts("ball").views
    assert entry.points == ((20.0 * x, 20.0 * y),) and entry.camera == FreeCamera.of(large)


def test_what_was_pointed_at_becomes_prompts(pointing: Pointing):
    on, off, more = middle(HERE, BLUE), middle(HERE, RED), middle(THERE, GREEN)
    pointing.click(HERE, *on)
    pointing.click(HERE, *off, on=False)
    pointing.click(THERE, *more, on=False)
    prompts = pointing.prompts("ball", "part")
    assert (prompts.name, prompts.level) == ("ball", "part")
    here, there = (FreeCamera.of(camera) for camera in (HERE, THERE))
    assert prompts.views == (
        ViewPrompts(here.name, (on,), (off,), camera=here),
        ViewPrompts(there.name, (), (more,), camera=there),
    )
    assert pointing.prompts("ball").level == "auto"


def test_prompts_say_where_the_object_is(pointing: Pointing):
    with pytest.raises(ValueError, match="object 'ball': there is no click; click on the object, or draw a box"):
        pointing.prompts("ball")
    pointing.click(HERE, *middle(HERE, RED), on=False)
    with pytest.raises(ValueError, match="there are only clicks off it"):
        pointing.prompts("ball")


def test_pointing_at_nothing_changes_nothing(pointing: Pointing):
    pointing.click(HERE, *middle(HERE, BLUE))
    before = pointing.prompts("ball"), pointing.marks
    with pytest.raises(ValueError, match="nothing is there, the splats are empty at that place; click on a thing"):
        pointing.click(HERE, *SKY)
    with pytest.raises(ValueError, match="nothing is in the middle of the box"):
        pointing.draw_box(THERE, 50.0, 0.0, 70.0, 5.0)
    with pytest.raises(ValueError, match="is said to be on the object and off it"):
        pointing.click(HERE, *middle(HERE, BLUE), on=False)
    assert (pointing.prompts("ball"), pointing.marks) == before


def test_a_box_stands_in_the_scene_as_far_away_as_what_is_in_it(pointing: Pointing):
    left, top, right, bottom = box_around(HERE, BLUE)
    mark = pointing.draw_box(HERE, left, top, right, bottom)
    assert mark.kind == "box" and len(mark.points) == 4
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for point, (x, y) in zip(mark.points, corners, strict=True):
        assert projected(HERE, point) == pytest.approx((x, y, mark.depth), abs=1e-3)
    _, _, depth = projected(HERE, torch.tensor(CENTRES[BLUE]))
    assert depth - 1.5 * RADII[BLUE] < mark.depth < depth
    assert pointing.prompts("ball").views[0].box == (left, top, right, bottom)


def test_an_object_is_in_one_box(pointing: Pointing):
    pointing.draw_box(HERE, *box_around(HERE, BLUE))
    pointing.click(HERE, *middle(HERE, BLUE))
    pointing.draw_box(THERE, *box_around(THERE, RED))
    pointing.click(THERE, *middle(THERE, RED))
    last = pointing.draw_box(THERE, *box_around(THERE, BLUE))
    assert [mark.kind for mark in pointing.marks] == ["on", "on", "box"] and pointing.marks[-1] is last
    here, there = pointing.prompts("ball").views
    assert here.box is None and here.points == (middle(HERE, BLUE),)
    assert there.box == box_around(THERE, BLUE) and there.points == (middle(THERE, RED),)


def test_of_a_view_with_nothing_but_the_box_before_nothing_is_left(pointing: Pointing):
    pointing.draw_box(HERE, *box_around(HERE, RED))
    pointing.draw_box(THERE, *box_around(THERE, BLUE))
    assert [entry.camera for entry in pointing.prompts("ball").views] == [FreeCamera.of(THERE)]
    with pytest.raises(LookupError, match="no view"):
        pointing.scene.view(FreeCamera.of(HERE).name)
    pointing.draw_box(HERE, *box_around(HERE, BLUE))
    preview = pointing.preview(HERE)
    assert preview is not None and iou_of_mask(preview, BLUE) > 0.9


@pytest.mark.parametrize("box", [(70.0, 40.0, 70.0, 60.0), (80.0, 60.0, 60.0, 40.0)])
def test_a_box_that_is_none_leaves_the_one_before(box: tuple[float, float, float, float], pointing: Pointing):
    pointing.draw_box(HERE, *box_around(HERE, BLUE))
    before = pointing.prompts("ball"), pointing.marks
    with pytest.raises(ValueError, match="a box is left top right bottom"):
        pointing.draw_box(THERE, *box)
    assert (pointing.prompts("ball"), pointing.marks) == before


@pytest.mark.parametrize("object", [RED, GREEN, BLUE])
def test_the_mask_of_what_is_pointed_at_shows_at_once(object: int, pointing: Pointing):
    pointing.click(HERE, *middle(HERE, object))
    preview = pointing.preview(HERE)
    assert preview is not None
    # The segmenter takes the shaded rim of the red ball for another thing.
    assert iou_of_mask(preview, object) > 0.75 and preview.score == pytest.approx(0.9)
    assert (preview.camera.width, preview.camera.height) == (HERE.width, HERE.height)
    drawn = rasterizer_for("cpu").render(balls().splats, HERE, features=preview.share[:, None]).colors[..., 0] > 0.5
    assert float((drawn & preview.mask).sum() / (drawn | preview.mask).sum()) > 0.75


def test_before_anything_is_pointed_at_there_is_no_mask(pointing: Pointing, segmenter: ColourSegmenter):
    assert pointing.preview(HERE) is None
    pointing.click(HERE, *middle(HERE, RED), on=False)
    assert pointing.preview(HERE) is None
    assert segmenter.questions == []


def test_from_elsewhere_the_mask_is_of_the_same_thing(pointing: Pointing, segmenter: ColourSegmenter):
    pointing.click(HERE, *middle(HERE, BLUE))
    nearby = ring_of_cameras(32, 120, 90)[3]
    preview = pointing.preview(nearby)
    assert preview is not None and iou_of_mask(preview, BLUE) > 0.9
    # That is where the clicked point is seen from there.
    ((x, y),) = segmenter.questions[-1].points
    assert int(true_map(nearby)[int(y), int(x)]) == BLUE
    assert pointing.preview(BEHIND) is None
    # Looking changes nothing.
    assert len(pointing.prompts("ball").views) == 1


def test_clicks_off_the_object_from_another_camera_take_nothing_else_away(
    pointing: Pointing, segmenter: ColourSegmenter
):
    """The segmenter is told what is meant there too, and not only what is not."""
    pointing.click(HERE, *middle(HERE, BLUE))
    nearby = ring_of_cameras(32, 120, 90)[3]
    pointing.click(nearby, *middle(nearby, GREEN), on=False)
    preview = pointing.preview(nearby)
    assert preview is not None and iou_of_mask(preview, BLUE) > 0.9
    assert len(segmenter.questions[-1].points) == 1
    assert segmenter.questions[-1].negative == [pytest.approx(middle(nearby, GREEN))]
    # From the other side only what is off it is to be seen, which says nothing.
    pointing.click(BEHIND, *middle(BEHIND, RED), on=False)
    assert pointing.preview(BEHIND) is None


def test_a_mask_of_a_large_window_is_of_working_size(pointing: Pointing):
    large = HERE.resized(1600, 1200)
    x, y = middle(HERE, BLUE)
    pointing.click(large, x * 40 / 3, y * 40 / 3)
    preview = pointing.preview(large)
    assert preview is not None
    assert preview.mask.shape == (768, 1024) == (preview.camera.height, preview.camera.width)
    assert iou_of_mask(preview, BLUE) > 0.9


def nested(objects: Tensor, whole: Tensor) -> list[Tensor]:
    """The left half of a thing, the thing, and all things."""
    columns = whole.nonzero()[:, 1].double()
    left = torch.arange(whole.shape[1]) <= columns.median()
    return [whole & left, whole, objects > 0]


LEVELS: dict[Level, int] = {"part": 0, "object": 1, "auto": 1, "group": 2}


@pytest.mark.parametrize("level", LEVELS)
def test_how_much_is_meant(level: Level):
    pointing = pointing_with(ColourSegmenter(answer=nested))
    x, y = middle(HERE, BLUE)
    pointing.click(HERE, x - 3.0, y)
    preview = pointing.preview(HERE, level)
    assert preview is not None
    assert preview.score == pytest.approx((0.7, 0.9, 0.8)[LEVELS[level]])
    objects = (RED, GREEN, BLUE) if level == "group" else (BLUE,)
    assert (iou_of_mask(preview, *objects) > 0.9) == (level != "part")


def test_masks_that_heed_the_clicks_come_first():
    pointing = pointing_with(ColourSegmenter(answer=lambda objects, _: nested(objects, objects == BLUE)))
    x, y = middle(HERE, BLUE)
    # The part on the left scores least, but alone leaves the right out.
    pointing.click(HERE, x - 3.0, y)
    pointing.click(HERE, x + 6.0, y, on=False)
    for level in LEVELS:
        preview = pointing.preview(HERE, level)
        assert preview is not None and preview.score == pytest.approx(0.7)


def test_views_that_are_only_looked_at_are_not_kept(pointing: Pointing):
    views = [weakref.ref(pointing.look(camera)) for camera in ring_of_cameras(16, 40, 30)]
    gc.collect()
    assert [view() is not None for view in views] == [False] * 15 + [True]
    # The last one is, so that its picture is read once.
    last = ring_of_cameras(16, 40, 30)[-1]
    assert pointing.look(last) is views[-1]()
    for camera in (HERE, THERE, last):
        with pytest.raises(LookupError):
            pointing.scene.view(FreeCamera.of(camera).name)


def test_a_picture_is_read_once_for_looking_clicking_and_finding(pointing: Pointing, segmenter: ColourSegmenter):
    assert not pointing.look(HERE).is_read
    _ = pointing.look(HERE).embedding
    assert pointing.look(HERE).is_read
    pointing.click(HERE, *middle(HERE, BLUE))
    pointing.preview(HERE)
    pointing.look(THERE)
    pointing.preview(HERE)
    assert len(segmenter.embedded) == 1
    found = find_object(pointing.scene, pointing.prompts("ball"))
    assert balls().iou(found.known, BLUE) > 0.9
    # The training views besides, as far as they show the clicked point; held-out ones are not asked.
    views = [used.view for used in found.masks]
    assert views[0] == FreeCamera.of(HERE).name and set(views[1:]) <= {view.name for view in photographs()[:6]}
    assert len(segmenter.embedded) == len(views) > 3


def test_after_clearing_nothing_is_left(pointing: Pointing):
    pointing.click(HERE, *middle(HERE, BLUE))
    pointing.draw_box(THERE, *box_around(THERE, BLUE))
    views = [weakref.ref(pointing.look(camera)) for camera in (HERE, THERE)]
    pointing.clear()
    assert not pointing and pointing.marks == () and pointing.preview(HERE) is None
    pointing.look(BEHIND)
    gc.collect()
    assert [view() for view in views] == [None, None]


def taken_up(pointing: Pointing) -> Pointing:
    """What another session makes of the prompts, as a document keeps them."""
    kept = json.loads(json.dumps(pointing.prompts("ball").as_json()))
    again = pointing_with(ColourSegmenter())
    again.click(BEHIND, *middle(BEHIND, RED))
    again.take_up(prompts_from_json(kept))
    return again


def test_what_was_pointed_at_before_can_be_taken_up(pointing: Pointing):
    pointing.draw_box(HERE, *box_around(HERE, BLUE))
    pointing.click(HERE, *middle(HERE, BLUE))
    pointing.click(THERE, *middle(THERE, RED), on=False)
    again = taken_up(pointing)
    assert again.prompts("ball") == pointing.prompts("ball")
    placed = {(mark.kind, tuple(mark.points[0].tolist()), mark.depth) for mark in pointing.marks}
    assert {(mark.kind, tuple(mark.points[0].tolist()), mark.depth) for mark in again.marks} == placed
    before, after = pointing.preview(HERE), again.preview(HERE)
    assert before is not None and after is not None and torch.equal(before.mask, after.mask)
    more = middle(THERE, BLUE)
    again.click(THERE, *more)
    assert [len(entry.points) for entry in again.prompts("ball").views] == [1, 1]


@pytest.mark.parametrize("number", [0, 7])
def test_clicks_in_pictures_of_the_capture_can_be_taken_up_again_and_again(number: int, pointing: Pointing):
    """In those that were held out too."""
    view = photographs()[number]
    clicked = ViewPrompts(view.name, (balls().views[number].middle(BLUE),))
    for _ in range(2):
        pointing.take_up(prompts_from_json({"name": "ball", "views": [{"view": view.name, "points": clicked.points}]}))
        assert pointing.prompts("ball").views == (clicked,)
        assert [mark.kind for mark in pointing.marks] == ["on"] and is_on(pointing.marks[0], BLUE)
        pointing.click(HERE, *middle(HERE, RED), on=False)
        assert balls().iou(find_object(pointing.scene, pointing.prompts("ball")).known, BLUE) > 0.9
    pointing.clear()
    assert pointing.scene.view(view.name).name == view.name


def test_clicks_in_a_picture_that_is_gone_are_not_taken_up(pointing: Pointing):
    pointing.click(HERE, *middle(HERE, BLUE))
    clicks = [{"view": name, "points": [balls().views[0].middle(BLUE)]} for name in ("view_00", "view_99")]
    with pytest.raises(LookupError, match="no view 'view_99'"):
        pointing.take_up(prompts_from_json({"name": "ball", "views": clicks}))
    assert not pointing and pointing.marks == ()


def test_marks_of_clicks_on_what_is_gone_are_left_out(pointing: Pointing):
    free = FreeCamera.of(HERE)
    view = {"view": free.name, "points": [list(middle(HERE, BLUE))], "negative": [list(SKY)]}
    camera = {"viewmat": free.viewmat, "K": free.K, "width": free.width, "height": free.height}
    pointing.take_up(prompts_from_json({"name": "ball", "views": [{**view, "camera": camera}]}))
    assert [mark.kind for mark in pointing.marks] == ["on"]
    assert pointing.prompts("ball").views[0].negative == (SKY,)


def test_a_question_is_asked_in_the_pixels_of_the_picture(pointing: Pointing, segmenter: ColourSegmenter):
    large = enlarged(balls(), 16, (0,)).views[0].camera
    x, y = balls().views[0].middle(BLUE)
    pointing.click(large, 16.0 * x, 16.0 * y)
    pointing.preview(large)
    assert segmenter.questions[-1].points[0] == pytest.approx((16.0 * x, 16.0 * y), abs=1e-2)
