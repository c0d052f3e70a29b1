"""COCO's run lengths: a binary mask as the lengths of its runs of zeros and ones, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_FIRST_CHARACTER = 48
_PAYLOAD_BITS = 5
_PAYLOAD = 0b11111
_SIGN = 0b10000
_MORE = 0b100000
_DIFFERENCES_FROM = 3
"""From this run on, a compressed length is stated as the difference from the one two runs before (of its colour)."""


def decode_rle(
    segmentation: Mapping[str, Any],  # {"size": [H, W], "counts": lengths or a compressed string of them}
) -> np.ndarray:  # [H, W] bool
    """The mask of a COCO run-length code, compressed or not."""
    height, width = _size_of(segmentation)
    lengths = run_lengths(segmentation)
    ones = np.arange(len(lengths)) % 2 == 1
    return np.repeat(ones, lengths).reshape(width, height).T


def run_lengths(
    segmentation: Mapping[str, Any],
) -> np.ndarray:  # [R] int64, zeros first
    """The lengths of the runs; they fill the mask exactly."""
    height, width = _size_of(segmentation)
    counts = segmentation["counts"]
    if isinstance(counts, str):
        lengths = _decompressed(counts)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        lengths = counts
    else:
        raise ValueError(f"'counts' is a list of whole numbers or a string, got {type(counts).__name__}")
    if any(length < 0 for length in lengths) or sum(lengths) != height * width:
        raise ValueError(f"the run lengths do not fill a mask of {width}x{height} pixels")
    return np.array(lengths, np.int64)


def _size_of(segmentation: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width."""
    if not isinstance(segmentation, Mapping) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError("a mask is {'size': [height, width], 'counts': ...} (polygons are not read; convert to RLE)")
    size = segmentation["size"]
    if not isinstance(size, Sequence) or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise ValueError(f"'size' is [height, width] in pixels, got {size!r}")
    return size[0], size[1]


def _decompressed(text: str) -> list[int]:
    """The numbers in a string whose characters hold six bits each: five of the number, lowest first, and one for more.

    The numbers are in two's complement, so the highest payload bit of the last character is the sign.
    """
    lengths: list[int] = []
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - _FIRST_CHARACTER
        if not 0 <= bits < 2 * _MORE:
            raise ValueError(f"{character!r} does not occur in compressed run lengths")
        number |= (bits & _PAYLOAD) << shift
        shift += _PAYLOAD_BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) >= _DIFFERENCES_FROM else 0))
        number, shift = 0, 0
    if shift:
        raise ValueError("the compressed run lengths end within a number")
    return lengths
