"""How good labels are: the masks they give in held-out views against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.lift import LabelledView, Labels, iou_of_objects, render_label_map
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation.evaluation import LEAST_SHARE, MaskCount, boundary_pixels, inner_boundary


@dataclass(frozen=True)
class Score:
    """Shares from 0 to 1."""

    iou: float
    """The mean over all pairs of a view and an object that it shows."""

    worst: float
    """The IoU of the worst object, averaged over the views that show it."""

    boundary_iou: float
    """The mean over the same pairs, along the inner boundary of 2 % of the diagonal."""


class HeldOutViews:
    """Views with the truth. Labels that were judged before are not drawn again."""

    def __init__(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        views: Sequence[LabelledView],
        objects: Tensor,  # [K] int64
    ) -> None:
        self._rasterizer, self._splats = rasterizer, splats
        self._views, self._objects = views, objects
        self._shown = torch.stack([shown_objects(view, objects) for view in views])
        if not bool(self._shown.any()):
            raise ValueError("no held-out view shows an object: give a capture whose held-out views have label maps")
        self._true_boundaries = [self._boundaries(view, view.labels, shown) for view, shown in self._judged()]
        self._known: dict[bytes, Score] = {}

    def score(self, labels: Labels) -> Score:
        """Draw the labels into every view and compare."""
        key = labels.ids.numpy().tobytes()
        if key not in self._known:
            self._known[key] = self._score(labels)
        return self._known[key]

    def _score(self, labels: Labels) -> Score:
        ious = torch.full(self._shown.shape, torch.nan, dtype=torch.float64)
        boundary_ious = ious.clone()
        for place, (view, shown) in enumerate(self._judged()):
            drawn = render_label_map(self._rasterizer, self._splats, view.camera, labels, self._objects)
            ious[place, shown] = iou_of_objects(drawn, view.labels, self._objects, view.pixel_mask)[shown]
            boundaries = self._boundaries(view, drawn, shown)
            for object, boundary in boundaries.items():
                count = MaskCount()
                count.add(boundary, self._true_boundaries[place][object], valid_pixels(view))
                boundary_ious[place, object] = torch.nan if count.iou is None else count.iou
        by_object = ious[:, self._shown.any(dim=0)].nanmean(dim=0)
        return Score(float(ious.nanmean()), float(by_object.min()), float(boundary_ious.nanmean()))

    def _judged(self) -> zip[tuple[LabelledView, Tensor]]:
        return zip(self._views, self._shown, strict=True)

    def _boundaries(self, view: LabelledView, labels: Tensor, shown: Tensor) -> dict[int, Tensor]:  # [H, W] bool
        """By the place of the object."""
        width = boundary_pixels(view.camera.height, view.camera.width)
        return {
            place: inner_boundary(labels == int(self._objects[place]), width)
            for place in shown.nonzero().flatten().tolist()
        }


def shown_objects(
    view: LabelledView,
    objects: Tensor,  # [K] int64
) -> Tensor:  # [K] bool
    """Whether the truth shows enough of each object to judge it."""
    counted = view.labels[valid_pixels(view)].long()
    pixels = torch.stack([(counted == label).sum() for label in objects])
    return pixels >= max(1.0, LEAST_SHARE * view.labels.numel())


def valid_pixels(view: LabelledView) -> Tensor:  # [H, W] bool
    """Where the truth says something."""
    return torch.ones_like(view.labels, dtype=torch.bool) if view.pixel_mask is None else view.pixel_mask
