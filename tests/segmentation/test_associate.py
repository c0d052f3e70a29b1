"""Masks of views become things: on made scenes whose things are known, and by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from splatseg_ns.demo.scene import balls_on_a_table, ring_of_cameras
from splatseg_ns.lift import Labels, render_label_map
from splatseg_ns.masks.everything import PictureMasks
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation.associate import (
    Associate,
    Association,
    MaskedView,
    MaskVotes,
    Thing,
    associate,
    cast_mask_votes,
    choose_level,
    cluster,
    mask_affinity,
)
from tests.raster.scenes import camera, gaussians

VIEWS = 8
TABLE, RED, GREEN, BLUE = range(4)

MaskMaker = Callable[[int, Tensor], list[Tensor]]
"""From a view's number and its true map [H, W] to its masks [H, W]."""


@cache
def scene() -> tuple[Splats, Tensor, list[Camera], list[Tensor]]:
    """Splats, their true objects, cameras, and the true maps; the table is on 0."""
    splats, truth = balls_on_a_table()
    cameras = ring_of_cameras(VIEWS, 96, 72)
    labels = Labels(truth, torch.ones(len(truth)))
    maps = [render_label_map(rasterizer_for("cpu"), splats, camera, labels, torch.arange(1, 4)) for camera in cameras]
    return splats, truth, cameras, maps


def balls(_: int, label_map: Tensor) -> list[Tensor]:
    return [label_map == id for id in (RED, GREEN, BLUE)]


def associated(masks: MaskMaker, chosen: Sequence[int] = range(VIEWS), **config: object) -> Association:
    splats, _, cameras, maps = scene()
    views = [MaskedView(cameras[place], PictureMasks.of(torch.stack(masks(place, maps[place])))) for place in chosen]
    return associate(rasterizer_for("cpu"), splats, views, Associate(**config))  # pyright: ignore


def id_of(association: Association, object: int) -> int:
    """The id of the thing that has nearly all Gaussians of an object that are seen, and nearly no others."""
    _, truth, _, _ = scene()
    ious = []
    for thing in association.things:
        mine, true = torch.from_numpy(thing.rows), (truth == object) & seen()
        ious.append(float((mine & true).sum() / ((mine | true) & seen()).sum()))
    assert max(ious) > 0.9, ious
    return ious.index(max(ious)) + 1


@cache
def seen() -> Tensor:  # [N] bool
    splats, _, cameras, maps = scene()
    engine = rasterizer_for("cpu")
    return torch.stack([engine.votes(splats, *pair).seen for pair in zip(cameras, maps, strict=True)]).sum(0) > 0.05


def test_true_masks_give_the_true_objects():
    found = associated(balls)
    assert (len(found.things), found.unstable, found.small) == (3, 0, 0)
    _, _, _, maps = scene()
    for object in (RED, GREEN, BLUE):
        id = id_of(found, object)
        assert found.things[id - 1].support == 1.0
        for label_map, true in zip(found.label_maps, maps, strict=True):
            assert torch.equal(label_map == id, true == object)


def test_ids_go_by_size_whatever_the_order_of_the_masks():
    straight, turned = associated(balls), associated(lambda place, label_map: balls(place, label_map)[::-1])
    for one, other in zip(straight.things, turned.things, strict=True):
        assert np.array_equal(one.rows, other.rows)
    assert id_of(straight, BLUE) == 1 and id_of(straight, GREEN) == 3


def halves(mask: Tensor) -> list[Tensor]:
    """The left and the right half of a mask."""
    columns = torch.arange(mask.shape[1])
    middle = columns[mask.any(dim=0)].float().mean()
    return [mask & (columns < middle), mask & (columns >= middle)]


def test_what_some_views_split_is_put_together():
    def masks(place: int, label_map: Tensor) -> list[Tensor]:
        red, *others = balls(place, label_map)
        return [*(halves(red) if place in (1, 4, 6) else [red]), *others]

    found = associated(masks)
    # The halves are used, so that they are not said to be dropped.
    assert (len(found.things), found.unstable) == (3, 0)
    _, _, _, maps = scene()
    id = id_of(found, RED)
    assert {place: len(numbers) for place, numbers in found.things[id - 1].masks.items()} == {
        place: 2 if place in (1, 4, 6) else 1 for place in range(VIEWS)
    }
    for place in (1, 4, 6):
        assert torch.equal(found.label_maps[place] == id, maps[place] == RED)


