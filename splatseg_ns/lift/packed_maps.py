"""Label maps kept small in memory, for as many views as there are."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from splatseg_ns.lift.views import LabelledView, LabelledViews
from splatseg_ns.scene import IGNORED, Camera


@dataclass(frozen=True)
class PackedMap:
    """A map of integers, compressed: areas of one label take next to nothing. Equal maps have equal bytes."""

    shape: tuple[int, int]
    content: bytes

    @staticmethod
    def of(
        values: NDArray[np.integer],  # [H, W]
    ) -> PackedMap:
        height, width = values.shape
        return PackedMap((height, width), zlib.compress(values.astype(np.int32).tobytes(), 1))

    def unpacked(self) -> NDArray[np.int64]:  # [H, W]
        return np.frombuffer(zlib.decompress(self.content), dtype=np.int32).reshape(self.shape).astype(np.int64)


def marked(
    labels: NDArray[np.int64],  # [H, W]
    counts: NDArray[np.bool_],  # [H, W]
) -> NDArray[np.int64]:  # [H, W]
    """The labels, IGNORED where they say nothing."""
    return np.where(counts, labels, IGNORED)


class PackedViews(LabelledViews):
    """Views with new label maps. Those of other ranks are not there, and are not asked for."""

    def __init__(self, count: int) -> None:
        """For ``count`` views, of which none has a map yet."""
        super().__init__([])
        self._count = count
        self._maps: dict[int, tuple[Camera, PackedMap]] = {}

    def __len__(self) -> int:
        return self._count

    def put(
        self,
        position: int,
        camera: Camera,
        labels: NDArray[np.int64],  # [H, W]
        counts: NDArray[np.bool_],  # [H, W]
    ) -> None:
        """Give a view its map."""
        self._maps[position] = camera, PackedMap.of(marked(labels, counts))

    def read(self, positions: Iterable[int] | None = None) -> Iterator[LabelledView]:
        for position in range(len(self)) if positions is None else positions:
            if position in self._maps:
                camera, packed = self._maps[position]
                labels = torch.from_numpy(packed.unpacked())
                counts = None if bool((labels >= 0).all()) else labels >= 0
                yield LabelledView(position, camera, labels.clamp_min(0), counts)
