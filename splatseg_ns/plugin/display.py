"""What pictures of a segmentation show of each Gaussian."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from splatseg_ns.masks import Color
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation import Segmentation


@dataclass(frozen=True, eq=False)
class ScreenMask:
    """What a segmenter found in one picture."""

    mask: Tensor  # [H, W] bool
    camera: Camera
    """That took the picture; only its pose and its field of view matter."""


@dataclass(frozen=True, eq=False)
class Accent:
    """What stands out in ``objects``: an object that is selected, or what a mask would become."""

    color: Color
    weights: Tensor | None = None  # [N] how much of the colour each Gaussian takes on, 0 to 1; None: none of them
    screen: ScreenMask | None = None
    """Takes the place of the weights in pictures of the same view, at any resolution."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a viewer adds to the document, in ``objects`` alone."""

    ghost: float = 0.0
    """What is left of the opacity of hidden Gaussians: 0 for nothing, up to 1."""

    accent: Accent | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.ghost <= 1.0:
            raise ValueError(f"what is left of an opacity is between 0 and 1, got {self.ghost}")


PLAIN_LOOK = Look()
"""What is hidden is gone, and nothing stands out."""


@dataclass(frozen=True, eq=False)
class Display:
    """A document made ready to be drawn."""

    features: Tensor  # [N, 4] the colour of its object from 0 to 1, black without one; 1 where ``object_mask`` shows it
    visible: Tensor | None  # [N] bool; None if nothing is hidden
    hidden_names: tuple[str, ...]
    look: Look = PLAIN_LOOK

    @staticmethod
    def of(
        document: Segmentation,
        device: torch.device,
        selection: Tensor | None = None,  # [N] bool; all visible objects by default
        look: Look = PLAIN_LOOK,
    ) -> Display:
        """The document on a device, with the Gaussians that are selected."""
        labels, accent = document.labels, look.accent
        if accent is not None and accent.weights is not None:
            if accent.weights.shape != labels.shape:
                raise ValueError(f"an accent of {len(labels)} Gaussians cannot have {len(accent.weights)} weights")
            look = replace(look, accent=replace(accent, weights=accent.weights.to(device)))
        # Row 0 stands for the background and for what was never seen.
        colors = torch.zeros(document.next_id, 3)
        for entry in document.objects:
            colors[entry.id] = torch.tensor(entry.color) / 255
        visible = document.visible_rows()
        if selection is None:
            selection = (labels > 0) & visible
        features = torch.cat([colors[labels.clamp_min(0)], selection.to("cpu", torch.float32)[:, None]], dim=1)
        return Display(
            features=features.to(device),
            visible=None if bool(visible.all()) else visible.to(device),
            hidden_names=document.hidden_names(),
            look=look,
        )

    def __len__(self) -> int:
        return len(self.features)

    def subset(
        self,
        rows: Tensor,  # [N] bool
    ) -> Display:
        """Of some of the Gaussians."""
        visible, look = self.visible, self.look
        if look.accent is not None and look.accent.weights is not None:
            look = replace(look, accent=replace(look.accent, weights=look.accent.weights[rows]))
        return replace(
            self, features=self.features[rows], visible=None if visible is None else visible[rows], look=look
        )
