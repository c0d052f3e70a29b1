"""Masked-gradient voting on votes, against its literal form through autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.lift import Evidence, Gradient
from splatseg_ns.lift.ballots import dilate_objects
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats
from tests.lift.examples import ToyView, toy_splats, toy_views, votes_of


def masked_gradients(engine: Rasterizer, splats: Splats, view: ToyView, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The norms [N] of the gradients, by the colours, of the mean of the picture inside the mask and outside of it."""
    norms = []
    for pixels in (mask, ~mask):
        colors = torch.full((len(splats), 3), 0.5, device=engine.device, requires_grad=True)
        picture = engine.render(splats, view.camera.to(engine.device), features=colors).colors
        (gradient,) = torch.autograd.grad((picture * pixels[..., None].to(picture)).mean(), colors)
        norms.append(gradient.norm(dim=1).double().cpu())
    return norms[0], norms[1]


def binary_views() -> list[ToyView]:
    return [ToyView(view.camera, (view.labels == 1).long()) for view in toy_views()]


@pytest.mark.parametrize("weight", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("dilation", [0, 3])
def test_votes_are_the_gradients(engine: Rasterizer, weight: float, dilation: int):
    splats, views = toy_splats().to(engine.device), binary_views()
    solution = Gradient(background_weight=weight, dilation=dilation).solve(Evidence.of(engine, splats, views))
    inside, outside = torch.zeros(2, len(splats)).double()
    for view in views:
        gradients = masked_gradients(engine, splats, view, dilate_objects(view.labels, dilation) == 1)
        inside += gradients[0]
        outside += gradients[1]
    # A mean over 3 H W values, and the norm of three equal ones; pictures count as if all had the first one's size.
    unit = 48 * 40 * 3.0**0.5
    torch.testing.assert_close(solution.votes.column(1), unit * inside, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(solution.votes.seen - solution.votes.column(1), unit * outside, rtol=1e-4, atol=1e-4)
    balance = inside - weight * outside
    clear = (balance.abs() * unit > 1e-3) | (balance == 0)
    expected = torch.where(balance > 0, 1, torch.where(balance < 0, 0, -1))
    assert torch.equal(solution.labels.ids[clear], expected[clear])
    assert int(clear.sum()) > 0.9 * len(splats) and len(expected.unique()) >= 2


def test_binary_votes_are_the_signs_of_the_gradients(engine: Rasterizer):
    splats, views = toy_splats().to(engine.device), binary_views()
    solution = Gradient("binary").solve(Evidence.of(engine, splats, views))
    balance = torch.zeros(len(splats)).double()
    for view in views:
        inside, outside = masked_gradients(engine, splats, view, view.labels == 1)
        balance += (inside > 0).double() - (outside > 0).double()
    assert torch.equal(2 * solution.votes.column(1) - solution.votes.seen, balance)
    assert torch.equal(solution.labels.ids, torch.where(balance > 0, 1, torch.where(balance < 0, 0, -1)))


def test_each_of_several_objects_is_voted_against_all_else(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views()
    votes = Gradient("binary").solve(Evidence.of(cpu, splats, views)).votes
    for label in (1, 2, 3):
        balance = torch.zeros(len(splats)).double()
        for view in views:
            inside, outside = masked_gradients(cpu, splats, view, view.labels == label)
            balance += (inside > 0).double() - (outside > 0).double()
        assert torch.equal(2 * votes.column(label) - votes.seen, balance)


def test_projection_votes_by_the_pixel_of_the_centre(cpu: Rasterizer):
    splats, views = toy_splats(), binary_views()
    votes = Gradient("projection").solve(Evidence.of(cpu, splats, views)).votes
    for_it, count = torch.zeros(2, len(splats)).double()
    for view in views:
        seen = cpu.votes(splats, view.camera, view.labels).seen > 0
        for row in seen.nonzero().flatten().tolist():
            point = view.camera.viewmat[:3, :3] @ splats.means[row] + view.camera.viewmat[:3, 3]
            x, y = (view.camera.K @ point / point[2])[:2].floor().long().tolist()
            if 0 <= x < view.camera.width and 0 <= y < view.camera.height:
                count[row] += 1
                for_it[row] += view.labels[y, x]
    assert torch.equal(votes.seen, count) and torch.equal(votes.column(1), for_it)


def test_four_gaussians_by_hand():
    # For 3 against 1; for 1 against 3; a tie has no label; never seen.
    votes = votes_of([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0], [0.0, 0.0]], ids=[0, 1])
    labels = Gradient().decide(votes)
    assert labels.ids.tolist() == [1, 0, -1, -1]
    assert labels.margin.tolist() == [0.5, 0.5, 0.0, 0.0]
    # Against counts threefold: 3 - 3 and 1 - 9 and 2 - 6.
    assert Gradient(background_weight=3.0).decide(votes).ids.tolist() == [-1, 0, 0, -1]


def test_wrong_options_are_said():
    with pytest.raises(ValueError, match="vote_by is"):
        Gradient(vote_by="area")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="0 or more"):
        Gradient(dilation=-1)
