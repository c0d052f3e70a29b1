"""An engine that need not count the same votes twice: solvers begin by what others began by."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from torch import Tensor

from splatseg_ns.raster import Rasterizer, Render, ViewVotes
from splatseg_ns.raster.inputs import PixelInputs
from splatseg_ns.scene import Camera, PixelRect, Splats

ROOM_BYTES = 512 * 1024**2


class RememberingRasterizer(Rasterizer):
    """Hands everything on to an engine, and keeps the latest votes for one scene."""

    def __init__(self, engine: Rasterizer, splats: Splats, room_bytes: int = ROOM_BYTES) -> None:
        self.device = engine.device
        self._engine, self._splats, self._room = engine, splats, room_bytes
        self._kept: OrderedDict[bytes, ViewVotes] = OrderedDict()

    def _render(
        self,
        splats: Splats,
        camera: Camera,
        features: Tensor | None,
        sh_degree: int,
        background: Tensor | None,
        rect: PixelRect,
        absgrad: bool,
    ) -> Render:
        return self._engine._render(splats, camera, features, sh_degree, background, rect, absgrad)

    def _votes(
        self, splats: Splats, camera: Camera, columns: Tensor, ids: Tensor, pixels: PixelInputs, rect: PixelRect
    ) -> ViewVotes:
        if splats is not self._splats:
            return self._engine._votes(splats, camera, columns, ids, pixels, rect)
        key = _key(camera, columns, ids, pixels, rect)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        votes = self._engine._votes(splats, camera, columns, ids, pixels, rect)
        self._kept[key] = votes
        self._room -= _size(votes)
        while self._room < 0:
            self._room += _size(self._kept.popitem(last=False)[1])
        return votes

    def _lift(self, splats: Splats, camera: Camera, values: Tensor, pixels: PixelInputs, rect: PixelRect) -> Tensor:
        return self._engine._lift(splats, camera, values, pixels, rect)


def _key(camera: Camera, columns: Tensor, ids: Tensor, pixels: PixelInputs, rect: PixelRect) -> bytes:
    """The same for the same question."""
    weights = pixels.combined()
    digest = hashlib.blake2b(repr((camera.width, camera.height, rect, weights is None)).encode(), digest_size=16)
    for tensor in (camera.viewmat, camera.K, columns, ids, *([] if weights is None else [weights])):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.digest()


def _size(votes: ViewVotes) -> int:
    return sum(tensor.nbytes for tensor in vars(votes).values())
