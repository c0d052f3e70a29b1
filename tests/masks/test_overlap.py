from __future__ import annotations

import pytest
import torch

from splatseg_ns.masks import OverlapRule
from splatseg_ns.masks.overlap import OVERLAP_RULES, compose
from splatseg_ns.scene import IGNORED


def mask(*pixels: int) -> torch.Tensor:  # [1, P] bool
    return torch.tensor([pixels]) > 0


BIG, SMALL = mask(1, 1, 1, 0, 0), mask(0, 0, 1, 1, 0)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("smallest", [2, 2, 7, 7, 0]),
        ("lowest_id", [2, 2, 2, 7, 0]),
        ("highest_id", [2, 2, 7, 7, 0]),
        ("ignore", [2, 2, IGNORED, 7, 0]),
    ],
)
def test_every_rule(rule: OverlapRule, expected: list[int]):
    assert compose([(2, BIG), (7, SMALL)], rule).tolist() == [expected]


def test_of_equal_masks_the_lowest_id_wins():
    assert compose([(7, SMALL), (2, SMALL)], "smallest").tolist() == [[0, 0, 2, 2, 0]]


@pytest.mark.parametrize("rule", OVERLAP_RULES)
def test_the_order_of_masks_does_not_matter(rule: OverlapRule):
    generator = torch.Generator().manual_seed(0)
    masks = [(id, torch.rand(6, 7, generator=generator) < 0.4) for id in (5, 1, 300, 2)]
    assert torch.equal(compose(masks, rule), compose(masks[::-1], rule))


@pytest.mark.parametrize("rule", OVERLAP_RULES)
def test_disjoint_masks_and_two_of_one_object_need_no_rule(rule: OverlapRule):
    masks = [(3, mask(1, 1, 0, 0)), (3, mask(0, 1, 1, 0)), (9, mask(0, 0, 0, 1))]
    assert compose(masks, rule).tolist() == [[3, 3, 3, 9]]