def test_what_some_views_merge_is_kept_apart():
    def masks(place: int, label_map: Tensor) -> list[Tensor]:
        red, green, blue = balls(place, label_map)
        return [red | blue, green] if place in (2, 5) else [red, green, blue]

    found = associated(masks)
    assert len(found.things) == 3
    _, _, _, maps = scene()
    ids = {object: id_of(found, object) for object in (RED, GREEN, BLUE)}
    for place, label_map in enumerate(found.label_maps):
        for object, id in ids.items():
            drawn, true = label_map == id, maps[place] == object
            if place in (2, 5) and object != GREEN:
                # The merged mask is one ball's or nobody's, and says nothing where the other is.
                # Rims are drawn a little narrower than they are.
                assert float((drawn & ~true).sum()) <= 0.08 * float(true.sum())
                assert bool(torch.isin(label_map[true], torch.tensor([id, -1])).float().mean() > 0.9)
            else:
                assert torch.equal(drawn, true)
        if place in (2, 5):
            assert bool((label_map == -1).any())


def test_a_mask_of_one_view_is_dropped_and_counted():
    def masks(place: int, label_map: Tensor) -> list[Tensor]:
        stray = torch.zeros_like(label_map, dtype=torch.bool)
        stray[50:70, 10:40] = True
        return [*balls(place, label_map), *([stray & (label_map == TABLE)] if place == 3 else [])]

    found = associated(masks)
    assert (len(found.things), found.unstable) == (3, 1)
    assert int(found.label_maps[3][60, 20]) == 0
    kept = associated(masks, min_views=1, least_support=0.05)
    assert len(kept.things) == 4


def test_what_too_few_of_its_views_have_a_mask_of_is_dropped():
    def masks(place: int, label_map: Tensor) -> list[Tensor]:
        red, green, blue = balls(place, label_map)
        return [red, blue, *([green] if place in (0, 3, 6) else [])]

    # The green ball has masks in three of the six views that see 30 % of it.
    found = associated(masks)
    assert [thing.support for thing in found.things] == [1.0, 1.0, 0.5]
    dropped = associated(masks, least_support=0.51)
    assert (len(dropped.things), dropped.unstable) == (2, 1)
    assert len(associated(masks, min_views=4).things) == 2


def test_small_things_are_dropped_and_counted():
    counts = sorted(int(thing.rows.sum()) for thing in associated(balls).things)
    found = associated(balls, min_gaussians=counts[0] + 1)
    assert (len(found.things), found.small) == (2, 1)


def test_two_sides_come_together_by_the_views_between_them():
    # A shell seen from all around: opposite views share no more than its rim.
    random = torch.Generator().manual_seed(1)
    means = 0.5 * torch.nn.functional.normalize(torch.randn(3000, 3, generator=random), dim=-1)
    shell = gaussians(means.tolist(), 0.03, [0.95] * 3000)
    cameras = [camera(48, 48, turn=turn * torch.pi / 4, shift=(0.0, 0.0, 3.0)) for turn in range(8)]
    engine = rasterizer_for("cpu")
    views = [
        MaskedView(seen_from, PictureMasks.of((engine.render(shell, seen_from).alpha > 0.5)[None]))
        for seen_from in cameras
    ]
    votes = cast_mask_votes(engine, shell, views)
    assert mask_affinity(votes, Associate.least_common)[1][0, 4] == 0.0
    around = associate(engine, shell, views)
    assert len(around.things) == 1
    assert bool(around.things[0].rows[votes.seen.max(axis=1) > 0.5].all())
    # Nothing says that two sides belong together if there are no views between them.
    apart = associate(engine, shell, [views[0], views[4]], Associate(min_views=1))
    assert len(apart.things) == 2


def tops_and_bottoms(place: int, label_map: Tensor) -> list[Tensor]:
    """The masks of the balls, and of their upper and lower halves in the world."""
    splats, truth, cameras, _ = scene()
    middle = torch.stack([splats.means[truth == id, 2].mean() for id in range(4)])
    upper = (splats.means[:, 2] > middle[truth] + 0.4 * torch.tensor([0.0, 0.3, 0.22, 0.4])[truth]) & (truth > 0)
    labels = Labels(torch.where(upper, truth + 3, truth), torch.ones(len(truth)))
    halves = render_label_map(rasterizer_for("cpu"), splats, cameras[place], labels, torch.arange(1, 7))
    return [*balls(place, label_map), *(halves == id for id in range(1, 7) if bool((halves == id).any()))]


def test_levels_are_wholes_or_parts():
    wholes, parts = associated(tops_and_bottoms), associated(tops_and_bottoms, level="part")
    assert (len(wholes.things), len(parts.things)) == (3, 6)
    for object in (RED, GREEN, BLUE):
        id_of(wholes, object)
    _, truth, _, _ = scene()
    for thing in parts.things:
        counts = torch.bincount(truth[torch.from_numpy(thing.rows)], minlength=4)
        assert float(counts.max() / counts.sum()) > 0.9


