"""Masks that contradict the consensus do not vote."""

from __future__ import annotations

import torch

from splatseg_ns.lift import Evidence, FlashSplat, LabelledViews, Robust
from splatseg_ns.lift.solvers.robust import by_mask_weight, weights_of
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats
from tests.lift.examples import ToyView, identical, toy_views
from tests.raster.scenes import camera, generator

IDS = torch.tensor([0, 1, 2])


def two_balls() -> tuple[Splats, list[ToyView], torch.Tensor]:
    """Dense balls of Gaussians, objects 1 and 2, before a wall of background, with their true masks."""
    random = generator(3)
    centers = torch.tensor([[-0.6, 0.0, 4.0], [0.6, 0.0, 4.0], [0.0, 0.0, 5.0]])
    truth = torch.tensor([1, 2, 0]).repeat_interleave(80)
    spread = torch.tensor([[0.2, 0.2, 0.1], [0.2, 0.2, 0.1], [1.2, 0.8, 0.02]])
    place = torch.arange(3).repeat_interleave(80)
    splats = Splats(
        means=centers[place] + spread[place] * torch.randn(240, 3, generator=random).clamp(-1.5, 1.5),
        raw_quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(240, 1),
        log_scales=torch.full((240, 3), 0.1).log() + (place == 2)[:, None],
        logit_opacities=torch.full((240,), 2.0),
        sh=torch.zeros(240, 1, 3),
    )
    cameras = [
        camera(48, 32, focal=(40.0, 40.0), shift=(0.1 * number - 0.25, 0.02 * number, 0.0)) for number in range(6)
    ]
    blank = [ToyView(view, torch.zeros(view.height, view.width).long()) for view in cameras]
    return splats, blank, truth


def true_views(cpu: Rasterizer) -> tuple[Splats, list[ToyView], torch.Tensor]:
    splats, views, truth = two_balls()
    one_hot = (truth[:, None] == IDS).float()
    labelled = [
        ToyView(view.camera, cpu.render(splats, view.camera, features=one_hot).colors.argmax(dim=-1)) for view in views
    ]
    return splats, labelled, truth


def test_clean_masks_all_count(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    evidence = Evidence.of(cpu, splats, views)
    robust, plain = Robust().solve(evidence), FlashSplat().solve(evidence)
    assert robust.weights is None
    assert identical(robust.votes, plain.votes)
    assert torch.equal(robust.labels.ids, plain.labels.ids)


def test_views_with_swapped_objects_are_found_and_left_out(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    swapped = torch.tensor([0, 2, 1])
    dirty = [
        ToyView(view.camera, swapped[view.labels]) if place in (1, 4) else view for place, view in enumerate(views)
    ]
    solution = Robust().solve(Evidence.of(cpu, splats, dirty))
    assert solution.weights is not None
    assert solution.weights.tolist() == [
        [1.0, float(place not in (1, 4)), float(place not in (1, 4))] for place in range(6)
    ]
    clean = Robust().solve(Evidence.of(cpu, splats, views))
    assert float((solution.labels.ids == clean.labels.ids).double().mean()) > 0.95
    # Settled, so that the stored votes give the same labels again.
    assert torch.equal(solution.solver.decide(solution.votes).ids, solution.labels.ids)


def test_a_mask_that_is_left_out_says_nothing_at_all(cpu: Rasterizer):
    (view,) = LabelledViews(toy_views(1)).read()
    splats = two_balls()[0]
    weights = torch.ones(1, 3)
    weights[0, 1] = 0.0
    votes = by_mask_weight(weights, IDS)(cpu, splats, view, IDS)
    expected = cpu.votes(splats, view.camera, view.labels, IDS, pixel_mask=view.labels != 1)
    torch.testing.assert_close(votes.dense(), expected.dense())
    torch.testing.assert_close(votes.seen, expected.seen)


def test_weights_by_hand():
    agreement = torch.tensor([[torch.nan, 0.9, 0.24], [torch.nan, 0.25, torch.nan]])
    assert weights_of(agreement, 0.25).tolist() == [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]


def test_no_round_is_flashsplat(cpu: Rasterizer):
    evidence = Evidence.of(cpu, two_balls()[0], toy_views())
    assert identical(Robust(rounds=0).solve(evidence).votes, FlashSplat().solve(evidence).votes)
