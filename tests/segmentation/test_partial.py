"""What is known of an object after some views, by hand."""

from __future__ import annotations

import pytest
import torch

from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation.partial import Guess, PartialObject
from tests.raster.scenes import camera, gaussians


def row_of_five() -> tuple[Splats, Camera]:
    """Five blobs side by side, ten columns apart."""
    return gaussians([[0.4 * place - 0.8, 0.0, 4.0] for place in range(5)], 0.03, [0.9] * 5), camera(
        50, 11, focal=(100.0, 100.0), center=(25.5, 5.5)
    )


def five(inside: list[float], seen: list[float]) -> PartialObject:
    return PartialObject(torch.tensor(inside), torch.tensor(seen))


def test_sums_of_five_gaussians():
    one = five([0.0, 1.0, 2.0, 0.5, 0.0], [0.0, 1.0, 4.0, 2.0, 3.0])
    two = five([0.0, 3.0, 2.0, 0.5, 0.0], [0.0, 3.0, 2.0, 0.0, 1.0])
    # 0 / 0; 1 / 1; 2 / 4; 0.5 / 2; 0 / 3. One half is not more than one half.
    assert one.share.tolist() == [0.0, 1.0, 0.5, 0.25, 0.0]
    assert one.rows.tolist() == [False, True, False, False, False]
    both = one + two
    assert both.inside.tolist() == [0.0, 4.0, 4.0, 1.0, 0.0]
    assert both.seen.tolist() == [0.0, 4.0, 6.0, 2.0, 4.0]
    assert both.rows.tolist() == [False, True, True, False, False]


def test_weights_tell_against_other_views_only():
    one, two = five([1.0, 0.0], [1.0, 0.0]), five([0.0, 0.0], [3.0, 1.0])
    assert one.weighted(0.25).share.tolist() == one.share.tolist()
    # 1 / (1 + 3) unweighted; 4 / (4 + 3) weighted.
    assert (one + two).share[0] == 0.25
    assert float((one.weighted(4.0) + two).share[0]) == pytest.approx(4 / 7)


def test_nothing_is_known_before_the_first_mask():
    splats, seen_from = row_of_five()
    nothing = PartialObject.nothing(splats)
    assert not bool(nothing.rows.any())
    guess = nothing.guess(rasterizer_for("cpu"), splats, seen_from)
    assert not bool(guess.inside().any())
    assert float(guess.known.max()) == 0.0
    assert guess.agreement(torch.ones(2, 11, 50, dtype=torch.bool)).tolist() == [0.0, 0.0]


def test_a_guess_shows_the_shares_of_what_is_known():
    splats, seen_from = row_of_five()
    known = five([0.0, 4.0, 1.0, 8.0, 0.0], [0.0, 4.0, 5.0, 8.0, 9.0])
    guess = known.guess(rasterizer_for("cpu"), splats, seen_from)
    middles = torch.arange(5) * 10 + 5
    assert guess.share[5, middles].tolist() == pytest.approx([0.0, 1.0, 0.2, 1.0, 0.0], abs=1e-5)
    # What was never seen says nothing, the others as much as their alpha.
    assert float(guess.known[5, 5]) == 0.0
    assert guess.known[5, middles[1:]].tolist() == pytest.approx([0.9] * 4, abs=0.01)
    assert guess.inside()[5, middles].tolist() == [False, True, False, True, False]
    # Between the blobs nothing is known.
    assert not bool(guess.inside()[:, [0, 10, 20, 30, 40, 49]].any())


def test_what_was_hardly_seen_is_hardly_known():
    splats, seen_from = row_of_five()
    masses = [0.001, 0.01, 0.1, 1.0, 10.0]
    guess = five(masses, masses).guess(rasterizer_for("cpu"), splats, seen_from)
    known = guess.known[5, torch.arange(5) * 10 + 5]
    assert bool((known.diff()[:3] > 0).all()) and float(known[0]) < 0.1


def test_agreement_by_hand():
    # Of six pixels the last is not known; two of the others belong to the object.
    guess = Guess(torch.tensor([[1.0, 0.8, 0.2], [0.0, 0.1, 1.0]]), torch.tensor([[1.0, 1.0, 0.9], [1.0, 1.0, 0.1]]))
    masks = torch.tensor(
        [
            [[1, 1, 0], [0, 0, 1]],  # 2 / 2, whatever it says about the unknown
            [[1, 1, 1], [1, 0, 0]],  # 2 / 4
            [[1, 0, 0], [0, 0, 0]],  # 1 / 2
            [[0, 0, 1], [1, 1, 1]],  # 0 / 5
            [[0, 0, 0], [0, 0, 0]],  # 0 / 2
        ]
    ).bool()
    assert guess.agreement(masks).tolist() == pytest.approx([1.0, 0.5, 0.5, 0.0, 0.0])
    assert guess.inside().tolist() == [[True, True, False], [False, False, False]]
