"""What every segmenter offers: a picture is read once, then prompts become masks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Embedding:
    """What a segmenter remembers of a picture."""

    features: tuple[Tensor, ...]
    """What the segmenter makes of them is its own affair."""

    width: int
    """Of the picture."""

    height: int


@dataclass(frozen=True, eq=False)
class Prompts:
    """B questions about one picture; each has the same number of points, boxes and masks."""

    points: Tensor  # [B, P, 2] x, y in pixels; the first pixel's centre is at 0.5, 0.5
    positive: Tensor  # [B, P] bool: on what is meant, or off it
    boxes: Tensor | None = None  # [B, 4] left, top, right, bottom in pixels
    masks: Tensor | None = None  # [B, h, w] logits of earlier answers

    def __post_init__(self) -> None:
        count = len(self.points)
        if self.points.shape[2:] != (2,) or self.points.shape[:2] != self.positive.shape:
            raise ValueError(
                f"points are [B, P, 2] and their signs [B, P], got {list(self.points.shape)} and "
                f"{list(self.positive.shape)}"
            )
        if self.boxes is not None and tuple(self.boxes.shape) != (count, 4):
            raise ValueError(f"{count} questions take boxes [{count}, 4], got {list(self.boxes.shape)}")
        if self.masks is not None and (self.masks.dim() != 3 or len(self.masks) != count):
            raise ValueError(f"{count} questions take masks [{count}, h, w], got {list(self.masks.shape)}")

    def __len__(self) -> int:
        return len(self.points)

    @staticmethod
    def of(
        points: Sequence[tuple[float, float]] = (),
        negative: Sequence[tuple[float, float]] = (),
        box: Sequence[float] | None = None,
        mask: Tensor | None = None,  # [h, w]
    ) -> Prompts:
        """One question."""
        return Prompts(
            torch.tensor([*points, *negative], dtype=torch.float32).reshape(1, -1, 2),
            torch.tensor([True] * len(points) + [False] * len(negative), dtype=torch.bool)[None],
            None if box is None else torch.tensor([list(box)], dtype=torch.float32),
            None if mask is None else mask[None],
        )


@dataclass(frozen=True, eq=False)
class Candidates:
    """The answers to B questions, several masks to each: for SAM three, of a part, an object and a group."""

    logits: Tensor  # [B, M, h, w] positive inside, at the segmenter's own resolution
    scores: Tensor  # [B, M] the IoU that the segmenter expects
    width: int
    """Of the picture."""

    height: int

    def masks(self) -> Tensor:  # [B, M, H, W] bool
        """All masks in the picture's pixels."""
        return self.mask_logits(self.logits) > 0

    def mask_logits(
        self,
        logits: Tensor,  # [B, M, h, w]
    ) -> Tensor:  # [B, M, H, W]
        """Some of the logits in the picture's pixels."""
        return torch.nn.functional.interpolate(logits, (self.height, self.width), mode="bilinear", align_corners=False)


class PictureReader(Protocol):
    """Makes embeddings of pictures, as every segmenter does."""

    @property
    def name(self) -> str:
        """Of the model and its weights: embeddings of one name can be exchanged."""
        ...

    def embed(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Embedding:
        """Read a picture."""
        ...


class Segmenter(PictureReader, Protocol):
    """Reads pictures, and answers prompts."""

    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        """Answer questions about a picture that has been read."""
        ...


@contextmanager
def reading_threads(
    at_once: int = 1,
) -> Iterator[None]:
    """The threads that torch uses while this thread reads a picture, as one of ``at_once``; other threads keep theirs.

    Reading takes all cores, whatever torch was limited to: of all that is done with pictures, it alone takes seconds.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, _usable_cores() // at_once))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _usable_cores() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
