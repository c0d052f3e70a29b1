"""Remembered votes are those that the engine would count."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.remembering import RememberingRasterizer
from splatseg_ns.raster import ViewVotes
from splatseg_ns.raster.cpu import CpuRasterizer
from tests.lift.examples import toy_splats, toy_views


def same(left: ViewVotes, right: ViewVotes) -> bool:
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in vars(left))


def test_the_same_question_is_answered_once_and_another_anew():
    splats, engine = toy_splats(), CpuRasterizer(threads=1)
    first, second = toy_views(2)
    remembering = RememberingRasterizer(engine, splats)
    weight = torch.rand(first.labels.shape)
    valid = first.labels != 1
    other_ids, moved = torch.tensor([0, 2]), replace(first.camera, viewmat=first.camera.viewmat * 1.01)
    kept = remembering.votes(splats, first.camera, first.labels)
    assert remembering.votes(splats, first.camera, first.labels.clone()) is kept
    for camera, labels, ids, options in (
        (first.camera, first.labels, None, {}),
        (second.camera, second.labels, None, {}),
        (moved, first.labels, None, {}),
        (first.camera, first.labels + 1, None, {}),
        (first.camera, first.labels, other_ids, {}),
        (first.camera, first.labels, None, {"pixel_weight": weight}),
        (first.camera, first.labels, None, {"pixel_mask": valid}),
    ):
        expected = engine.votes(splats, camera, labels, ids, **options)
        assert same(remembering.votes(splats, camera, labels, ids, **options), expected)


def test_other_splats_are_not_mistaken_for_the_scene():
    splats, engine, view = toy_splats(), CpuRasterizer(threads=1), toy_views(1)[0]
    remembering = RememberingRasterizer(engine, splats)
    remembering.votes(splats, view.camera, view.labels)
    few = splats.subset(torch.arange(len(splats)) < 20)
    assert len(remembering.votes(few, view.camera, view.labels).seen) == 20


def test_the_oldest_votes_make_room():
    splats, engine = toy_splats(), CpuRasterizer(threads=1)
    views = toy_views(3)
    sizes = [
        sum(tensor.nbytes for tensor in vars(engine.votes(splats, view.camera, view.labels)).values()) for view in views
    ]
    remembering = RememberingRasterizer(engine, splats, room_bytes=sum(sizes) - 1)
    answers = [remembering.votes(splats, view.camera, view.labels) for view in views]
    assert remembering.votes(splats, views[2].camera, views[2].labels) is answers[2]
    assert remembering.votes(splats, views[0].camera, views[0].labels) is not answers[0]
