"""Automatic masks of pictures whose masks are known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from splatseg_ns.masks.everything import AutomaticMasks, PictureMasks, automatic_masks, suppress_repeated
from tests.masks.fake_segmenter import PaintedSegmenter, painting

WIDTH, HEIGHT = 128, 96


def blocks(*rects: tuple[int, int, int, int]) -> Tensor:  # [H, W] int64
    """A map with object k + 1 in the k-th rectangle: left, top, width, height."""
    labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    for id, (left, top, width, height) in enumerate(rects, 1):
        labels[top : top + height, left : left + width] = id
    return labels


def found(segmenter: PaintedSegmenter, picture: Tensor, **changes: float) -> PictureMasks:
    config = replace(AutomaticMasks(), **changes)
    return automatic_masks(segmenter, segmenter.embed(picture), config)


def as_sets(masks: PictureMasks) -> set[frozenset[int]]:
    """Each mask as the set of its pixels' numbers."""
    return {frozenset(masks.mask(number).flatten().nonzero().flatten().tolist()) for number in range(len(masks))}


def pixels(mask: Tensor) -> frozenset[int]:
    return frozenset(mask.flatten().nonzero().flatten().tolist())


@pytest.mark.parametrize("into_parts", [False, True])
def test_objects_are_found_whole_and_in_parts(into_parts: bool):
    labels = blocks((8, 8, 40, 40), (64, 8, 32, 48))
    parts = torch.zeros_like(labels)
    parts[8:48, 28:48] = 1
    segmenter = PaintedSegmenter()
    masks = found(segmenter, painting(labels, parts), into_parts=into_parts)
    first = labels == 1
    left, right = pixels(first & (parts == 0)), pixels(first & (parts == 1))
    # One point of the first grid is on the first object, on its left. Its best mask covers the right as well.
    assert as_sets(masks) == {pixels(first), left, pixels(labels == 2), *([right] if into_parts else [])}
    by_area = dict(zip(masks.areas.tolist(), masks.levels.tolist(), strict=True))
    # The second object has no parts: its part is the same mask with a worse score, and goes.
    assert by_area == {1600: 1, 800: 0, 1536: 1}
    assert masks.scores.tolist() == sorted(masks.scores.tolist(), reverse=True)
    assert masks.prompts == len(segmenter.asked)


def test_small_things_between_the_points_of_the_grid_are_found():
    # Points of the first grid are 32 pixels apart, the thing lies between them.
    labels = blocks((34, 34, 12, 4), (64, 0, 64, 96))
    grid = {(x, y) for x in range(16, WIDTH, 32) for y in range(16, HEIGHT, 32)}
    assert not any(labels[y, x] == 1 for x, y in grid)
    masks = found(PaintedSegmenter(), painting(labels))
    assert pixels(labels == 1) in as_sets(masks)


def test_what_has_been_found_is_not_asked_again():
    segmenter = PaintedSegmenter()
    everywhere = torch.ones(HEIGHT, WIDTH, dtype=torch.int64)
    everywhere[:, 64:] = 2
    masks = found(segmenter, painting(everywhere))
    assert len(masks) == 2
    # The first grid, 4 x 3, and not one more.
    assert len(segmenter.asked) == 12


def test_points_that_find_nothing_are_not_asked_twice():
    segmenter = PaintedSegmenter()
    masks = found(segmenter, painting(torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)), most_prompts=150)
    assert len(masks) == 0 and tuple(masks.regions.shape) == (HEIGHT, WIDTH)
    assert len(segmenter.asked) == len(set(segmenter.asked)) == 150
    nearest = min(math.dist(a, b) for a, b in itertools.combinations(segmenter.asked, 2))
    # On a square grid 150 points would be 9 pixels apart.
    assert nearest > 3.0


@pytest.mark.parametrize("most", [1, 20, 60])
def test_no_more_points_than_allowed(most: int):
    segmenter = PaintedSegmenter()
    assert found(segmenter, painting(blocks((8, 8, 8, 8))), most_prompts=most).prompts == most
    assert len(segmenter.asked) == most


def test_doubtful_and_unstable_masks_are_left_out():
    picture = painting(blocks((8, 8, 64, 64)))
    assert len(found(PaintedSegmenter(), picture)) == 1
    assert len(found(PaintedSegmenter(scores=(0.7, 0.79, 0.5)), picture)) == 0
    assert len(found(PaintedSegmenter(scores=(0.7, 0.79, 0.5)), picture, least_score=0.75)) == 1
    # Logits of +-0.5: everything is above -1, nothing above 1.
    assert len(found(PaintedSegmenter(blur=0.5), picture)) == 0


def test_specks_and_the_whole_picture_are_no_masks():
    assert len(found(PaintedSegmenter(), painting(torch.ones(HEIGHT, WIDTH, dtype=torch.int64)))) == 0
    picture = painting(blocks((8, 8, 16, 16)))
    assert len(found(PaintedSegmenter(), picture, least_area=256 / (WIDTH * HEIGHT))) == 1
    assert len(found(PaintedSegmenter(), picture, least_area=257 / (WIDTH * HEIGHT))) == 0


def test_suppression_by_hand():
    masks = torch.zeros(4, 1, 10, dtype=torch.bool)
    for row, end in enumerate((10, 9, 5, 4)):
        masks[row, 0, :end] = True
    scores = torch.tensor([0.5, 0.9, 0.6, 0.8])
    # In the order 9, 4, 5, 10 pixels the IoUs are 4/9 (kept), 5/9 and 4/5 with 5, 9/10 with 10.
    assert suppress_repeated(masks, scores, 0.85).tolist() == [1, 3, 2]
    assert suppress_repeated(masks, scores, 0.79).tolist() == [1, 3]
    # What is left out leaves nothing out: 5 pixels went, so 10 has only 9 and 4 against it.
    assert suppress_repeated(masks, scores, 0.9).tolist() == [1, 3, 2, 0]
    assert suppress_repeated(masks[:0], scores[:0], 0.5).tolist() == []


def test_masks_come_back_from_their_regions():
    random = torch.Generator().manual_seed(3)
    masks = torch.rand(20, 17, 23, generator=random) < torch.rand(20, 1, 1, generator=random)
    kept = PictureMasks.of(masks)
    assert all(torch.equal(kept.mask(number), masks[number]) for number in range(20))
    assert torch.equal(kept.areas, masks.sum(dim=(1, 2)))
    assert kept.members.unique(dim=0).shape == kept.members.shape


def test_regions_are_where_the_same_masks_lie():
    masks = torch.tensor([[[1, 1, 0, 0, 0]], [[0, 1, 1, 0, 0]]]).bool()
    kept = PictureMasks.of(masks)
    assert len(kept.members) == 4 and len(kept) == 2
    assert kept.regions[0, 3] == kept.regions[0, 4]
    assert kept.members[kept.regions[0].long()].tolist() == masks[:, 0].T.tolist()


@pytest.mark.parametrize(
    "changes", [{"most_prompts": 0}, {"batch": 0}, {"finest": 0.0}, {"grid": 0.005}, {"grid": 2.0}]
)
def test_settings_that_make_no_sense(changes: dict[str, float]):
    with pytest.raises(ValueError, match=r"ask at least one point|finest <= grid"):
        replace(AutomaticMasks(), **changes)
