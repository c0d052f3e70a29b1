"""Votes of pixels that belong to several labels: those of label maps are a special case, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import accumulate_shares, accumulate_votes
from splatseg_ns.lift.votes import GRID
from splatseg_ns.raster.cpu import CpuRasterizer
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import IGNORED, Camera
from tests.lift.examples import ToyView, identical, toy_splats, toy_views
from tests.raster.scenes import camera, gaussians, generator

IDS = torch.tensor([0, 1, 2, 3])
SPLATS = toy_splats()
VIEWS = toy_views()


def one_hot(labels: Tensor, ids: Tensor = IDS) -> Tensor:  # [H, W, L]
    return (labels[..., None] == ids).float()


def said(views: list[ToyView] = VIEWS) -> Iterator[tuple[Camera, Tensor]]:
    return ((view.camera, one_hot(view.labels)) for view in views)


def random_shares(seed: int, views: list[ToyView] = VIEWS) -> list[tuple[Camera, Tensor]]:
    """Some pixels say little or nothing."""
    random = generator(seed)
    found = []
    for view in views:
        shape = view.labels.shape
        parts = torch.rand(*shape, len(IDS), generator=random) ** 4
        amount = (torch.rand(*shape, 1, generator=random) * 1.5 - 0.25).clamp(0, 1)
        found.append((view.camera, parts / parts.sum(dim=2, keepdim=True) * amount))
    return found


def test_shares_of_0_and_1_are_label_maps():
    expected = accumulate_votes(CpuRasterizer(), SPLATS, VIEWS, IDS)
    found = accumulate_shares(CpuRasterizer(), SPLATS, said(), IDS)
    assert torch.equal(found.ids, expected.ids) and torch.equal(found.offsets, expected.offsets)
    assert torch.equal(found.columns, expected.columns) and torch.equal(found.mass, expected.mass)
    # An engine sums what it sees of a Gaussian pixel by pixel, here it is label by label.
    assert torch.allclose(found.seen, expected.seen, rtol=1e-6, atol=GRID)


def test_pixels_without_shares_are_ignored_ones():
    views = [ToyView(view.camera, torch.where(view.labels == 2, IGNORED, view.labels)) for view in VIEWS]
    expected = accumulate_votes(CpuRasterizer(), SPLATS, views, IDS)
    found = accumulate_shares(CpuRasterizer(), SPLATS, said(views), IDS)
    assert torch.equal(found.mass, expected.mass) and torch.equal(found.columns, expected.columns)
    assert torch.allclose(found.seen, expected.seen, rtol=1e-6, atol=GRID)
    assert float(found.column(2).sum()) == 0.0


def test_labels_that_no_pixel_has_take_no_room():
    ids = torch.tensor([0, 1, 2, 3, 40])
    shares = ((view.camera, one_hot(view.labels, ids)) for view in VIEWS)
    found = accumulate_shares(CpuRasterizer(), SPLATS, shares, ids)
    assert len(found.mass) == len(accumulate_votes(CpuRasterizer(), SPLATS, VIEWS, IDS).mass)
    assert torch.equal(found.ids, ids) and not bool(found.column(40).any())


def test_one_pixel_by_hand():
    """Two Gaussians that cover a single pixel, alpha 0.5 in front and 0.8 behind: masses 0.5 and 0.5 * 0.8 = 0.4."""
    splats = gaussians([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0]], 0.5, [0.5, 0.8])
    seen_from = camera(1, 1, focal=(1.0, 1.0))
    shares = torch.tensor([[[0.25, 0.0, 0.5]]])
    found = accumulate_shares(CpuRasterizer(), splats, [(seen_from, shares)], torch.tensor([0, 3, 8]))
    assert torch.allclose(
        found.dense().float(), torch.tensor([[0.5 * 0.25, 0, 0.5 * 0.5], [0.4 * 0.25, 0, 0.4 * 0.5]]), atol=1e-6
    )
    # It counts as much as its shares add up to: three quarters.
    assert torch.allclose(found.seen.float(), torch.tensor([0.5 * 0.75, 0.4 * 0.75]), atol=1e-6)
    assert found.offsets.tolist() == [0, 2, 4] and found.columns.tolist() == [0, 2, 0, 2]


def test_what_is_seen_is_the_sum_of_the_labels():
    found = accumulate_shares(CpuRasterizer(), SPLATS, random_shares(1), IDS)
    assert torch.allclose(found.dense().sum(dim=1), found.seen, rtol=1e-6, atol=len(VIEWS) * 4 * GRID)
    whole = accumulate_votes(CpuRasterizer(), SPLATS, VIEWS, IDS).seen
    assert bool((found.seen <= whole * (1 + 1e-6)).all()) and float(found.seen.sum()) < 0.9 * float(whole.sum())


def test_votes_are_linear_in_the_shares():
    first, second = random_shares(2), random_shares(3)
    mixed = [(seen_from, 0.25 * a + 0.75 * b) for (seen_from, a), (_, b) in zip(first, second, strict=True)]
    parts = [accumulate_shares(CpuRasterizer(), SPLATS, shares, IDS).dense() for shares in (mixed, first, second)]
    assert torch.allclose(parts[0], 0.25 * parts[1] + 0.75 * parts[2], rtol=1e-4, atol=1e-5)


def test_views_add_up_in_any_order():
    shares = random_shares(4)
    whole = accumulate_shares(CpuRasterizer(), SPLATS, shares, IDS)
    assert identical(accumulate_shares(CpuRasterizer(), SPLATS, shares[::-1], IDS), whole)
    halves = [accumulate_shares(CpuRasterizer(), SPLATS, part, IDS) for part in (shares[:2], shares[2:])]
    assert identical(halves[0] + halves[1], whole)


@pytest.mark.parametrize("views", [[], [(VIEWS[0].camera, torch.zeros(*VIEWS[0].labels.shape, 4))]], ids=["0", "1"])
def test_where_nothing_is_said_nothing_is_seen(views: list[tuple[Camera, Tensor]]):
    found = accumulate_shares(CpuRasterizer(), SPLATS, views, IDS)
    assert len(found) == len(SPLATS) and not bool(found.seen.any()) and len(found.mass) == 0


def test_the_engine_agrees_with_the_oracle():
    views = random_shares(5, VIEWS[:2])
    found, expected = (
        accumulate_shares(engine, SPLATS, views, IDS) for engine in (CpuRasterizer(), OracleRasterizer())
    )
    assert torch.allclose(found.dense(), expected.dense(), rtol=1e-3, atol=1e-3)
