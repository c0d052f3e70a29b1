"""Clicks become objects: on made scenes whose objects are known, with a segmenter that tells the truth, or lies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.demo.scene import balls_on_a_table, ring_of_cameras
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.segmentation.prompts import Level, ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.propagate import FoundObject, Propagate, find_object
from splatseg_ns.segmentation.surfaces import Surfaces
from tests.segmentation.clicked import (
    BLUE,
    GREEN,
    RED,
    VIEWS,
    Answer,
    TruthfulSegmenter,
    ball_before_wall,
    balls,
    painted,
    whole_thrice,
)


def clicked(*views: ViewPrompts, segmenter: TruthfulSegmenter | None = None, **config: object) -> FoundObject:
    """What clicks on the balls give."""
    scene = balls().scene(segmenter or TruthfulSegmenter())
    return find_object(scene, ObjectPrompts("thing", views), Propagate(**config))  # pyright: ignore


def on(object: int, view: int = 0) -> ViewPrompts:
    chosen = balls().views[view]
    return ViewPrompts(chosen.name, (chosen.middle(object),))


@pytest.mark.parametrize("object", [RED, GREEN, BLUE])
def test_one_click_gives_the_gaussians_of_the_object(object: int):
    for view in (0, 5):
        found = clicked(on(object, view))
        assert balls().iou(found.known, object) > 0.99
        assert all(used.accepted for used in found.masks)
        assert found.agreement > 0.95
        assert found.meanings[0].gaussians == int(found.known.rows.sum())
        for used in found.masks:
            true = next(view for view in balls().views if view.name == used.view).objects == object
            assert torch.equal(used.mask, true)


def test_the_clicked_view_comes_first_and_each_view_once():
    names = [used.view for used in clicked(on(BLUE, 3)).masks]
    assert names[0] == "view_03"
    assert sorted(names) == [view.name for view in balls().views]


@pytest.mark.parametrize("views", [1, 3, 100])
def test_no_more_views_are_asked_than_said(views: int):
    segmenter = TruthfulSegmenter()
    found = clicked(on(BLUE), segmenter=segmenter, views=views)
    assert len(found.masks) == len({question.view for question in segmenter.questions}) == min(views, VIEWS)


def test_all_clicked_views_are_asked_even_if_they_are_more():
    found = clicked(on(BLUE, 0), on(BLUE, 3), on(BLUE, 6), views=2)
    assert {used.view for used in found.masks} == {"view_00", "view_03", "view_06"}


def half_and_half_the_picture(objects: Tensor, whole: Tensor) -> list[Tensor]:
    """Another part in each view, the whole, and the whole with all that is in the picture's right half."""
    columns = torch.arange(whole.shape[1])
    middle = columns[whole.any(dim=0)].float().mean()
    return [whole & (columns <= middle), whole, whole | ((columns > whole.shape[1] / 2) & bool(whole.any()))]


def test_the_whole_is_meant_where_parts_and_groups_are_others_in_each_view():
    for scores in ((0.9, 0.5, 0.7), (0.5, 0.7, 0.9)):
        segmenter = TruthfulSegmenter(half_and_half_the_picture, scores=scores)
        found = clicked(on(BLUE), segmenter=segmenter)
        assert balls().iou(found.known, BLUE) > 0.98
        assert len(found.meanings) > 1 and found.meanings[0].support == max(m.support for m in found.meanings)


def cap_object_and_all(view: int) -> Answer:
    """The same in 3D whatever the view."""
    parts = balls().views[view].picture[..., 1] == 1

    def answer(objects: Tensor, whole: Tensor) -> list[Tensor]:
        return [whole & parts, whole, (objects > 0) & bool(whole.any())]

    return answer


def nested(whole_only: tuple[int, ...] = ()) -> TruthfulSegmenter:
    """Knows parts and groups, but in some views wholes alone."""
    answers = {view: whole_thrice if view in whole_only else cap_object_and_all(view) for view in range(VIEWS)}
    return TruthfulSegmenter(answers_of_views=answers)


def part_middle(object: int, part: int, view: int = 0) -> tuple[float, float]:
    chosen = balls().views[view]
    inside = (chosen.objects == object) & (chosen.picture[..., 1] == part)
    return replace(chosen, picture=inside[..., None].byte()).middle(1)


def at_level(level: Level, segmenter: TruthfulSegmenter) -> FoundObject:
    click = ViewPrompts("view_03", (part_middle(RED, 1, 3),))
    return find_object(balls().scene(segmenter), ObjectPrompts("thing", (click,), level))


