"""A segmenter that knows the truth: pictures whose colours are the answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from splatseg_ns.masks.segmenter import Candidates, Embedding, Prompts

SCALE = 2
"""Pixels of the picture to one of the answer, as real segmenters have it."""


@dataclass
class PaintedSegmenter:
    """Red says which object a pixel is of, green which part of it; 0 is none, and asking there finds nothing.

    A point on an object is answered with its part, the object, and all objects together.
    """

    name: str = "painted"
    scores: tuple[float, float, float] = (0.9, 0.95, 0.5)
    blur: float = 10.0
    """The logits are plus and minus this: below 1 masks are unstable."""

    asked: list[tuple[float, float]] = field(default_factory=list)
    embedded: int = 0

    def embed(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Embedding:
        self.embedded += 1
        return Embedding((image[..., :2].clone(),), image.shape[1], image.shape[0])

    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        objects, parts = embedding.features[0][::SCALE, ::SCALE].unbind(dim=-1)
        answers, scores = [], []
        scale = objects.shape[1] / embedding.width
        for x, y in prompts.points[:, 0].tolist():
            self.asked.append((x, y))
            row, column = int(y * scale), int(x * scale)
            object, part = objects[row, column], parts[row, column]
            found = bool(object > 0)
            whole = objects == object
            answers.append(torch.stack([whole & (parts == part), whole, objects > 0]) & found)
            scores.append(torch.tensor(self.scores) * found)
        logits = torch.where(torch.stack(answers), self.blur, -self.blur)
        return Candidates(logits, torch.stack(scores), embedding.width, embedding.height)


def painting(
    objects: Tensor,  # [H, W] integer, up to 255
    parts: Tensor | None = None,  # [H, W]
) -> Tensor:  # [H, W, 3] uint8
    """A picture for the painted segmenter."""
    parts = torch.zeros_like(objects) if parts is None else parts
    return torch.stack([objects, parts, torch.zeros_like(objects)], dim=-1).byte()
