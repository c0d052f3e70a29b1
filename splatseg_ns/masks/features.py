"""What every extractor of features offers: patches of pictures that can be compared, in one picture and across many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from splatseg_ns.masks.embedding_cache import CachedReader
from splatseg_ns.masks.segmenter import Embedding

if TYPE_CHECKING:
    from splatseg_ns.masks.sam import Sam

FeatureName = Literal["efficientnet", "dinov2", "sam"]

_SAM_GRID, _SAM_PATCH = 64, 16
"""Patches on a side of the square that Segment Anything reads, and pixels on a side of a patch."""


class FeatureExtractor(Protocol):
    """Says what each patch of a picture looks like."""

    @property
    def name(self) -> str:
        """Of the model, its weights and its options: features of one name can be compared and exchanged."""
        ...

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [h, w, D] float32 on the CPU, each of unit length
        """Features of a grid of patches that covers the picture."""
        ...


def features_named(
    name: FeatureName,
    checkpoint: str | Path | None = None,
    device: torch.device | str = "cpu",
    side: int | None = None,
) -> FeatureExtractor:
    """EfficientNet or MobileSAM, whose weights are packaged; DINOv2 from a folder or the Hugging Face hub.

    DINOv2 can be told to how many pixels it is to bring the longer ``side`` of pictures.
    """
    if checkpoint is not None and name in ("efficientnet", "sam"):
        raise ValueError(f"{name} brings its weights; for those of {checkpoint} choose dinov2")
    if side is not None and name in ("efficientnet", "sam"):
        raise ValueError(f"{name} has its own size of pictures; choose dinov2 for side {side}, or scales")
    # Each of them takes a while to load what it needs.
    if name == "efficientnet":
        from splatseg_ns.masks.efficientnet import efficientnet_lite0

        return efficientnet_lite0(device)
    if name == "dinov2":
        from splatseg_ns.masks.dino import SIDE, dino

        return dino(checkpoint, device, SIDE if side is None else side)
    if name == "sam":
        from splatseg_ns.masks.sam import mobile_sam

        return SamFeatures(mobile_sam(device))
    raise ValueError(f"no features are called {name!r}; there are efficientnet, dinov2 and sam")


class SamFeatures:
    """What Segment Anything remembers of a picture, as features: edges and parts more than kinds of things."""

    def __init__(self, segmenter: Sam) -> None:
        self.segmenter = segmenter
        self.name = f"{segmenter.name}-neck"

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [h, w, 256] float32 of unit length; the longer side of the grid is 64
        height, width = image.shape[:2]
        rows, columns = (max(1, round(_SAM_GRID * size / max(height, width))) for size in (height, width))
        # Whole patches of the upper left of the square then are the picture, and the others are empty.
        whole = resized(image, (rows * _SAM_PATCH, columns * _SAM_PATCH))
        (square,) = self.segmenter.embed(whole).features
        return unit_length(square[:, :rows, :columns].permute(1, 2, 0).float())


class Averaged:
    """The mean of what an extractor says of a picture in several sizes, and of its mirror image if that is wanted.

    Sizes tell little to an extractor that brings every picture to a size of its own, as DINOv2 and SAM do.
    """

    def __init__(self, extractor: FeatureExtractor, scales: Sequence[float] = (1.0,), flip: bool = False) -> None:
        if not scales or min(scales) <= 0:
            raise ValueError(f"features are averaged over one or more scales above 0, got {list(scales)}")
        self.extractor, self.scales, self.flip = extractor, tuple(map(float, scales)), flip

    @property
    def name(self) -> str:
        """That of the extractor within, with what is averaged over."""
        scaled = "" if self.scales == (1.0,) else "-".join(["-scales", *map(_plain, self.scales)])
        return self.extractor.name + scaled + ("-flip" if self.flip else "")

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [h, w, D] as the extractor has it at scale 1
        """Features on the grid that the extractor has for the picture as it is."""
        alone = self._of(image)
        if self.scales == (1.0,):
            return alone
        grid = alone.shape[:2]
        each = [alone if scale == 1 else on_grid(self._of(_scaled(image, scale)), grid) for scale in self.scales]
        return unit_length(torch.stack(each).mean(0))

    def _of(self, image: Tensor) -> Tensor:
        seen = self.extractor(image)
        if not self.flip:
            return seen
        return unit_length(seen + self.extractor(image.flip(1)).flip(1))


class CachedFeatures:
    """An extractor that reads no picture twice, in this run or a later one. May be asked from several threads.

    Features are kept in half precision, and are the same whether they come from the extractor or from disk.
    """

    def __init__(self, extractor: FeatureExtractor, folder: Path | None = None) -> None:
        """``folder`` is by default the user's."""
        self.extractor = extractor
        self._reader = CachedReader(_AsReader(extractor), folder)

    @property
    def name(self) -> str:
        """That of the extractor within."""
        return self.extractor.name

    def __call__(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [h, w, D] float32 of unit length
        """Look the picture up, or read it; also raises what kept a reader ahead from doing so."""
        (rounded,) = self._reader.embed(image).features
        return unit_length(rounded.float())

    def prefetch(
        self,
        images: Iterable[Tensor],  # each [H, W, 3] uint8
    ) -> AbstractContextManager[None]:
        """Read pictures in this order in the background while the block runs; what is not read by its end is left."""
        return self._reader.prefetch(images)


class _AsReader:
    """An extractor as what the cache keeps the answers of."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._extractor = extractor

    @property
    def name(self) -> str:
        # Embeddings of segmenters lie in the same folder.
        return f"features-{self._extractor.name}"

    def embed(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Embedding:
        height, width = image.shape[:2]
        return Embedding((self._extractor(image).half(),), width, height)


def unit_length(
    features: Tensor,  # [..., D]
) -> Tensor:  # [..., D]
    """Each feature divided by its length."""
    return F.normalize(features, dim=-1)


def on_grid(
    features: Tensor,  # [h, w, D]
    size: Sequence[int],  # rows, columns
) -> Tensor:  # [rows, columns, D]
    """Features on another grid over the same picture, bilinearly."""
    if tuple(features.shape[:2]) == tuple(size):
        return features
    planes = features.permute(2, 0, 1)[None]
    return F.interpolate(planes, tuple(size), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def resized(
    image: Tensor,  # [H, W, 3] uint8
    size: tuple[int, int],  # rows, columns
) -> Tensor:  # [rows, columns, 3] uint8
    """A picture in another size, smoothly."""
    if tuple(image.shape[:2]) == size:
        return image
    planes = image.permute(2, 0, 1)[None].float()
    planes = F.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
    return planes[0].round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)


def _scaled(image: Tensor, scale: float) -> Tensor:
    rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
    return resized(image, (rows, columns))


def _plain(scale: float) -> str:
    """A number for a name of which a cache makes a folder's, where points are as good as dashes."""
    return f"{scale:g}".replace(".", "_")
