"""What pictures of a segmentation show of each Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.segmentation import Segmentation


@dataclass(frozen=True, eq=False)
class Display:
    """A document made ready to be drawn."""

    features: Tensor  # [N, 4] the colour of its object from 0 to 1, black without one; 1 where ``object_mask`` shows it
    visible: Tensor | None  # [N] bool; None if nothing is hidden
    hidden_names: tuple[str, ...]

    @staticmethod
    def of(
        document: Segmentation,
        device: torch.device,
        selection: Tensor | None = None,  # [N] bool; all visible objects by default
    ) -> Display:
        """The document on a device, with the Gaussians that are selected."""
        labels = document.labels
        # Row 0 stands for the background and for what was never seen.
        colors = torch.zeros(document.next_id, 3)
        hidden = torch.zeros(document.next_id, dtype=torch.bool)
        for entry in document.objects:
            colors[entry.id] = torch.tensor(entry.color) / 255
            hidden[entry.id] = not entry.visible
        rows = labels.clamp_min(0)
        visible = ~hidden[rows]
        if selection is None:
            selection = (labels > 0) & visible
        features = torch.cat([colors[rows], selection.to("cpu", torch.float32)[:, None]], dim=1)
        return Display(
            features=features.to(device),
            visible=None if bool(visible.all()) else visible.to(device),
            hidden_names=tuple(entry.name for entry in document.objects if not entry.visible),
        )

    def __len__(self) -> int:
        return len(self.features)
