"""Dirty masks, by cases that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.dirt import EDGE_PIXELS, moved_edge, with_moved_edges, with_rotated_ids, with_salt

ONE = torch.tensor([1])


def disc_map(radius: float, size: int = 41, label: int = 1) -> Tensor:  # [size, size] uint8
    middle = size // 2
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((rows - middle) ** 2 + (columns - middle) ** 2 <= radius**2).to(torch.uint8) * label


def test_ids_move_on_by_one_and_the_last_becomes_the_first():
    labels = torch.tensor([[0, 2, 5, 9], [9, 9, 0, 2]])
    rotated = with_rotated_ids(labels, torch.tensor([2, 5, 9]))
    assert rotated.tolist() == [[0, 5, 9, 2], [2, 2, 0, 5]]
    assert labels[0, 1] == 2


def test_a_pixel_grows_to_a_disc():
    mask = np.zeros((7, 7), bool)
    mask[3, 3] = True
    # The pixels at most 2 away: a row of 5, two of 3, and one above and below.
    assert moved_edge(mask, 2).sum(axis=1).tolist() == [0, 1, 3, 5, 3, 1, 0]
    # The diagonal neighbour at (2, 2) is 2.83 away: 3 takes it in.
    assert moved_edge(mask, 3)[1, 1] and not moved_edge(mask, 2)[1, 1]


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_a_straight_edge_moves_by_the_radius(radius: int):
    mask = np.zeros((20, 40), bool)
    mask[:, :20] = True
    for growth in (radius, -radius):
        assert moved_edge(mask, growth).sum(axis=1).tolist() == [20 + growth] * 20


def test_the_border_of_the_picture_is_no_edge():
    full, empty = np.ones((5, 5), bool), np.zeros((5, 5), bool)
    assert moved_edge(full, -3).all() and not moved_edge(empty, 3).any()


def test_what_is_thinner_than_the_disc_disappears():
    mask = np.zeros((20, 20), bool)
    mask[:, 8:12] = True
    assert moved_edge(mask, -1).sum() == 20 * 2 and not moved_edge(mask, -2).any()


def test_masks_are_eroded_and_dilated_by_1_to_5_pixels():
    labels = disc_map(12)
    middle = labels.shape[0] // 2
    growths = []
    for seed in range(300):
        dirty = with_moved_edges(labels, ONE, np.random.default_rng(seed))
        # The row through the centre: 25 pixels of it, and one more or less on either side for each pixel of growth.
        growths.append((int((dirty[middle] == 1).sum()) - 25) // 2)
    least, most = EDGE_PIXELS
    assert set(growths) == {*range(-most, -least + 1), *range(least, most + 1)}
    assert 0.4 < np.mean(np.array(growths) > 0) < 0.6


def test_where_moved_masks_overlap_either_may_win():
    labels = torch.zeros(20, 40, dtype=torch.uint8)
    labels[:, :20], labels[:, 20:] = 1, 2
    edges = set()
    for seed in range(200):
        dirty = with_moved_edges(labels, torch.tensor([1, 2]), np.random.default_rng(seed))
        assert set(dirty.unique().tolist()) <= {0, 1, 2}
        edges.add((int((dirty[0] == 1).sum()), int((dirty[0] == 2).sum())))
    # Both dilated: the upper one has moved into the lower. Both eroded: background between them.
    assert any(first > 20 for first, _ in edges) and any(second > 20 for _, second in edges)
    assert any(first + second < 40 for first, second in edges)


def test_labels_that_are_no_objects_stay_where_no_mask_goes():
    labels = torch.zeros(30, 30, dtype=torch.uint8)
    labels[:, :2], labels[10:20, 15:25] = 7, 1
    dirty = with_moved_edges(labels, ONE, np.random.default_rng(0))
    assert bool((dirty[:, :2] == 7).all())


def test_salt_falls_on_its_share_of_the_pixels():
    labels = torch.full((200, 300), 3, dtype=torch.uint8)
    salted = with_salt(labels, torch.tensor([3, 4, 6]), 0.1, np.random.default_rng(0))
    counts = torch.bincount(salted.flatten().long(), minlength=7).double() / labels.numel()
    # One in ten, and of those a quarter each: 0, 3 (which is seen nowhere), 4 and 6.
    torch.testing.assert_close(
        counts, torch.tensor([0.025, 0, 0, 0.925, 0.025, 0, 0.025], dtype=torch.float64), atol=0.004, rtol=0
    )
    assert salted.dtype == labels.dtype


def test_dirt_depends_on_the_seed_alone():
    labels = disc_map(9)

    def dirty(seed: int) -> Tensor:
        random = np.random.default_rng(seed)
        return with_salt(with_moved_edges(labels, ONE, random), ONE, 0.1, random)

    assert torch.equal(dirty(3), dirty(3)) and not torch.equal(dirty(3), dirty(4))
