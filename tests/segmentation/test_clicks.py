"""Where in the scene clicks are, and where other views see them."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from splatseg_ns.demo.scene import ring_of_cameras
from splatseg_ns.masks import Prompts
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.clicks import Clicks, ViewClicks
from splatseg_ns.segmentation.prompts import FreeCamera, ObjectPrompts, ViewPrompts
from tests.segmentation.clicked import (
    BLUE,
    GREEN,
    RED,
    PaintedView,
    TruthfulSegmenter,
    ball_before_wall,
    balls,
    enlarged,
)

CENTRES = {RED: (-0.55, 0.1, 0.3), GREEN: (0.1, -0.35, 0.22), BLUE: (0.5, 0.35, 0.4)}
RADII = {RED: 0.3, GREEN: 0.22, BLUE: 0.4}


@cache
def shared_scene() -> ClickedScene:
    """Nothing is added to it."""
    return balls().scene(TruthfulSegmenter())


def on(object: int, view: int = 0) -> ViewPrompts:
    return ViewPrompts(balls().views[view].name, (balls().views[view].middle(object),))


def off(object: int, view: int = 0) -> ViewPrompts:
    return ViewPrompts(balls().views[view].name, (), (balls().views[view].middle(object),))


def clicks_of(*views: ViewPrompts, occlusion: bool = True) -> Clicks:
    return Clicks.of(shared_scene(), ObjectPrompts("thing", views), occlusion)


def asked(prompts: Prompts | None) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The points on the object, and those off it."""
    assert prompts is not None
    pixels = [(x, y) for x, y in prompts.points[0].tolist()]
    signs = prompts.positive[0].tolist()
    inside, outside = ([pixel for pixel, sign in zip(pixels, signs, strict=True) if sign == s] for s in (True, False))
    return inside, outside


def objects_at(view: PaintedView, pixels: list[tuple[float, float]]) -> list[int]:
    return [int(view.objects[int(y), int(x)]) for x, y in pixels]


@pytest.mark.parametrize("object", [RED, GREEN, BLUE])
def test_a_click_is_where_the_surface_is(object: int):
    clicks = clicks_of(on(object))
    (point,) = clicks.on
    assert float((point - torch.tensor(CENTRES[object])).norm()) == pytest.approx(RADII[object], abs=0.05)
    assert clicks.off == () and clicks.count == 1


def test_clicks_in_large_pictures_are_in_working_pixels():
    large = enlarged(ball_before_wall(), 24, views=(0,))
    view = large.scene(TruthfulSegmenter()).view("view_00")
    made = ViewClicks.of(view, ViewPrompts("view_00", ((768.0, 768.0),), ((3.0, 3.0),), (480.0, 480.0, 1056.0, 1056.0)))
    shrink = 1024 / 1536
    assert made.points == ((512.0, 512.0),) and made.negative == ((3.0 * shrink, 3.0 * shrink),)
    assert made.box == pytest.approx((320.0, 320.0, 704.0, 704.0))
    prompts = made.prompts()
    assert asked(prompts)[0] == [(512.0, 512.0)] and prompts.boxes is not None
    assert prompts.boxes[0].tolist() == pytest.approx([320.0, 320.0, 704.0, 704.0])


def test_clicks_on_nothing_and_outside_are_named():
    with pytest.raises(ValueError, match=r"view view_00: there is nothing at 2\.5 1\.5, the splats are empty there"):
        clicks_of(ViewPrompts("view_00", ((2.5, 1.5),)))
    with pytest.raises(ValueError, match="97 3 is outside its picture of 96x72 pixels"):
        clicks_of(ViewPrompts("view_00", ((97.0, 3.0),)))
    # Clicks off the object may be anywhere; those on nothing are in no other view.
    clicks = clicks_of(on(BLUE), ViewPrompts("view_00", (), ((2.5, 1.5),)))
    assert clicks.off == ()


