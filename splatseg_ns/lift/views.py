"""The views that vote: their cameras and label maps, read once if there is room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from splatseg_ns.scene import Camera, View

CACHE_BYTES = 512 * 1024**2


class VotingView(Protocol):
    """What is asked of a view; ``splatseg_ns.scene.View`` has it. A ``valid_mask()`` is heeded where there is one."""

    @property
    def camera(self) -> Camera: ...

    def label_map(self) -> Tensor | None: ...


@dataclass(frozen=True)
class LabelledView:
    """A view with its label map at hand."""

    position: int
    """Among all views, those without a label map included."""

    camera: Camera
    labels: Tensor  # [H, W] integer, >= 0
    pixel_mask: Tensor | None  # [H, W] bool, False: the pixel says nothing


class LabelledViews:
    """Views in a fixed order. Negative labels mark pixels that say nothing; views without a map are passed over."""

    def __init__(self, views: Iterable[VotingView | View], cache_bytes: int = CACHE_BYTES) -> None:
        """Label maps are kept until they fill ``cache_bytes``; those that do not fit are read again each time."""
        self._views = list(views)
        self._room = cache_bytes
        # Nothing is put out to make room: every pass goes through all views, so the oldest is the next to be needed.
        self._kept: dict[int, LabelledView | None] = {}

    @staticmethod
    def of(views: Views) -> LabelledViews:
        """The same views if they are that already."""
        return views if isinstance(views, LabelledViews) else LabelledViews(views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def reference_camera(self) -> Camera:
        """The first view's, to compare the sizes of pictures with."""
        if not self._views:
            raise ValueError("there are no views: give at least one")
        return self._views[0].camera

    def read(self, positions: Iterable[int] | None = None) -> Iterator[LabelledView]:
        """Those of the views, or of some, that have a label map."""
        for position in range(len(self)) if positions is None else positions:
            view = self._kept[position] if position in self._kept else self._load(position)
            if view is not None:
                yield view

    def present_ids(self) -> Tensor:  # [L] int64
        """All labels in the maps, ascending."""
        found = [view.labels.unique().long() for view in self.read()]
        return torch.cat(found).unique() if found else torch.zeros(0, dtype=torch.int64)

    def _load(self, position: int) -> LabelledView | None:
        source = self._views[position]
        labels = source.label_map()
        if labels is None:
            self._kept[position] = None
            return None
        camera = source.camera
        if tuple(labels.shape) != (camera.height, camera.width):
            name = getattr(source, "name", position)
            raise ValueError(
                f"view {name}: the label map is {list(labels.shape)}, its camera {[camera.height, camera.width]}"
            )
        mask = source.valid_mask() if hasattr(source, "valid_mask") else None  # pyright: ignore
        ignored = labels < 0
        if bool(ignored.any()):
            mask = ~ignored if mask is None else mask & ~ignored
            labels = labels.clamp_min(0)
        view = LabelledView(position, camera, _narrow(labels), mask)
        size = sum(tensor.nbytes for tensor in (view.labels, view.pixel_mask) if tensor is not None)
        if size <= self._room:
            self._room -= size
            self._kept[position] = view
        return view


Views = LabelledViews | Iterable[VotingView | View]
"""What functions take; ``LabelledViews`` if the same views are gone through more than once."""


def _narrow(labels: Tensor) -> Tensor:
    """The same labels in a byte each if they fit."""
    return labels.to(torch.uint8) if int(labels.max()) <= 255 else labels.int()
