"""Masks that contradict what the other views say are put right before they vote."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.lift import Corrections, Evidence, FlashSplat, Robust
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


def share_right(ids: torch.Tensor, truth: torch.Tensor) -> float:
    """Of the Gaussians that are seen."""
    return float((ids == truth)[ids >= 0].double().mean())


def moved_edges(views: list[ToyView], radius: int) -> list[ToyView]:
    """The masks of object 1 in every second view grown over everything, in squares."""
    grown = []
    for place, view in enumerate(views):
        mask = (view.labels == 1).float()[None]
        reached = torch.nn.functional.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)[0] > 0
        grown.append(ToyView(view.camera, torch.where(reached, 1, view.labels)) if place % 2 else view)
    return grown


def test_clean_masks_vote_as_they_are(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    evidence = Evidence.of(cpu, splats, views)
    robust, plain = Robust().solve(evidence), FlashSplat().solve(evidence)
    assert robust.corrections is None or robust.corrections.left_out == robust.corrections.renamed == 0
    assert float((robust.labels.ids == plain.labels.ids).double().mean()) > 0.98


def test_swapped_names_are_found(cpu: Rasterizer):
    splats, views, truth = true_views(cpu)
    swapped = torch.tensor([0, 2, 1])
    dirty = [
        ToyView(view.camera, swapped[view.labels]) if place in (1, 4) else view for place, view in enumerate(views)
    ]
    evidence = Evidence.of(cpu, splats, dirty)
    solution = Robust(reach=0.0).solve(evidence)
    assert solution.corrections == Corrections(masks=12, moved=0, renamed=4, left_out=0)
    clean = FlashSplat().solve(Evidence.of(cpu, splats, views))
    assert share_right(solution.labels.ids, truth) >= share_right(clean.labels.ids, truth)
    assert identical(solution.votes, clean.votes)
    # Settled, so that the stored votes give the same labels again.
    assert torch.equal(solution.solver.decide(solution.votes).ids, solution.labels.ids)


def test_without_renaming_they_say_nothing(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    swapped = torch.tensor([0, 2, 1])
    dirty = [ToyView(view.camera, swapped[view.labels]) if place == 1 else view for place, view in enumerate(views)]
    solution = Robust(reach=0.0, rename=False).solve(Evidence.of(cpu, splats, dirty))
    assert solution.corrections == Corrections(masks=12, moved=0, renamed=0, left_out=2)


def test_edges_that_are_off_are_moved(cpu: Rasterizer):
    splats, views, truth = true_views(cpu)
    evidence = Evidence.of(cpu, splats, moved_edges(views, 3))
    solution, plain = Robust(reach=0.08).solve(evidence), FlashSplat().solve(evidence)
    assert solution.corrections is not None and solution.corrections.moved >= 3
    assert share_right(solution.labels.ids, truth) > share_right(plain.labels.ids, truth) + 0.005


def test_few_edges_that_seem_off_are_left_alone(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    # One mask of twelve.
    dirty = [views[0], moved_edges(views, 3)[1], *views[2:]]
    evidence = Evidence.of(cpu, splats, dirty)
    assert Robust(reach=0.08).solve(evidence).corrections is None
    # One of six.
    solution = Robust(reach=0.08).solve(Evidence.of(cpu, splats, dirty[:3]))
    assert solution.corrections is not None and solution.corrections.moved == 1


def test_a_single_view_is_believed(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    evidence = Evidence.of(cpu, splats, views[:1])
    assert identical(Robust().solve(evidence).votes, FlashSplat().solve(evidence).votes)


def test_the_order_of_views_makes_no_difference(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    dirty = moved_edges(views, 2)
    forward, backward = (Robust().solve(Evidence.of(cpu, splats, part)) for part in (dirty, dirty[::-1]))
    assert identical(forward.votes, backward.votes)
    assert torch.equal(forward.labels.ids, backward.labels.ids)


def test_votes_without_room_to_keep_them_are_counted_again(cpu: Rasterizer, monkeypatch: pytest.MonkeyPatch):
    splats, views, _ = true_views(cpu)
    evidence = Evidence.of(cpu, splats, moved_edges(views, 2))
    kept = Robust().solve(evidence)
    monkeypatch.setattr("splatseg_ns.lift.solvers.robust.REMEMBERED_BYTES", 10_000)
    assert identical(Robust().solve(evidence).votes, kept.votes)


def test_gamma_auto_is_settled(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    solution = Robust(gamma="auto").solve(Evidence.of(cpu, splats, views))
    assert isinstance(solution.solver, Robust) and isinstance(solution.solver.gamma, float)
    assert torch.equal(solution.solver.decide(solution.votes).ids, solution.labels.ids)


def test_ids_need_not_be_in_a_row(cpu: Rasterizer):
    splats, views, _ = true_views(cpu)
    names = torch.tensor([0, 70_000, 3])
    plain = Robust().solve(Evidence.of(cpu, splats, moved_edges(views, 2))).labels.ids
    renamed = [ToyView(view.camera, names[view.labels]) for view in moved_edges(views, 2)]
    found = Robust().solve(Evidence.of(cpu, splats, renamed)).labels.ids
    assert torch.equal(found, torch.where(plain < 0, plain, names[plain.clamp_min(0)]))


def test_no_round_is_flashsplat(cpu: Rasterizer):
    evidence = Evidence.of(cpu, two_balls()[0], toy_views())
    assert identical(Robust(rounds=0).solve(evidence).votes, FlashSplat().solve(evidence).votes)


@pytest.mark.parametrize("wrong", [{"rounds": -1}, {"reach": 0.2}, {"reject_below": 1.5}])
def test_options_out_of_range(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Robust(**wrong)