def test_clicks_beside_silhouettes_are_not_carried_if_there_are_others():
    view = ball_before_wall().scene(TruthfulSegmenter()).view("view_00")
    inside, edge, beyond = (32.5, 32.5), (43.5, 32.5), (19.5, 32.5)
    both = ViewClicks.of(view, ViewPrompts("view_00", (inside, edge), (beyond,)))
    (point,) = both.on
    assert float(point[:2].norm()) < 0.1 and both.off == ()
    # Here they count all the same.
    assert asked(both.prompts()) == ([inside, edge], [beyond])
    assert len(ViewClicks.of(view, ViewPrompts("view_00", (edge,))).on) == 1


def test_views_that_say_where_the_object_is_come_first():
    box = ViewPrompts("view_05", box=(10.0, 10.0, 40.0, 40.0))
    clicks = clicks_of(off(RED, 6), off(GREEN, 4), box, on(BLUE, 2))
    assert [part.view.name for part in clicks.views] == ["view_05", "view_02", "view_06", "view_04"]
    assert clicks.count == 3 and len(clicks.on) == 1
    scene = shared_scene()
    assert clicks.were_made_in(scene.view("view_06")) and not clicks.were_made_in(scene.view("view_00"))


def test_the_clicked_view_is_asked_as_it_was_clicked():
    clicks, scene = clicks_of(on(BLUE), off(RED, 3)), shared_scene()
    assert asked(clicks.seen_in(scene.view("view_00"))) == (list(on(BLUE).points), [])


def test_other_views_are_asked_where_they_see_the_clicked_points():
    clicks, scene = clicks_of(on(BLUE), off(RED, 5)), shared_scene()
    others = [view for view in balls().views if view.name not in ("view_00", "view_05")]
    seen = {view: prompts for view in others if (prompts := clicks.seen_in(scene.view(view.name))) is not None}
    # Those on the other side see nothing of the blue ball's front.
    assert [view.name for view in seen] == ["view_07"]
    for view, prompts in seen.items():
        assert [objects_at(view, pixels) for pixels in asked(prompts)] == [[BLUE], []]
    both = clicks_of(on(BLUE), off(RED, 6)).seen_in(scene.view("view_07"))
    assert [objects_at(balls().views[7], pixels) for pixels in asked(both)] == [[BLUE], [RED]]


def test_hidden_points_are_asked_about_only_if_told_so():
    scene = shared_scene()
    hidden = [
        view
        for view in map(scene.view, (view.name for view in balls().views))
        if clicks_of(on(BLUE)).seen_in(view) is None
    ]
    assert hidden
    assert all(clicks_of(on(BLUE), occlusion=False).seen_in(view) is not None for view in hidden)


def test_clicks_off_the_object_bring_those_on_it_from_elsewhere():
    """Alone they say nothing of where the object is."""
    clicks, scene = clicks_of(on(BLUE, 6), off(GREEN, 7), off(RED, 0)), shared_scene()
    inside, outside = asked(clicks.seen_in(scene.view("view_07")))
    assert objects_at(balls().views[7], inside) == [BLUE]
    assert outside[0] == balls().views[7].middle(GREEN) and objects_at(balls().views[7], outside[1:]) == [RED]
    # Where none of those is to be seen they are all that is known.
    red = balls().views[3].middle(RED)
    assert asked(clicks_of(on(BLUE, 6), off(RED, 3)).seen_in(scene.view("view_03"))) == ([], [red])


def test_clicks_from_a_free_camera():
    seen_from = ring_of_cameras(16, 96, 72)[1]
    scene = balls().scene(TruthfulSegmenter())
    free = ViewPrompts("free", (balls().views[0].middle(BLUE),), camera=FreeCamera.of(seen_from))
    clicks = Clicks.of(scene, ObjectPrompts("thing", (free,)))
    assert clicks.views[0].view is scene.view("free")
    assert float((clicks.on[0] - torch.tensor(CENTRES[BLUE])).norm()) == pytest.approx(RADII[BLUE], abs=0.05)
