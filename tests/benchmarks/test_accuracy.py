"""The IoU convention, on masks whose pixels can be counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.accuracy import HeldOutViews, shown_objects
from splatseg_ns.demo.scene import balls_on_a_table, ring_of_cameras
from splatseg_ns.lift import LabelledView, Labels, render_label_map
from splatseg_ns.raster.cpu import CpuRasterizer
from tests.raster.scenes import camera

OBJECTS = torch.tensor([1, 2, 3])


def view_of(labels: Tensor, pixel_mask: Tensor | None = None) -> LabelledView:
    return LabelledView(0, camera(labels.shape[1], labels.shape[0]), labels, pixel_mask)


def test_an_object_is_judged_where_it_covers_one_pixel_in_2000():
    labels = torch.zeros(100, 100, dtype=torch.uint8)
    labels[0, :5], labels[1, :4] = 1, 2
    # Of 10,000 pixels 5 are enough, 4 are not.
    assert shown_objects(view_of(labels), OBJECTS).tolist() == [True, False, False]

    valid = torch.ones(100, 100, dtype=torch.bool)
    valid[0, 0] = False
    assert shown_objects(view_of(labels, valid), OBJECTS).tolist() == [False, False, False]


def test_scores_are_means_over_views_and_objects():
    splats, truth = balls_on_a_table()
    engine = CpuRasterizer(threads=1)
    cameras = ring_of_cameras(3, 96, 72)
    labels = Labels(truth, torch.ones(len(truth)))
    maps = [render_label_map(engine, splats, seen_from, labels, OBJECTS) for seen_from in cameras]
    # In the first view the truth of object 1 is only half of what is drawn, in the last one object 3 is not there.
    halved = maps[0] == 1
    halved[:, : int(halved.nonzero()[:, 1].median()) + 1] = False
    maps[0][halved] = 0
    share = float((maps[0] == 1).sum()) / float((maps[0] == 1).sum() + halved.sum())
    maps[2][maps[2] == 3] = 0
    views = [
        LabelledView(place, seen_from, drawn, None)
        for place, (seen_from, drawn) in enumerate(zip(cameras, maps, strict=True))
    ]

    held_out = HeldOutViews(engine, splats, views, OBJECTS)
    score = held_out.score(labels)
    # Eight pairs, seven of them perfect; object 1 is perfect in two of three views.
    assert score.iou == pytest.approx((7 + share) / 8)
    assert score.worst == pytest.approx((2 + share) / 3)
    assert 7 / 8 < score.boundary_iou < 1
    assert held_out.score(labels) is score

    nothing = held_out.score(Labels(torch.zeros_like(truth), labels.margin))
    assert (nothing.iou, nothing.worst, nothing.boundary_iou) == (0.0, 0.0, 0.0)


def test_held_out_views_must_show_something():
    splats, _ = balls_on_a_table()
    with pytest.raises(ValueError, match="no held-out view shows an object"):
        HeldOutViews(CpuRasterizer(threads=1), splats, [view_of(torch.zeros(8, 8, dtype=torch.uint8))], OBJECTS)
