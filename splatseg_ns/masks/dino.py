"""DINOv2 through transformers (the extra ``dino``): features that find parts of things again in other things."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from splatseg_ns.masks.features import resized, unit_length
from splatseg_ns.masks.hub import Published, read_model
from splatseg_ns.masks.sam import content_name

if TYPE_CHECKING:
    from transformers import Dinov2Model, Dinov2WithRegistersModel

DEFAULT_CHECKPOINT = "facebook/dinov2-with-registers-large"
"""Fetched by transformers, and kept in its cache."""

SIDE = 896
"""Pixels that the longer side of a picture is brought to: 64 patches."""

_PUBLISHED = Published("DINOv2", "dino", DEFAULT_CHECKPOINT)
_CLASSES = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dino:
    """What the last layer of a DINOv2 says of each patch, on the device of its model."""

    def __init__(self, model: Dinov2Model | Dinov2WithRegistersModel, side: int = SIDE) -> None:
        """``side``: pixels that the longer side of a picture is brought to."""
        if side < 1:
            raise ValueError(f"pictures are brought to a side of one pixel or more, got {side}")
        self.device = model.device
        self.name = f"dinov2-{content_name(model.state_dict())}-side-{side}"
        self._model = model.eval().requires_grad_(False)
        self._side, self._patch = side, cast(int, model.config.patch_size)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [h, w, D] float32 of unit length
        scale = self._side / max(image.shape[:2]) / self._patch
        rows, columns = (max(1, round(size * scale)) for size in image.shape[:2])
        whole = resized(image.to(self.device), (rows * self._patch, columns * self._patch))
        mean, spread = (torch.tensor(part, device=self.device) for part in (_MEAN, _SPREAD))
        pixels = ((whole / 255 - mean) / spread).permute(2, 0, 1)[None]
        tokens = self._model(pixels).last_hidden_state[0]
        # Those of the whole picture and its registers come first.
        return unit_length(tokens[-rows * columns :].view(rows, columns, -1)).float().cpu()


def dino(checkpoint: str | Path | None = None, device: torch.device | str = "cpu", side: int = SIDE) -> Dino:
    """DINOv2, with registers or without, from a folder, or by its name on the Hugging Face hub."""
    return Dino(read_model(_PUBLISHED, _CLASSES, checkpoint).to(device), side)
