from __future__ import annotations

import pytest
import torch
from torch import Tensor

from splatseg_ns.segmentation import Neighbourhood

LINE = torch.stack([torch.arange(10.0), torch.zeros(10), torch.zeros(10)], dim=1)


def mask(count: int, *rows: int) -> Tensor:  # [count] bool
    members = torch.zeros(count, dtype=torch.bool)
    members[list(rows)] = True
    return members


def rows(members: Tensor) -> list[int]:
    return members.nonzero().flatten().tolist()


def cloud(count: int = 300, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points, and a mask of those on one side."""
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return points, points[:, 0] > 0.2


def test_neighbours_on_a_line():
    # Inside the line the two neighbours of a point are those beside it.
    beside = Neighbourhood(LINE, count=2)
    assert rows(beside.grown(mask(10, 4, 5))) == [3, 4, 5, 6]
    assert rows(beside.shrunk(mask(10, 3, 4, 5, 6))) == [4, 5]


def test_nothing_grows_out_of_nothing_nor_beyond_everything():
    beside = Neighbourhood(LINE)
    for members in (mask(10), mask(10, *range(10))):
        assert torch.equal(beside.grown(members), members)
        assert torch.equal(beside.shrunk(members), members)


@pytest.mark.parametrize("count", [1, 8, 30])
@pytest.mark.parametrize("seed", range(3))
def test_growing_and_shrinking_are_adjoint(count: int, seed: int):
    points, members = cloud(seed=seed)
    beside = Neighbourhood(points, count)
    _, other = cloud(seed=seed + 10)
    grown, shrunk = beside.grown(members), beside.shrunk(other)
    assert bool((grown & ~other).any()) == bool((members & ~shrunk).any())
    assert not (members & ~beside.shrunk(grown)).any()
    assert not (beside.grown(beside.shrunk(members)) & ~members).any()
    assert torch.equal(beside.shrunk(beside.grown(beside.shrunk(members))), beside.shrunk(members))


def test_growing_is_by_the_nearest():
    points, members = cloud()
    expected = members.clone()
    distances = torch.cdist(points.double(), points.double())
    expected[distances[members].topk(6, largest=False).indices.flatten()] = True
    assert torch.equal(Neighbourhood(points, 5).grown(members), expected)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_scenes_smaller_than_a_neighbourhood(count: int):
    everything = torch.ones(count, dtype=torch.bool)
    beside = Neighbourhood(LINE[:count], count=8)
    assert torch.equal(beside.grown(everything), everything)
    assert torch.equal(beside.shrunk(everything), everything)
    assert torch.equal(beside.largest_component(everything), everything)
    if count > 1:
        assert beside.grown(mask(count, 0)).all()


def test_centres_that_are_not_finite_have_no_neighbours():
    points = LINE.clone()
    points[4, 1] = float("nan")
    beside = Neighbourhood(points, count=2)
    assert rows(beside.grown(mask(10, 4, 6))) == [4, 5, 6, 7]
    assert rows(beside.shrunk(mask(10, 4, 7, 8, 9))) == [4, 8, 9]
    assert rows(beside.largest_component(mask(10, 4, 6, 7))) == [6, 7]


def test_the_largest_component_drops_strays_and_smaller_clusters():
    generator = torch.Generator().manual_seed(0)
    large, small = torch.rand(200, 3, generator=generator), torch.rand(60, 3, generator=generator) + 4.0
    strays = torch.tensor([[-3.0, 0.5, 0.5], [0.5, 9.0, 0.5]])
    other = torch.rand(50, 3, generator=generator) + torch.tensor([2.0, 2.0, 2.0])
    points = torch.cat([small, large, strays, other])
    members = torch.arange(len(points)) < 262
    assert rows(Neighbourhood(points).largest_component(members)) == list(range(60, 260))


def test_a_component_hangs_together_through_thin_and_thick():
    # A dense block at the end of a row of points that are five times as far apart.
    block = torch.cartesian_prod(*[torch.arange(5) * 0.2] * 3)
    bar = torch.stack([torch.arange(1.0, 21.0), torch.zeros(20), torch.zeros(20)], dim=1)
    points = torch.cat([block, bar])
    everything = torch.ones(len(points), dtype=torch.bool)
    assert int(Neighbourhood(points).largest_component(everything).sum()) >= len(block)


def test_a_neighbourhood_has_somebody():
    with pytest.raises(ValueError, match="at least one neighbour is needed, got 0"):
        Neighbourhood(LINE, count=0)
