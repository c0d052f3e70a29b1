"""FlashSplat's decisions, by hand and against every possible labelling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import Evidence, FlashSplat, Gradient, Votes, accumulate_votes
from splatseg_ns.lift.solvers.flashsplat import Norm
from splatseg_ns.raster import Rasterizer
from splatseg_ns.raster.oracle import OracleRasterizer
from splatseg_ns.scene import Splats
from tests.lift.examples import ToyView, toy_splats, toy_views, votes_of
from tests.raster.scenes import camera, cloud, label_map

# Shares of background, 1, 2: (.2, .5, .3), (.45, .3, .25), (0, 0, 1), never seen, (1, 0, 0).
FIVE = votes_of([[2.0, 5.0, 3.0], [9.0, 6.0, 5.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], ids=[0, 1, 2])


@pytest.mark.parametrize(
    ("gamma", "ids", "margins"),
    [
        (0.0, [1, 0, 2, -1, 0], [0.2, 0.15, 1.0, 0.0, 1.0]),
        # The background's share is .6, .85, .4, -, 1.4.
        (0.4, [0, 0, 2, -1, 0], [0.1, 0.55, 0.6, 0.0, 1.0]),
        # -.2, .05, -.4, -, .6: objects win wherever they are.
        (-0.4, [1, 1, 2, -1, 0], [0.2, 0.05, 1.0, 0.0, 0.6]),
        (1.0, [0, 0, 0, -1, 0], [0.7, 1.0, 0.0, 0.0, 1.0]),
        # No bias gives an object what it does not touch, nor what nothing sees.
        (-1.0, [1, 1, 2, -1, 0], [0.2, 0.05, 1.0, 0.0, 0.0]),
    ],
)
def test_five_gaussians_by_hand(gamma: float, ids: list[int], margins: list[float]):
    labels = FlashSplat(gamma).decide(FIVE)
    assert labels.ids.tolist() == ids
    torch.testing.assert_close(labels.margin, torch.tensor(margins).double())


def test_the_codes_norm_by_hand():
    # One object against the background: r = .7 passes gamma .4 as (2 r - 1) / hypot(r, 1 - r) = .4 / .7616 = .525 > .4,
    # r = .65 as .3 / .738 = .4065 > .4, r = .64 not as .28 / .7343 = .381; by the paper's norm r must be above .7.
    votes = votes_of([[0.3, 0.7], [0.35, 0.65], [0.36, 0.64]], ids=[0, 1])
    assert FlashSplat(0.4, "l2").decide(votes).ids.tolist() == [1, 1, 0]
    assert FlashSplat(0.4, "l2").members(votes, 1).tolist() == [True, True, False]
    assert FlashSplat(0.41, "l1").decide(votes).ids.tolist() == [0, 0, 0]
    assert FlashSplat(0.29, "l1").decide(votes).ids.tolist() == [1, 1, 0]


def test_objects_against_the_rest_overlap_with_a_negative_gamma():
    # Share of 1: .5, .3, 0, -, 0; of 2: .3, .25, 1, -, 0. A member's share is above (1 + gamma) / 2.
    assert FlashSplat(0.0).members(FIVE, 1).tolist() == [False] * 5
    assert FlashSplat(-0.1).members(FIVE, 1).tolist() == [True, False, False, False, False]
    assert FlashSplat(-0.6).members(FIVE, 1).tolist() == [True, True, False, False, False]
    assert FlashSplat(-0.6).members(FIVE, 2).tolist() == [True, True, True, False, False]
    assert FlashSplat(-1.0).members(FIVE, 2).tolist() == [True, True, True, False, False]


def test_pixels_without_a_column_are_background():
    votes = votes_of([[3.0], [3.0]], ids=[1], seen=[5.0, 7.0])
    assert FlashSplat().decide(votes).ids.tolist() == [1, 0]
    assert FlashSplat().members(votes, 1).tolist() == [True, False]


@pytest.mark.parametrize("gamma", [-0.9, -0.5, -0.1, 0.0, 0.3, 0.8])
def test_gamma_is_a_weight_of_the_background(gamma: float):
    # r > (1 + gamma) / 2 is A1 > w A0 with w = (1 + gamma) / (1 - gamma).
    random = torch.rand(500, 2, generator=torch.Generator().manual_seed(1))
    votes = votes_of(random.tolist(), ids=[0, 1])
    by_gamma = FlashSplat(gamma).decide(votes).ids
    by_weight = Gradient(background_weight=(1 + gamma) / (1 - gamma)).decide(votes).ids
    assert torch.equal(by_gamma, by_weight) and len(by_gamma.unique()) == 2
    assert torch.equal(FlashSplat(gamma).members(votes, 1), by_gamma == 1)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("gamma", [-0.5, 0.0, 0.5])
def test_permuted_labels_give_permuted_objects(cpu: Rasterizer, gamma: float, norm: Norm):
    splats, views = toy_splats(), toy_views()
    new_name = torch.tensor([0, 999, 3, 70])
    renamed = [ToyView(view.camera, new_name[view.labels]) for view in views]
    plain = FlashSplat(gamma, norm).decide(accumulate_votes(cpu, splats, views, [0, 1, 2, 3])).ids
    other = FlashSplat(gamma, norm).decide(accumulate_votes(cpu, splats, renamed, new_name)).ids
    expected = torch.where(plain > 0, new_name[plain.clamp_min(0)], plain)
    assert torch.equal(other, expected) and len(plain.unique()) > 2


def test_gamma_auto_is_settled_by_folds(cpu: Rasterizer):
    evidence = Evidence.of(cpu, toy_splats(), toy_views(8))
    solution = FlashSplat("auto").solve(evidence)
    assert isinstance(solution.solver, FlashSplat) and isinstance(solution.solver.gamma, float)
    assert torch.equal(solution.solver.decide(solution.votes).ids, solution.labels.ids)
    with pytest.raises(ValueError, match="settle it"):
        FlashSplat("auto").decide(solution.votes)


def test_wrong_options_are_said():
    with pytest.raises(ValueError, match="gamma is a number"):
        FlashSplat(1.5)
    with pytest.raises(ValueError, match="norm is"):
        FlashSplat(norm="l3")  # pyright: ignore[reportArgumentType]


def toy_problem(count: int, labels: int, seed: int) -> tuple[Splats, list[ToyView]]:
    """A few large Gaussians in two small pictures with random masks."""
    splats = cloud(count, seed, size=0.5, opacity=0.5, degree=0)
    cameras = [camera(14, 11, focal=(9.0, 9.0)), camera(10, 12, focal=(8.0, 8.0), turn=0.3, shift=(1.0, 0.1, 0.2))]
    return splats, [ToyView(view, label_map(view, labels, seed + place)) for place, view in enumerate(cameras)]


def blending_weights(splats: Splats, views: list[ToyView]) -> Iterator[tuple[Tensor, Tensor]]:
    """For each view the weights alpha * T [P, N] and the labels [P], by the float64 oracle."""
    for view in views:
        picture = OracleRasterizer().render(splats, view.camera, features=torch.eye(len(splats)).double())
        yield picture.colors.flatten(0, 1), view.labels.flatten()


def objective(weights: list[tuple[Tensor, Tensor]], labelling: Tensor, label: int) -> Tensor:
    """F = sum over views and pixels of |sum_i P_i alpha_i T_i - M|, for labellings [B, N] and the masks of a label."""
    fits = [(labelling == label).double() @ weight.T - (labels == label).double() for weight, labels in weights]
    return torch.cat(fits, dim=1).abs().sum(dim=1)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("count", [8, 12])
def test_of_all_labellings_none_fits_the_masks_better(engine: Rasterizer, count: int, seed: int):
    splats, views = toy_problem(count, 2, seed)
    votes = accumulate_votes(engine, splats.to(engine.device), views, [0, 1])
    found = FlashSplat().decide(votes).ids.clamp_min(0)
    weights = list(blending_weights(splats, views))
    every = torch.tensor(list(product((0, 1), repeat=count)))
    costs = objective(weights, every, 1)
    assert float(objective(weights, found[None], 1)) <= float(costs.min()) + 1e-4
    # F = C + sum_i P_i (A0 - A1), with C the size of the masks.
    mass = votes.dense()
    size = sum(int((view.labels == 1).sum()) for view in views)
    opened = size + every.double() @ (mass[:, 0] - mass[:, 1])
    torch.testing.assert_close(opened, costs, rtol=1e-4, atol=1e-3)
    assert 0 < int(found.sum()) < count


@pytest.mark.parametrize("seed", range(3))
def test_of_all_labellings_with_three_labels_none_fits_better(engine: Rasterizer, seed: int):
    splats, views = toy_problem(7, 3, seed)
    found = FlashSplat().decide(accumulate_votes(engine, splats.to(engine.device), views, [0, 1, 2])).ids.clamp_min(0)
    weights = list(blending_weights(splats, views))
    every = torch.tensor(list(product((0, 1, 2), repeat=7)))
    costs = torch.stack([objective(weights, every, label) for label in (0, 1, 2)]).sum(dim=0)
    cost = torch.stack([objective(weights, found[None], label) for label in (0, 1, 2)]).sum()
    assert float(cost) <= float(costs.min()) + 1e-4 and len(found.unique()) > 1


def test_votes_of_no_view_leave_everything_unseen():
    labels = FlashSplat(-0.5).decide(Votes.zero(3, [0, 1]))
    assert labels.ids.tolist() == [-1, -1, -1]
