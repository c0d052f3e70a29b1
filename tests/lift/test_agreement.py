"""Agreement of masks with renders, and of votes with labels."""

from __future__ import annotations

import torch

from splatseg_ns.lift import (
    FlashSplat,
    Labels,
    accumulate_votes,
    iou_of_objects,
    render_shares,
    vote_agreement,
)
from splatseg_ns.raster import Rasterizer
from tests.lift.examples import toy_splats, toy_views, votes_of

IDS = torch.tensor([0, 1, 2, 3])


def test_iou_by_hand():
    predicted = torch.tensor([[1, 1, 0], [2, 2, 9]])
    given = torch.tensor([[1, 0, 0], [1, 2, 2]])
    # 1: one shared of three; 2: one of three; 3 is in neither, 9 has no column, 0 is no object.
    iou = iou_of_objects(predicted, given, torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(iou, torch.tensor([torch.nan, 1 / 3, 1 / 3, torch.nan]).double(), equal_nan=True)
    mask = torch.tensor([[True, True, True], [False, True, True]])
    assert float(iou_of_objects(predicted, given, torch.tensor([1]), mask)) == 0.5


def test_vote_agreement_by_hand():
    # Object 1 gets the first two Gaussians, object 2 the third. Object 1: shared 3 + 1, masks 3 + 1 + 2 = 6, decided
    # 4 + 3 = 7, so 4 / 9. Object 2: shared 4, masks 2 + 4 = 6, decided 6, so 4 / 8.
    votes = votes_of([[1.0, 3.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 4.0]], ids=[0, 1, 2])
    labels = Labels(torch.tensor([1, 1, 2]), torch.ones(3).double())
    assert abs(vote_agreement(labels, votes) - (4 / 9 + 4 / 8) / 2) < 1e-12


def test_vote_agreement_is_the_soft_iou_of_renders(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views()
    votes = accumulate_votes(cpu, splats, views, IDS)
    labels = FlashSplat().decide(votes)
    inside, given, decided = torch.zeros(3, 4).double()
    for view in views:
        shares = render_shares(cpu, splats, view.camera, labels, IDS).double()
        alpha = render_shares(cpu, splats, view.camera, Labels(torch.zeros(len(splats)), labels.margin), IDS[:1])
        of_mask = (view.labels[..., None] == IDS).double()
        inside += (shares * of_mask).sum(dim=(0, 1))
        decided += shares.sum(dim=(0, 1))
        # Where nothing is drawn no Gaussian can vote.
        given += (of_mask * alpha).sum(dim=(0, 1))
    iou = inside / (given + decided - inside)
    assert abs(vote_agreement(labels, votes) - float(iou[1:].mean())) < 1e-5


def test_no_objects_agree():
    votes = votes_of([[1.0]], ids=[0])
    assert vote_agreement(FlashSplat().decide(votes), votes) == 1.0
