"""One click with the real segmenter on the bundled capture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splatseg_ns.demo.bundle import bundled_capture, bundled_splats
from splatseg_ns.masks.embedding_cache import CachedSegmenter
from splatseg_ns.masks.segmenters import segmenter_named
from splatseg_ns.raster import one_torch_thread, rasterizer_for
from splatseg_ns.scene import View
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.prompts import ObjectPrompts, ViewPrompts
from splatseg_ns.segmentation.propagate import Propagate, find_object

pytestmark = pytest.mark.slow


def truth(view: View, object: int) -> torch.Tensor:  # [H, W] bool
    labels = view.label_map()
    assert labels is not None
    return labels == object


def largest_object(view: View) -> int:
    labels = view.label_map()
    assert labels is not None
    ids, counts = labels[labels > 0].unique(return_counts=True)
    return int(ids[counts.argmax()])


def test_one_click_carried_over_four_views_is_the_object_in_views_held_out(tmp_path: Path):
    capture, splats, rasterizer = bundled_capture(), bundled_splats(), rasterizer_for("cpu")
    training, held_out = capture.with_split("train").views, capture.with_split("val", "test").views
    object = largest_object(training[0])
    depth = cv2.distanceTransform(truth(training[0], object).byte().numpy(), cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    click = ViewPrompts(training[0].name, ((float(column) + 0.5, float(row) + 0.5),))
    scene = ClickedScene(rasterizer, splats, training, CachedSegmenter(segmenter_named("mobile-sam"), tmp_path))
    with one_torch_thread():
        found = find_object(scene, ObjectPrompts("thing", (click,)), Propagate(views=4))
    assert len(found.masks) == 4 and sum(used.accepted for used in found.masks) >= 3
    ious = []
    for view in held_out:
        true = truth(view, object)
        if int(true.sum()) > 500:
            drawn = rasterizer.render(splats, view.camera, features=found.known.rows.float()[:, None]).colors[..., 0]
            shown = drawn > 0.5
            ious.append(float((true & shown).sum() / (true | shown).sum()))
    assert len(ious) >= 6 and float(np.mean(ious)) > 0.8, ious
