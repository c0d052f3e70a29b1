from __future__ import annotations

import pytest
import torch

from splatseg_ns.masks.resize import fit_label_map

IDS = torch.arange(12, dtype=torch.int32).reshape(3, 4)


def test_the_same_size_is_the_same_map():
    assert fit_label_map(IDS, (4, 3), "a") is IDS
    assert fit_label_map(IDS, None, "a") is IDS


def test_a_larger_size_repeats_pixels_and_a_smaller_one_undoes_it():
    larger = fit_label_map(IDS, (12, 9), "a")
    assert torch.equal(larger, IDS.repeat_interleave(3, dim=0).repeat_interleave(3, dim=1))
    assert torch.equal(fit_label_map(larger, (4, 3), "a"), IDS)


def test_halving_takes_the_pixel_at_the_centre():
    # Centres of the new pixels lie at 1 and 3 of the old ones; the pixel that begins there is taken.
    assert fit_label_map(torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]]), (2, 1), "a").tolist() == [[5, 7]]


@pytest.mark.parametrize(("old", "new"), [((1297, 840), (648, 420)), ((333, 250), (1000, 751)), ((1, 1), (1, 1))])
def test_sides_may_have_been_rounded(old: tuple[int, int], new: tuple[int, int]):
    assert fit_label_map(torch.zeros(old[::-1]), new, "a").shape == new[::-1]


@pytest.mark.parametrize(
    ("old", "new"), [((512, 384), (384, 512)), ((512, 384), (512, 512)), ((648, 420), (1297, 860))]
)
def test_another_aspect_is_refused_with_both_sizes(old: tuple[int, int], new: tuple[int, int]):
    message = f"a/b.png: the label map is {old[0]}x{old[1]}, the picture {new[0]}x{new[1]}, which is another shape"
    with pytest.raises(ValueError, match=message):
        fit_label_map(torch.zeros(old[::-1]), new, "a/b.png")
