from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from splatseg_ns.masks import decode_rle
from tests.masks.examples import rle


def test_runs_go_down_the_columns_and_begin_with_zeros():
    # Columns of 2: 0 1 | 1 1 | 0 0 are runs of one zero, three ones and two zeros.
    mask = decode_rle({"size": [2, 3], "counts": [1, 3, 2]})
    assert mask.dtype == bool
    assert mask.astype(int).tolist() == [[0, 1, 0], [1, 1, 0]]


def test_a_mask_may_begin_with_ones():
    assert decode_rle({"size": [1, 2], "counts": [0, 1, 1]}).tolist() == [[True, False]]


def test_a_compressed_string_computed_by_hand():
    # 40 = 01000 + 32 * 00001: two characters, 8 with the bit for more and 1: chr(48 + 8 + 32) "X", chr(48 + 1) "1".
    # 3 is one character, "3"; 37 = 00101 + 32 * 00001 is "U1".
    # The fourth length, 10, is stated as 10 - 3 = 7: "7", the fifth, 10, as 10 - 37 = -27: 00101, then 11111, "UO":
    # the upper bit of the last group is the sign, so 5 + 32 * 31 - 1024 = -27.
    assert decode_rle({"size": [10, 10], "counts": "X13U17UO"}).sum() == 3 + 10
    assert decode_rle({"size": [10, 10], "counts": [40, 3, 37, 10, 10]}).sum() == 13


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_any_mask_comes_back(seed: int, compress: bool):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 60, 2)
    mask = np.repeat(random.random((height, width)) < random.random(), random.integers(1, 9), axis=0)
    assert np.array_equal(decode_rle(rle(mask, compress)), mask)


@pytest.mark.parametrize("seed", range(20))
def test_strings_of_the_reference_implementation(seed: int):
    reference = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 200, 2)
    mask = np.repeat(random.random((height, width)) < random.random(), random.integers(1, 9), axis=0)
    code = reference.encode(np.asfortranarray(mask, np.uint8))
    segmentation = {"size": list(map(int, code["size"])), "counts": code["counts"].decode()}
    assert np.array_equal(decode_rle(segmentation), mask)
    assert rle(mask, compress=True) == segmentation


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("value", [False, True])
def test_masks_of_one_value(value: bool, compress: bool):
    mask = np.full((7, 5000), value)
    assert np.array_equal(decode_rle(rle(mask, compress)), mask)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "do not fill a mask of 2x2 pixels"),
        ({"size": [2, 2], "counts": [5, -1]}, "do not fill"),
        ({"size": [2, 2], "counts": "14"}, "do not fill"),
        ({"size": [2, 2], "counts": "1 3"}, "' ' does not occur in compressed run lengths"),
        ({"size": [2, 2], "counts": "1S"}, "end within a number"),
        ({"size": [2, 2], "counts": [1.0, 3.0]}, "a list of whole numbers or a string"),
        ({"size": [2], "counts": [4]}, r"'size' is \[height, width\]"),
        ({"size": [0, 4], "counts": []}, r"'size' is \[height, width\]"),
        ([[1, 2, 3, 4]], "polygons are not read"),
    ],
)
def test_what_is_no_mask_is_refused(segmentation: Any, message: str):
    with pytest.raises(ValueError, match=message):
        decode_rle(segmentation)
