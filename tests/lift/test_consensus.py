"""What all views but one say."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.lift import FlashSplat, Labels, Votes, accumulate_votes, render_label_map
from splatseg_ns.lift.ballots import by_mass
from splatseg_ns.lift.consensus import labels_without, render_decided, votes_without
from splatseg_ns.lift.labels import UNSEEN
from splatseg_ns.lift.views import LabelledViews
from splatseg_ns.raster import Rasterizer
from tests.lift.examples import toy_splats, toy_views, votes_of
from tests.raster.scenes import camera

IDS = torch.tensor([0, 1, 2, 3])


def test_votes_without_a_part_by_hand():
    total = votes_of([[1.0, 3.0, 0.0], [0.0, 0.0, 2.0], [4.0, 2.0, 4.0]], ids=[0, 1, 2])
    part = votes_of([[0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 0.0]], ids=[0, 1, 2])
    others = votes_without(total, part, torch.tensor([0, 2]))
    assert others.dense().tolist() == [[1.0, 0.0, 0.0], [3.0, 0.0, 4.0]]
    assert others.seen.tolist() == [1.0, 7.0]
    # What was taken away wholly leaves no entry behind.
    assert others.columns.tolist() == [0, 0, 2]


@pytest.mark.parametrize("gamma", [-0.9, 0.0, 0.4, 1.0])
def test_taking_a_view_away_is_leaving_it_out(cpu: Rasterizer, gamma: float):
    splats, views = toy_splats(), toy_views()
    total = accumulate_votes(cpu, splats, views, IDS)
    decide = FlashSplat(gamma).decide
    for position in range(len(views)):
        (view,) = LabelledViews(views).read([position])
        part = Votes.of(by_mass(cpu, splats, view, IDS))
        expected = accumulate_votes(cpu, splats, views[:position] + views[position + 1 :], IDS)
        assert torch.equal(labels_without(decide(total), total, part, decide), decide(expected).ids)


def test_the_only_view_leaves_nothing(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views(1)
    total = accumulate_votes(cpu, splats, views, IDS)
    assert set(labels_without(FlashSplat().decide(total), total, total, FlashSplat().decide).tolist()) == {UNSEEN}


def test_what_is_drawn_is_the_strongest_label(cpu: Rasterizer):
    splats, views = toy_splats(), toy_views(40, labels=30)
    ids = torch.arange(30)
    seen_from = camera(48, 40, focal=(30.0, 30.0))
    labels = FlashSplat().decide(accumulate_votes(cpu, splats, views, ids))
    assert len(labels.objects) > 16
    drawn = render_decided(cpu, splats, seen_from, labels.ids, ids)
    weights = cpu.render(splats, seen_from, features=(labels.ids[:, None] == ids).float()).colors
    expected = torch.where(weights.sum(dim=-1) > 0.5, ids[weights.argmax(dim=-1)], UNSEEN)
    assert torch.equal(drawn, expected)
    # Where everything is covered it is the label map.
    full = weights.sum(dim=-1) > 0.999
    assert torch.equal(drawn[full], render_label_map(cpu, splats, seen_from, labels, ids)[full])


def test_gaussians_without_a_label_cover_nothing(cpu: Rasterizer):
    splats = toy_splats()
    labels = Labels(torch.full((len(splats),), UNSEEN), torch.zeros(len(splats)))
    drawn = render_decided(cpu, splats, camera(48, 40, focal=(30.0, 30.0)), labels.ids, IDS)
    assert set(drawn.unique().tolist()) == {UNSEEN}