def test_no_masks_at_all():
    splats, _, cameras, maps = scene()
    empty = [MaskedView(camera, PictureMasks.of(torch.zeros(0, 72, 96).bool())) for camera in cameras]
    found = associate(rasterizer_for("cpu"), splats, empty)
    assert found.things == () and all(not bool(label_map.any()) for label_map in found.label_maps)
    assert len(found.label_maps) == len(maps)


def test_votes_of_masks_that_overlap():
    # Two Gaussians beside each other, each opaque in its own pixel.
    splats = gaussians([[-0.01, 0.0, 2.0], [0.01, 0.0, 2.0]], 1e-6, [0.9, 0.9])
    seen_from = camera(2, 1, focal=(100.0, 100.0))
    masks = torch.tensor([[[1, 1]], [[0, 1]], [[1, 0]]]).bool()
    votes = cast_mask_votes(rasterizer_for("cpu"), splats, [MaskedView(seen_from, PictureMasks.of(masks))])
    assert votes.members.toarray().tolist() == [[1, 0, 1], [1, 1, 0]]
    whole, right, left = (votes.mass(0, np.array([number])) for number in range(3))
    assert np.allclose(whole, votes.seen[:, 0]) and np.allclose(right + left, whole)
    # Together, a pixel of both counts once.
    assert np.allclose(votes.mass(0, np.array([0, 1])), whole)


def votes_by_hand(seen: list[list[float]], *masks: list[list[int]]) -> MaskVotes:
    """From seen [N][V] and for each view its masks [N][M]: which Gaussians they have, all or nothing."""
    totals = np.array(seen)
    regions, tables = [], []
    for place, inside in enumerate(masks):
        chosen = np.array(inside, dtype=bool)
        # Each Gaussian is a region of its own.
        regions.append(sparse.csr_matrix(np.diag(totals[:, place])))
        tables.append(chosen)
    return MaskVotes(tuple(regions), tuple(tables), totals)


def test_what_a_view_cannot_see_is_held_against_nobody():
    # Five Gaussians. View 0 sees the first four, view 1 the last three. The masks are the whole thing.
    seen = [[4.0, 0.0], [4.0, 0.0], [4.0, 9.0], [4.0, 4.0], [0.0, 1.0]]
    votes = votes_by_hand(seen, [[1], [1], [1], [1], [0]], [[0], [0], [1], [1], [1]])
    affinity, weight = mask_affinity(votes, 0.3)
    # Both have all that both see. View 1 sees half of the first mask (8 of 16), view 0 13 of 14 of the second.
    assert affinity[0, 1] == pytest.approx(1.0)
    assert weight[0, 1] == weight[1, 0] == pytest.approx(0.5)
    assert mask_affinity(votes, 0.6)[1][0, 1] == 0.0


def test_overlap_by_hand():
    # Both views see all three Gaussians; the roots of the products are 2, 3 and 6.
    seen = [[1.0, 4.0], [3.0, 3.0], [4.0, 9.0]]
    votes = votes_by_hand(seen, [[1], [1], [0]], [[0], [1], [1]])
    affinity, weight = mask_affinity(votes, 0.3)
    assert affinity[0, 1] == pytest.approx(3 / (2 + 3 + 6)) and weight[0, 1] == 1.0


def test_masks_of_the_same_view_are_compared_as_well():
    votes = votes_by_hand([[2.0], [2.0], [4.0]], [[1, 1, 0], [1, 0, 0], [0, 0, 1]])
    affinity, weight = mask_affinity(votes, 0.3)
    assert affinity[0].tolist() == pytest.approx([1.0, 0.5, 0.0]) and weight[0, 2] == 1.0


def as_lists(clusters: list[np.ndarray]) -> list[list[int]]:
    return sorted(part.tolist() for part in clusters)


def symmetric(count: int, pairs: dict[tuple[int, int], float]) -> np.ndarray:
    matrix = np.zeros((count, count))
    for (row, column), value in pairs.items():
        matrix[row, column] = matrix[column, row] = value
    return matrix


def test_clusters_by_hand():
    affinity = symmetric(4, {(0, 1): 0.9, (1, 2): 0.8, (0, 2): 0.2, (2, 3): 0.6})
    everywhere = np.ones((4, 4))
    # 0 and 1 come together, then 2 is (0.2 + 0.8) / 2 from both and 0.6 from 3. The two pairs are
    # (0.2 + 0.8 + 0 + 0) / 4 apart.
    assert as_lists(cluster(affinity, everywhere, 0.5)) == [[0, 1], [2, 3]]
    assert as_lists(cluster(affinity, everywhere, 0.25)) == [[0, 1, 2, 3]]
    assert as_lists(cluster(affinity, everywhere, 0.26)) == [[0, 1], [2, 3]]
    assert as_lists(cluster(affinity, everywhere, 0.91)) == [[0], [1], [2], [3]]