def test_levels_are_less_and_more_than_what_the_views_agree_on():
    part, auto, group = (at_level(level, nested(whole_only=(0, 1, 6, 7))) for level in ("part", "auto", "group"))
    assert balls().iou(auto.known, RED) > 0.98
    assert part.meanings[0].gaussians < auto.meanings[0].gaussians < group.meanings[0].gaussians
    assert [found.prompts.level for found in (part, auto, group)] == ["part", "auto", "group"]
    # Each tells of the others.
    for found in (part, auto, group):
        assert found.meanings[0].gaussians == int(found.known.rows.sum()) and len(found.meanings) > 1


@pytest.mark.parametrize(("level", "missing"), [("part", "smaller"), ("group", "larger")])
def test_levels_that_nothing_is_found_for(level: Level, missing: str):
    with pytest.raises(ValueError, match=f"thing: nothing {missing} was found") as caught:
        at_level(level, TruthfulSegmenter())
    assert "\n" not in str(caught.value)


def seen_towards(point: Tensor, centre: Tensor, view: int) -> bool:
    """Whether a point of a ball is on the side that a camera sees."""
    normal = point - centre
    position = ball_before_wall().views[view].camera.position.double()
    return float((position - point) @ normal) > 0.0


@pytest.mark.parametrize("occlusion", [True, False])
def test_clicks_are_carried_to_views_that_show_the_point_and_with_occlusion_to_no_others(occlusion: bool):
    made = ball_before_wall()
    segmenter = TruthfulSegmenter()
    find_object(made.scene(segmenter), made.click(1), Propagate(occlusion=occlusion))
    point = Surfaces.seen(rasterizer_for("cpu"), made.splats, made.views[0].camera).point(*made.views[0].middle(1))
    assert point is not None
    hidden = {view for view in range(VIEWS) if not seen_towards(point, torch.zeros(3).double(), view)}
    assert {3, 4, 5} <= hidden
    asked = {question.view for question in segmenter.questions if question.is_click}
    if occlusion:
        assert not asked & hidden and asked > {0}
    else:
        assert asked == set(range(VIEWS))


def test_without_expectations_hidden_views_are_not_asked_at_all():
    made = ball_before_wall()
    segmenter = TruthfulSegmenter()
    found = find_object(made.scene(segmenter), made.click(1), Propagate(self_prompts=False))
    assert all(question.is_click for question in segmenter.questions)
    assert not {used.view for used in found.masks} & {"view_03", "view_04", "view_05"}


def test_no_view_is_asked_about_what_stands_before_the_object():
    """A wall between the ball and some cameras: the segmenter is never pointed at it."""
    made = ball_before_wall()
    shield = made.splats.means.clone()
    wall = made.truth == 2
    # Half as large, and near: it hides the ball from the camera behind it.
    shield[wall] = torch.stack([shield[wall, 0] / 3, shield[wall, 1] / 3, torch.full((int(wall.sum()),), 1.2)], dim=1)
    shielded = painted(replace(made.splats, means=shield), made.truth, [view.camera for view in made.views])
    assert not bool((shielded.views[4].objects == 1).any())
    segmenter = TruthfulSegmenter()
    found = find_object(shielded.scene(segmenter), shielded.click(1))
    assert shielded.iou(found.known, 1) > 0.98
    for question in segmenter.questions:
        objects = shielded.views[question.view].objects
        assert all(int(objects[int(y), int(x)]) == 1 for x, y in question.points), question
    unaware = TruthfulSegmenter()
    find_object(shielded.scene(unaware), shielded.click(1), Propagate(occlusion=False))
    assert any(question.view == 4 and question.is_click for question in unaware.questions)


def everything(objects: Tensor, _: Tensor) -> list[Tensor]:
    return [torch.ones_like(objects, dtype=torch.bool)] * 3


def another(objects: Tensor, _: Tensor) -> list[Tensor]:
    return [objects == RED] * 3


@pytest.mark.parametrize("lie", [everything, another])
@pytest.mark.parametrize("liar", [2, 4, 7])
def test_a_lie_in_one_view_is_rejected_and_changes_nothing(lie, liar: int):
    honest = clicked(on(BLUE))
    found = clicked(on(BLUE), segmenter=TruthfulSegmenter(answers_of_views={liar: lie}))
    assert [used.view for used in found.masks if not used.accepted] == [f"view_{liar:02d}"]
    assert balls().iou(found.known, BLUE) > 0.99
    assert float((found.known.rows == honest.known.rows).float().mean()) > 0.995


