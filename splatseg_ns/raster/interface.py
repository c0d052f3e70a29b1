"""What every engine offers: pictures from splats, and sums over pixels back onto the Gaussians."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from splatseg_ns.raster.inputs import PixelInputs, as_crop, as_features, as_labels, as_pixel_inputs, as_values
from splatseg_ns.scene import Camera, PixelRect, Splats


@dataclass(frozen=True)
class Render:
    """A picture of the window that was asked for."""

    colors: Tensor  # [H, W, C]
    alpha: Tensor  # [H, W]
    depth: Tensor  # [H, W] expected z-depth, 0 where nothing was drawn
    info: dict[str, Any] = field(default_factory=dict)
    """What gsplat's densification strategies ask for; see ``Rasterizer.render``."""


@dataclass(frozen=True)
class ViewVotes:
    """The sums of alpha * T that one label map gives to each Gaussian, as sparse rows in the order of the splats."""

    ids: Tensor  # [L] int64, the label of each column
    offsets: Tensor  # [N + 1] int64, row n holds the entries offsets[n] : offsets[n + 1]
    columns: Tensor  # [M] int64, ascending in each row
    mass: Tensor  # [M] float32
    seen: Tensor  # [N] float32, the sum over all pixels that count, whatever their label

    @property
    def rows(self) -> Tensor:  # [M] int64
        """The Gaussian of each entry."""
        counts = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def dense(self) -> Tensor:  # [N, L]
        """The same sums as a full matrix, for small scenes and few labels."""
        matrix = torch.zeros(len(self.seen), len(self.ids), dtype=self.mass.dtype, device=self.mass.device)
        matrix[self.rows, self.columns] = self.mass
        return matrix


class Rasterizer(ABC):
    """One engine on one device. All of them give the same answers; they differ in speed and precision."""

    device: torch.device

    def render(
        self,
        splats: Splats,
        camera: Camera,
        *,
        features: Tensor | None = None,  # [N, C] instead of the colours
        sh_degree: int | None = None,  # use only harmonics up to this degree
        background: Tensor | None = None,  # [C] or [3]
        crop: PixelRect | None = None,
        absgrad: bool = False,
    ) -> Render:
        """The picture of the splats, differentiable in every tensor of ``splats`` and in ``features``.

        ``info`` holds what gsplat's ``DefaultStrategy`` reads (``packed=False``): ``means2d`` [1, N, 2] in pixels, a
        leaf that collects its gradient (and ``.absgrad`` if asked for) when the loss is differentiated, ``radii``,
        ``gaussian_ids``, ``width``, ``height`` and ``n_cameras``.
        """
        rect = as_crop(crop, camera)
        channels = as_features(features, sh_degree, splats)
        if background is not None:
            width = channels.count
            if tuple(background.shape) != (width,):
                raise ValueError(f"background must have shape [{width}], got {list(background.shape)}")
        return self._render(splats, camera, channels.features, channels.sh_degree, background, rect, absgrad)

    @torch.no_grad()
    def votes(
        self,
        splats: Splats,
        camera: Camera,
        label_map: Tensor,  # [H, W] integer, >= 0
        ids: Sequence[int] | Tensor | None = None,
        *,
        pixel_mask: Tensor | None = None,  # [H, W] bool, False: the pixel counts for nothing
        pixel_weight: Tensor | None = None,  # [H, W] >= 0
        crop: PixelRect | None = None,
    ) -> ViewVotes:
        """For every Gaussian the sums of alpha * T over the pixels of each label, and over all of them (``seen``).

        ``ids`` names the labels that get a column (default: those in the map, ascending); pixels of other labels count
        for ``seen`` alone. All maps have the size of the whole picture; ``crop`` restricts the sums to a window of it.
        """
        rect = as_crop(crop, camera)
        labels = as_labels(label_map, ids, camera)
        pixels = as_pixel_inputs(pixel_mask, pixel_weight, camera)
        return self._votes(splats, camera, labels.columns, labels.ids, pixels, rect)

    @torch.no_grad()
    def lift(
        self,
        splats: Splats,
        camera: Camera,
        values: Tensor,  # [H, W, C]
        *,
        pixel_mask: Tensor | None = None,  # [H, W] bool, False: the pixel counts for nothing
        pixel_weight: Tensor | None = None,  # [H, W] >= 0
        crop: PixelRect | None = None,
    ) -> Tensor:  # [N, C]
        """For every Gaussian and channel the sum of alpha * T * value over the pixels."""
        rect = as_crop(crop, camera)
        pixels = as_pixel_inputs(pixel_mask, pixel_weight, camera)
        return self._lift(splats, camera, as_values(values, camera), pixels, rect)

    @abstractmethod
    def _render(
        self,
        splats: Splats,
        camera: Camera,
        features: Tensor | None,
        sh_degree: int,
        background: Tensor | None,
        rect: PixelRect,
        absgrad: bool,
    ) -> Render: ...

    @abstractmethod
    def _votes(
        self,
        splats: Splats,
        camera: Camera,
        columns: Tensor,  # [H, W] int, -1 where the label has no column
        ids: Tensor,  # [L]
        pixels: PixelInputs,
        rect: PixelRect,
    ) -> ViewVotes: ...

    @abstractmethod
    def _lift(self, splats: Splats, camera: Camera, values: Tensor, pixels: PixelInputs, rect: PixelRect) -> Tensor: ...
