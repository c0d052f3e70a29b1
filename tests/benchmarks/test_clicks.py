"""The protocol of clicks, by hand, and the whole benchmark on a tiny capture with a segmenter that is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import clicks
from benchmarks.clicks import ClickCase, Round, corrected, deepest, first_click, main, report_rounds
from benchmarks.raster import Report
from splatseg_ns.scene import Capture, View
from splatseg_ns.segmentation.prompts import ObjectPrompts, ViewPrompts
from tests.cli.examples import TEST_VIEWS, SceneOnDisk
from tests.segmentation.clicked import BLUE, RED, ColourSegmenter


def block(top: int, bottom: int, left: int, right: int, height: int = 20, width: int = 30) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def test_the_deepest_pixel():
    x, y, depth = deepest(block(4, 11, 6, 13))
    assert (x, y) == (9.5, 7.5) and depth == pytest.approx(4.0, abs=0.05)
    # The larger of two.
    x, y, _ = deepest(block(0, 3, 0, 30) | block(8, 17, 20, 29))
    assert (x, y) == (24.5, 12.5)
    # The picture's border is one of the mask, too.
    x, y, depth = deepest(block(0, 20, 0, 9))
    assert x == 4.5 and depth == pytest.approx(5.0, abs=0.05)
    assert deepest(block(0, 0, 0, 0))[2] == 0.0


class MadeCase(ClickCase):
    """Masks by hand in place of what is drawn."""

    def shown(self, rows: Tensor, view: View) -> Tensor:
        return rows.reshape(20, 30)


@pytest.fixture
def case(pristine: SceneOnDisk) -> MadeCase:
    """Object 1 in all views, but only in the second of the training views large enough for a click there."""
    views = list(Capture.load(pristine.data))
    training = [view for view in views if view.name not in TEST_VIEWS]
    truth = {view.name: block(5, 12, 3, 10).long() for view in views}
    truth["view_01"] = torch.zeros(60, 60, dtype=torch.int64)
    truth["view_01"][5:45, 10:55] = 1
    truth["view_01"][50:55] = 4
    return MadeCase(None, None, None, training, [], truth)  # pyright: ignore[reportArgumentType]


def test_objects_are_clicked_where_they_are_large_first(case: MadeCase):
    assert case.objects == [1, 4]
    assert case.first_view(1).name == "view_01"
    small = {name: labels if name != "view_01" else torch.zeros_like(labels) for name, labels in case.truth.items()}
    small["view_04"] = block(0, 15, 3, 20).long()
    assert replace(case, truth=small).first_view(1).name == "view_04"


def test_the_first_click_is_deep_inside_and_the_same_again(case: MadeCase):
    x, y, depth = deepest(case.truth["view_01"] == 1)
    places = set()
    for seed in range(20):
        prompts = first_click(case, 1, seed)
        assert prompts == first_click(case, 1, seed)
        (entry,) = prompts.views
        assert entry.view == "view_01" and entry.negative == () and entry.box is None
        ((clicked_x, clicked_y),) = entry.points
        away = ((clicked_x - x) ** 2 + (clicked_y - y) ** 2) ** 0.5
        assert away <= 0.3 * depth
        places.add(entry.points)
    assert len(places) == 20


CLICKED = ObjectPrompts("object 1", (ViewPrompts("view_00", ((4.5, 8.5),)),))


@pytest.fixture
def small_case(case: MadeCase) -> MadeCase:
    return replace(case, truth={name: block(5, 12, 3, 10).long() for name in case.truth})


def test_corrections_go_where_most_is_wrong(small_case: MadeCase):
    # The right part is missing; beside it there is a little too much.
    rows = (block(5, 12, 3, 6) | block(15, 17, 15, 17)).flatten()
    entry = corrected(small_case, 1, CLICKED, rows).views[0]
    assert entry.points[0] == (4.5, 8.5) and entry.negative == ()
    x, y = entry.points[1]
    assert 6 < x < 10 and 5 < y < 12
    # A large part too much.
    rows = (block(5, 12, 3, 9) | block(9, 18, 15, 26)).flatten()
    entry = corrected(small_case, 1, CLICKED, rows).views[0]
    assert entry.points == ((4.5, 8.5),)
    ((x, y),) = entry.negative
    assert 18 < x < 23 and y == 13.5


def test_nothing_is_corrected_where_nothing_is_wrong(small_case: MadeCase):
    assert corrected(small_case, 1, CLICKED, block(5, 12, 3, 10).flatten()) == CLICKED


def test_scores_are_means_over_views_that_show_the_object(small_case: MadeCase):
    held_out = list(small_case.training[:3])
    truth = {view.name: block(5, 12, 3, 10).long() for view in held_out}
    truth[held_out[1].name] = block(5, 12, 3, 17).long()
    truth[held_out[2].name] = block(0, 0, 0, 0).long()
    judged = replace(small_case, held_out=held_out, truth=truth)
    # 49 of 49 pixels, 49 of 98; the third view does not show it.
    assert judged.held_out_iou(block(5, 12, 3, 10).flatten(), 1) == pytest.approx((1.0 + 0.5) / 2)


def test_the_table_by_hand(capsys: pytest.CaptureFixture[str]):
    rounds = [
        Round(1, 0, 1, 0.5, 8, 4.0),
        Round(2, 0, 1, 0.9, 6, 2.0),
        Round(1, 1, 1, 0.7, 8, 1.0),
        Round(2, 1, 1, 0.9, 6, 1.0),
    ]
    report_rounds(Report(), rounds)
    printed = capsys.readouterr().out
    # Means of the seeds are 0.7 and 0.8.
    assert "0.750 +- 0.050" in printed and "50 %" in printed and "4.0" in printed and "1.5" in printed
    assert "0.600" in printed and "0.900" in printed


@pytest.fixture
def capture(scene_with_labels: SceneOnDisk) -> list[str]:
    return ["--data", str(scene_with_labels.data), "--ply", str(scene_with_labels.ply)]


@pytest.fixture
def scene_with_labels(tmp_path: Path) -> SceneOnDisk:
    from tests.cli.examples import write_scene

    scene = write_scene(tmp_path)
    scene.masks.rename(scene.data / "labels")
    return scene


@pytest.fixture(autouse=True)
def segmenter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ColourSegmenter:
    made = ColourSegmenter()
    monkeypatch.setattr(clicks, "segmenter_named", lambda *_: made)
    monkeypatch.setenv("SPLATSEG_CACHE", str(tmp_path / "cache"))
    return made


def test_the_whole_benchmark(capture: list[str], capsys: pytest.CaptureFixture[str]):
    main([*capture, "--seeds", "1", "--clicks", "2"])
    printed = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in printed.splitlines() if line.startswith("|")]
    by_clicks = {row[0].strip(): row for row in rows if row[0].strip() in ("1", "2", "3")}
    # The last table whose rows have these names is the one of the objects: after each click.
    assert all(float(number) > 0.8 for row in by_clicks.values() for number in row[1:3])
    ablation = {row[0].strip(): float(row[1]) for row in rows if row[0].strip() in clicks.VARIANTS}
    assert list(ablation) == list(clicks.VARIANTS) and all(0.0 <= iou <= 1.0 for iou in ablation.values())
    assert "best of the levels after 1 click: 0." in printed


def test_held_out_views_are_not_read(capture: list[str], segmenter: ColourSegmenter):
    main([*capture, "--seeds", "1", "--clicks", "1", "--only", "clicks"])
    assert len(segmenter.embedded) == 10 - len(TEST_VIEWS)


def test_the_case_of_a_capture(scene_with_labels: SceneOnDisk):
    made = ClickCase.load(scene_with_labels.data, scene_with_labels.ply)
    assert [view.name for view in made.held_out] == list(TEST_VIEWS)
    assert made.objects == [1, 2, 3]
    true = scene_with_labels.truth
    assert made.held_out_iou(true == BLUE, BLUE) > 0.98 > made.held_out_iou(true == RED, BLUE)
