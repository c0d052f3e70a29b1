"""Votes of many views: folds, weights, and independence of the order."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.lift import LabelledView, Votes, accumulate_folds, accumulate_votes
from splatseg_ns.raster import Rasterizer
from tests.lift.examples import BlankView, ToyView, identical, toy_splats, toy_views

IDS = [0, 1, 2, 3]


def test_they_are_the_sum_of_the_engines_votes(engine: Rasterizer):
    splats, views = toy_splats().to(engine.device), toy_views()
    votes = accumulate_votes(engine, splats, views, IDS)
    by_hand = sum(
        (
            Votes.of(engine.votes(splats, view.camera.to(engine.device), view.labels.to(engine.device), IDS))
            for view in views
        ),
        Votes.zero(len(splats), IDS),
    )
    if engine.device.type == "cpu":
        assert identical(votes, by_hand)
    torch.testing.assert_close(votes.dense(), by_hand.dense(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(votes.dense().sum(dim=1), votes.seen, rtol=1e-5, atol=1e-5)


def test_the_order_of_views_changes_no_bit(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views()
    votes = accumulate_votes(cpu, splats, views, IDS)
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3]):
        assert identical(accumulate_votes(cpu, splats, [views[place] for place in order], IDS), votes)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_folds_add_up_to_the_whole(cpu: Rasterizer, count: int):
    splats, views = toy_splats(), toy_views()
    whole = accumulate_votes(cpu, splats, views, IDS)
    folds = accumulate_folds(cpu, splats, views, IDS, folds=count)
    assert len(folds) == count
    assert identical(folds.total, whole)
    for part, others in zip(folds.parts, folds.others, strict=True):
        assert identical(part + others, whole)
    assert identical(folds.parts[0], accumulate_votes(cpu, splats, views[::count], IDS))


def test_permuted_labels_permute_columns(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views()
    new_name = torch.tensor([30, 0, 999, 7])
    renamed = [ToyView(view.camera, new_name[view.labels]) for view in views]
    plain = accumulate_votes(cpu, splats, views, IDS)
    other = accumulate_votes(cpu, splats, renamed, new_name)
    assert all(torch.equal(other.column(int(new_name[label])), plain.column(label)) for label in IDS)


def test_a_view_without_a_map_adds_nothing(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views()
    blank = BlankView(views[0].camera)
    with_blank = accumulate_votes(cpu, splats, [blank, *views], IDS)
    assert identical(with_blank, accumulate_votes(cpu, splats, views, IDS))
    assert identical(accumulate_votes(cpu, splats, [], IDS), Votes.zero(len(splats), IDS))


def test_weights_of_pixels(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views()

    def half(view: LabelledView) -> torch.Tensor:
        return torch.full(view.labels.shape, 0.5)

    def only_first(view: LabelledView) -> torch.Tensor | None:
        return None if view.position == 0 else torch.zeros(view.labels.shape)

    plain = accumulate_votes(cpu, splats, views, IDS)
    torch.testing.assert_close(accumulate_votes(cpu, splats, views, IDS, pixel_weight=half).dense(), plain.dense() / 2)
    first = accumulate_votes(cpu, splats, views, IDS, pixel_weight=only_first)
    assert identical(first, accumulate_votes(cpu, splats, views[:1], IDS))


def test_progress_counts_views(cpu: Rasterizer):
    steps: list[tuple[int, int]] = []
    accumulate_votes(cpu, toy_splats(), toy_views(3), IDS, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_wrong_options_are_said(cpu: Rasterizer):
    with pytest.raises(ValueError, match="folds=0"):
        accumulate_folds(cpu, toy_splats(), [], IDS, folds=0)
