"""Label maps kept small."""

from __future__ import annotations

import numpy as np
import torch

from splatseg_ns.lift.packed_maps import PackedMap, PackedViews
from tests.raster.scenes import camera


def test_a_map_comes_back_as_it_was():
    values = np.random.default_rng(0).integers(-1, 1 << 24, (30, 40))
    assert np.array_equal(PackedMap.of(values).unpacked(), values)


def test_equal_maps_are_equal_whatever_their_type():
    values = np.eye(9, dtype=np.int64)
    assert PackedMap.of(values) == PackedMap.of(values.astype(np.uint8))
    assert PackedMap.of(values) != PackedMap.of(1 - values)
    assert PackedMap.of(values) != PackedMap.of(values.reshape(27, 3))


def test_large_areas_take_little():
    values = np.zeros((1000, 1000), dtype=np.int64)
    values[200:700, 100:900] = 7
    assert len(PackedMap.of(values).content) < 100_000


def test_views_give_what_was_put():
    views = PackedViews(3)
    labels = np.zeros((4, 6), dtype=np.int64)
    labels[1:, 2:] = 5
    counts = labels == 5
    seen_from = camera(6, 4)
    views.put(2, seen_from, labels, counts)
    views.put(0, seen_from, labels, np.ones_like(counts))
    assert len(views) == 3
    first, last = views.read()
    assert (first.position, last.position) == (0, 2) and first.camera is seen_from
    assert first.pixel_mask is None and torch.equal(first.labels, torch.from_numpy(labels))
    assert last.pixel_mask is not None and torch.equal(last.pixel_mask, torch.from_numpy(counts))
    assert [view.position for view in views.read([1, 2])] == [2]