def test_without_rejection_lies_count():
    liar = TruthfulSegmenter(answers_of_views={4: another, 5: another})
    found = clicked(on(BLUE), segmenter=liar, least_agreement=0.0)
    assert all(used.accepted for used in found.masks)


def test_the_mask_that_fits_best_is_taken_not_the_one_of_the_best_score():
    def modest(objects: Tensor, whole: Tensor) -> list[Tensor]:
        return [objects > 0, whole, objects >= 0]

    segmenter = TruthfulSegmenter(scores=(0.9, 0.1, 0.8), answers_of_views=dict.fromkeys(range(3, 8), modest))
    assert balls().iou(clicked(on(BLUE), segmenter=segmenter).known, BLUE) > 0.98
    by_score = clicked(on(BLUE), segmenter=segmenter, best_fitting=False, consensus=False)
    third = next(used for used in by_score.masks if used.view == "view_03")
    assert torch.equal(third.mask, balls().views[3].objects > 0)


def test_clicks_on_two_things_in_one_view_give_both():
    first, second = on(RED), on(BLUE)
    found = clicked(ViewPrompts("view_00", first.points + second.points))
    assert balls().iou(found.known, RED, BLUE) > 0.95


def test_clicks_off_the_object_take_something_away():
    upper, lower = part_middle(BLUE, 1), part_middle(BLUE, 2)
    found = clicked(ViewPrompts("view_00", (upper,), (lower,)), segmenter=nested())
    assert balls().iou(found.known, BLUE, part=1) > 0.9
    elsewhere = (ViewPrompts("view_00", (upper,)), ViewPrompts("view_07", (), (part_middle(BLUE, 2, 7),)))
    assert balls().iou(clicked(*elsewhere, segmenter=nested()).known, BLUE, part=1) > 0.9


@pytest.mark.parametrize("first", [True, False])
def test_views_with_clicks_off_the_object_alone_do_not_say_where_it_is(first: bool):
    off = ViewPrompts("view_06", (), (balls().views[6].middle(RED),))
    views = (off, on(BLUE)) if first else (on(BLUE), off)
    for config in ({}, {"consensus": False}):
        found = clicked(*views, **config)
        assert balls().iou(found.known, BLUE) > 0.98
        assert found.masks[0].view == "view_00"


def box_around(object: int, view: int = 0) -> ViewPrompts:
    rows, columns = (balls().views[view].objects == object).nonzero().unbind(dim=1)
    left, top, right, bottom = (float(side) for side in (columns.min(), rows.min(), columns.max(), rows.max()))
    return ViewPrompts(balls().views[view].name, box=(left, top, right + 1.0, bottom + 1.0))


@pytest.mark.parametrize("object", [RED, BLUE])
def test_a_box_alone(object: int):
    segmenter = TruthfulSegmenter()
    found = clicked(box_around(object), segmenter=segmenter)
    assert balls().iou(found.known, object) > 0.99
    assert segmenter.questions[0].box == pytest.approx(box_around(object).box)


def test_a_box_in_a_later_view_than_the_clicks_off_the_object():
    off = ViewPrompts("view_03", (), (balls().views[3].middle(GREEN),))
    found = clicked(off, box_around(BLUE, 6))
    assert balls().iou(found.known, BLUE) > 0.99


def test_a_box_around_nothing():
    with pytest.raises(ValueError, match="view view_00: the segmenter finds nothing in the box"):
        clicked(ViewPrompts("view_00", box=(1.0, 1.0, 9.0, 9.0)))


def one_line(*views: ViewPrompts, segmenter: TruthfulSegmenter | None = None) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        clicked(*views, segmenter=segmenter)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 250
    return message


def test_a_click_on_the_background_or_the_sky():
    # The painted table is no object to the segmenter; above it there are no splats.
    assert "finds no mask" in one_line(ViewPrompts("view_00", ((48.5, 66.5),)))
    sky = one_line(ViewPrompts("view_00", ((2.5, 1.5),)))
    assert "view_00: there is nothing at 2.5 1.5" in sky


def test_contradictory_clicks():
    x, y = part_middle(BLUE, 1)
    assert "finds no mask that has all clicks on the object inside" in one_line(
        ViewPrompts("view_00", ((x, y),), ((x + 1, y),))
    )


