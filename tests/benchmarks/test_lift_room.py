"""The room's masks are those of its objects."""

from __future__ import annotations

import torch

from benchmarks.lift_room import RoomSize, measure_room, room_views
from benchmarks.rooms import make_room
from splatseg_ns.lift import Evidence, FlashSplat
from splatseg_ns.raster.cpu import CpuRasterizer

SMALL = RoomSize(gaussians=4000, views=3, width=64, height=48, objects=4)


def test_masks_show_objects_that_votes_find_again() -> None:
    engine, room = CpuRasterizer(threads=1), make_room(SMALL.gaussians)
    views = room_views(engine, room, SMALL)
    assert [tuple(view.labels.shape) for view in views] == [(48, 64)] * 3
    labels = FlashSplat().solve(Evidence.of(engine, room, views, range(5))).labels
    same = []
    for view in views:
        one_hot = (labels.ids[:, None] == torch.arange(5)).float()
        drawn = engine.render(room, view.camera, features=one_hot).colors.argmax(dim=-1)
        same.append(float((drawn == view.labels).float().mean()))
    assert len(labels.objects) >= 2 and min(same) > 0.9


def test_every_solver_is_timed() -> None:
    said: list[str] = []
    seconds = measure_room({"one": FlashSplat(), "two": FlashSplat(0.4)}, SMALL, 2, 1, said.append)
    assert set(seconds) == {"one", "two"} and min(seconds.values()) > 0 and len(said) == 2
