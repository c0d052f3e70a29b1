"""What belongs to an object when it stands alone."""

from __future__ import annotations

import torch

from splatseg_ns.lift import FlashSplat, LabelledViews, accumulate_votes, isolated_labels, isolated_revote
from splatseg_ns.raster import Rasterizer
from tests.lift.examples import ToyView
from tests.raster.scenes import camera, gaussians

# Five pixels in a row, focal length 100, depth 2: one pixel is 0.02 units. Object 1 is the left pixel, object 2 the
# two at the right. Small Gaussians reach one pixel to each side.
CAMERA = camera(5, 1, focal=(100.0, 100.0))
LABELS = torch.tensor([[1, 0, 0, 2, 2]])
VIEWS = LabelledViews([ToyView(CAMERA, LABELS)])


def at(pixel: int, depth: float) -> list[float]:
    """A place that projects to the centre of a pixel."""
    return [(pixel - 2) * depth / 100.0, 0.0, depth]


# 0, 1: object 1 and something faint over the background that was voted to it by mistake.
# 2, 3: an opaque wall, and behind it a Gaussian of object 1 over the background, hidden in the full scene.
# 4, 5: object 2, and behind it a Gaussian of object 1.
SPLATS = gaussians(
    [at(0, 2.0), at(1, 2.0), at(2, 2.0), at(2, 3.0), at(4, 2.0), at(4, 3.0)], 1e-4, [0.9, 0.5, 0.99, 0.9, 0.9, 0.9]
)
OBJECT = torch.tensor([True, True, False, True, False, True])


def test_what_shows_over_the_background_is_dropped(cpu: Rasterizer):
    kept = isolated_revote(cpu, SPLATS, VIEWS, OBJECT, 1)
    # The last one is behind the mask of another object, which says nothing about what stands behind it.
    assert kept.tolist() == [True, False, False, False, False, True]


def test_nothing_is_dropped_by_a_threshold_of_nothing(cpu: Rasterizer):
    assert isolated_revote(cpu, SPLATS, VIEWS, OBJECT, 1, least_inside=0.0).tolist() == OBJECT.tolist()


def test_labels_of_what_is_dropped_become_background(cpu: Rasterizer):
    labels = FlashSplat(-0.9).decide(accumulate_votes(cpu, SPLATS, VIEWS, [0, 1, 2]))
    labels.ids[:] = torch.tensor([1, 1, 0, 1, 2, 1])
    clean = isolated_labels(cpu, SPLATS, VIEWS, labels)
    assert clean.ids.tolist() == [1, 0, 0, 0, 2, 1]
    assert labels.ids.tolist() == [1, 1, 0, 1, 2, 1]
    assert isolated_labels(cpu, SPLATS, VIEWS, labels, objects=[2]).ids.tolist() == labels.ids.tolist()


def test_ids_above_a_byte_are_kept_apart(cpu: Rasterizer):
    # 300 is 44 in a byte.
    views = LabelledViews([ToyView(CAMERA, torch.tensor([[44, 0, 0, 0, 2]]))])
    assert not bool(isolated_revote(cpu, SPLATS, views, OBJECT, 300)[1])