def test_a_segmenter_that_finds_nothing():
    def nothing(objects: Tensor, _: Tensor) -> list[Tensor]:
        return [torch.zeros_like(objects, dtype=torch.bool)] * 3

    assert "thing: the segmenter finds no" in one_line(on(BLUE), segmenter=TruthfulSegmenter(nothing))
    with pytest.raises(ValueError, match="thing: the segmenter finds nothing"):
        clicked(on(BLUE), segmenter=TruthfulSegmenter(nothing), consensus=False)


def test_clicks_that_do_not_say_where():
    assert "there is no click" in one_line()
    assert "only clicks off it" in one_line(ViewPrompts("view_00", (), (balls().views[0].middle(RED),)))
    assert "outside its picture of 96x72" in one_line(ViewPrompts("view_00", ((97.0, 3.0),)))
    scene = balls().scene(TruthfulSegmenter())
    with pytest.raises(LookupError, match="no view 'view_99'; the nearest names are view_0"):
        find_object(scene, ObjectPrompts("thing", (ViewPrompts("view_99", ((1.0, 1.0),)),)))


@pytest.mark.parametrize("corner", [(0.0, 0.0), (64.0, 64.0), (64.0, 0.2), (0.0, 63.5)])
def test_a_click_at_the_edge_of_the_picture(corner: tuple[float, float]):
    made = ball_before_wall()
    assert int(made.views[0].objects[int(min(corner[1], 63)), int(min(corner[0], 63))]) == 2
    found = find_object(made.scene(TruthfulSegmenter()), ObjectPrompts("wall", (ViewPrompts("view_00", (corner,)),)))
    assert made.iou(found.known, 2) > 0.98


def test_pictures_of_mixed_sizes():
    splats, truth = balls_on_a_table()
    sizes = [(96, 72), (72, 96), (64, 64), (128, 90), (61, 47), (96, 72), (100, 60), (80, 80)]
    cameras = [ring_of_cameras(VIEWS, *size)[place] for place, size in enumerate(sizes)]
    made = painted(splats, truth, cameras)
    found = find_object(made.scene(TruthfulSegmenter()), made.click(BLUE))
    assert made.iou(found.known, BLUE) > 0.98
    assert {tuple(used.mask.shape) for used in found.masks} == {(height, width) for width, height in sizes}


@pytest.mark.parametrize("config", [{}, {"consensus": False}, {"views": 3}, {"self_prompts": False}])
@pytest.mark.parametrize("answer", [whole_thrice, half_and_half_the_picture])
def test_progress_reaches_its_total_and_never_exceeds_it(config: dict, answer):
    reports: list[tuple[int, int]] = []
    scene = balls().scene(TruthfulSegmenter(answer))
    find_object(scene, balls().click(BLUE), Propagate(**config), lambda done, total: reports.append((done, total)))
    done, totals = zip(*reports, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done) and done[0] > 0 and done[-1] == totals[0]


def test_the_same_clicks_give_the_same_object():
    one, two = (clicked(on(GREEN), segmenter=TruthfulSegmenter(half_and_half_the_picture)) for _ in range(2))
    assert torch.equal(one.known.inside, two.known.inside) and torch.equal(one.known.seen, two.known.seen)
    assert one.meanings == two.meanings
    for left, right in zip(one.masks, two.masks, strict=True):
        assert (left.view, left.agreement, left.accepted) == (right.view, right.agreement, right.accepted)
        assert torch.equal(left.mask, right.mask)
    # Nor does it matter what a scene was asked before.
    scene = balls().scene(TruthfulSegmenter(half_and_half_the_picture))
    find_object(scene, balls().click(BLUE))
    assert torch.equal(find_object(scene, balls().click(GREEN)).known.inside, one.known.inside)


def test_a_mask_too_small_to_be_carried_is_the_object_all_the_same():
    def speck(_: Tensor, whole: Tensor) -> list[Tensor]:
        x, y = (int(side) for side in balls().views[0].middle(BLUE))
        small = torch.zeros_like(whole)
        small[y - 2 : y + 3, x - 2 : x + 3] = True
        return [small & whole] * 3

    found = clicked(on(BLUE), segmenter=TruthfulSegmenter(speck), consensus=False)
    rows = found.known.rows & (found.known.seen > 0.5)
    assert bool(rows.any()) and bool((balls().truth[rows] == BLUE).all())
    assert found.masks == () and found.agreement == 0.0


@pytest.mark.parametrize(
    "options",
    [{"views": 0}, {"considered": 0}, {"trial_views": 0}, {"least_agreement": 1.5}, {"least_agreement": -0.1}],
)
def test_options_that_make_no_sense(options: dict):
    with pytest.raises(ValueError, match=next(iter(options))):
        Propagate(**options)
