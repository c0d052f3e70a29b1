"""How cut-out objects are judged."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.boundary import looks_of, main, reunited_difference, shortened
from splatseg_ns.lift import Labels
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Capture, View
from tests.cli.examples import SceneOnDisk, write_scene

ENGINE = rasterizer_for("cpu")
BALL = 1


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneOnDisk:
    return write_scene(tmp_path_factory.mktemp("boundary"))


@pytest.fixture(scope="module")
def views(scene: SceneOnDisk) -> tuple[View, ...]:
    return Capture.load(scene.data, scene.masks).views


@pytest.fixture(scope="module")
def labels(scene: SceneOnDisk) -> Labels:
    return Labels(scene.truth, torch.ones(len(scene.truth)))


def test_what_sticks_out_of_an_object_is_seen(scene: SceneOnDisk, views: tuple[View, ...]):
    ball = scene.truth == BALL
    right = looks_of(ENGINE, scene.splats, ball, views, BALL)
    table = (scene.truth == 0).nonzero().flatten()[::20]
    with_table = ball.clone()
    with_table[table] = True
    wrong = looks_of(ENGINE, scene.splats, with_table, views, BALL)
    assert right is not None and wrong is not None
    assert right.silhouette > 0.85 and wrong.silhouette < right.silhouette
    assert right.spikes < 5.0 < 20.0 < wrong.spikes
    assert looks_of(ENGINE, scene.splats, ball, views, 9) is None


def test_needles_that_leave_the_mask_are_cut_back_and_nothing_else_changes(
    scene: SceneOnDisk, views: tuple[View, ...], labels: Labels
):
    needle, radius = int((scene.truth == BALL).nonzero()[0]), 0.3
    log_scales = scene.splats.log_scales.clone()
    log_scales[needle, 0] = math.log(radius)
    splats = replace(scene.splats, log_scales=log_scales)
    cut = shortened(splats, labels, views, [BALL])
    assert 0.25 * radius <= float(cut.scales[needle, 0]) * (1 + 1e-5) < 0.8 * radius
    others = torch.arange(len(splats)) != needle
    assert torch.equal(cut.log_scales[others], splats.log_scales[others])
    assert torch.equal(shortened(splats, labels, views, [2]).log_scales, splats.log_scales)


def test_parts_draw_the_scene(scene: SceneOnDisk, views: tuple[View, ...], labels: Labels):
    assert reunited_difference(ENGINE, scene.splats, labels, [1, 2, 3], views[:3]) < 0.01
    fewer = replace(labels, ids=torch.where(scene.truth == BALL, 7, labels.ids))
    assert reunited_difference(ENGINE, scene.splats, fewer, [7, 2, 3], views[:3]) < 0.01


def test_the_table_has_a_row_for_every_way(scene: SceneOnDisk, capsys: pytest.CaptureFixture[str]):
    labels = scene.data / "labels"
    if not labels.exists():
        labels.symlink_to(scene.masks)
    main(["--data", str(scene.data), "--ply", str(scene.ply), "--steps", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("|") for line in lines) == 2 + 7
    assert lines[-1].startswith("Parts put together again")