def test_pairs_that_cannot_be_compared_do_not_count():
    affinity = symmetric(3, {(0, 1): 0.9, (1, 2): 0.8})
    comparable = symmetric(3, {(0, 1): 1.0, (1, 2): 1.0})
    assert as_lists(cluster(affinity, comparable, 0.7)) == [[0, 1, 2]]
    assert as_lists(cluster(affinity, np.ones((3, 3)), 0.7)) == [[0, 1], [2]]
    # 0.8 with the weight 1 and 0 with 0.1: 0.8 / 1.1.
    comparable[0, 2] = comparable[2, 0] = 0.1
    assert as_lists(cluster(affinity, comparable, 0.72)) == [[0, 1, 2]]
    assert as_lists(cluster(affinity, comparable, 0.73)) == [[0, 1], [2]]


def test_clusters_do_not_depend_on_the_way_they_are_found():
    # Against the slow way: after each merge look at all pairs again.
    random = np.random.default_rng(5)
    points = random.random((40, 2))
    affinity = np.exp(-3 * np.linalg.norm(points[:, None] - points[None], axis=-1))
    weight = random.random((40, 40)) * (random.random((40, 40)) < 0.7)
    weight = np.triu(weight, 1) + np.triu(weight, 1).T
    parts = [[place] for place in range(40)]

    def mean(first: list[int], second: list[int]) -> float:
        block = weight[np.ix_(first, second)]
        return float((affinity[np.ix_(first, second)] * block).sum() / block.sum()) if block.sum() else -1.0

    while True:
        best, one, other = max((mean(a, b), i, j) for i, a in enumerate(parts) for j, b in enumerate(parts) if i < j)
        if best < 0.5:
            break
        parts[one] = sorted(parts[one] + parts.pop(other))
    assert as_lists(cluster(affinity, weight, 0.5)) == sorted(parts)
    assert 1 < len(parts) < 40


def test_nothing_to_cluster():
    assert cluster(np.zeros((0, 0)), np.zeros((0, 0)), 0.5) == []


def thing(rows: Sequence[int], support: float, count: int = 10) -> Thing:
    inside = np.zeros(count, dtype=bool)
    inside[list(rows)] = True
    return Thing(inside, {}, support)


def test_a_whole_or_its_parts_by_hand():
    mass = np.ones(10)
    left, right, other = thing(range(4), 1.0), thing(range(4, 8), 0.5), thing([9], 0.5)
    # The parts are worth (4 * 1.0 + 4 * 0.5) / 8 = 0.75: half of that is 0.375, 1.5 of it more than 1.
    for support, level, expected in (
        (0.38, "object", "whole"),
        (0.37, "object", "parts"),
        (1.0, "part", "parts"),
    ):
        whole = thing(range(8), support)
        chosen = choose_level([left, other, whole, right], mass, level)  # pyright: ignore
        kept = {place for place, part in (("whole", whole), ("left", left), ("right", right)) if part in chosen}
        assert other in chosen and kept == ({"whole"} if expected == "whole" else {"left", "right"})


def test_parts_that_cover_little_do_not_replace_their_whole():
    # The part is worth 3 * 1.0 / 8; 1.5 of that is 0.56.
    whole, part = thing(range(8), 0.6), thing(range(3), 1.0)
    assert choose_level([whole, part], np.ones(10), "part") == [whole]
    assert choose_level([thing(range(8), 0.5), part], np.ones(10), "part") == [part]


def test_parts_within_parts():
    whole, half, quarter = thing(range(8), 0.4), thing(range(4), 1.0), thing(range(2), 1.0)
    rest = thing(range(4, 8), 1.0)
    # The halves are worth 1.0 together, and the quarter never gets a say: its half is worth more.
    chosen = choose_level([quarter, whole, half, rest], np.ones(10), "object")
    assert sorted(part.rows.tolist() for part in chosen) == sorted([half.rows.tolist(), rest.rows.tolist()])


def test_things_that_overlap_for_the_most_part_are_one():
    # Neither is part of the other; five of six are the same.
    better, worse = thing(range(6), 0.9), thing(range(2, 9), 0.8)
    assert choose_level([worse, better], np.ones(10), "object") == [better]


@pytest.mark.parametrize(
    "changes", [{"least_affinity": 0.0}, {"least_support": 1.5}, {"min_views": 0}, {"level": "group"}]
)
def test_settings_that_make_no_sense(changes: dict[str, object]):
    with pytest.raises(ValueError, match=r"is a share|at least 1|unknown level"):
        Associate(**changes)  # pyright: ignore
