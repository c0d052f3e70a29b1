"""All masks that a segmenter finds in a picture: it is asked on a grid, then where nothing has been found yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from splatseg_ns.masks.segmenter import Candidates, Embedding, Prompts, Segmenter


@dataclass(frozen=True)
class AutomaticMasks:
    """How pictures are gone through. Lengths are shares of the longer side of the picture."""

    grid: float = 1 / 4
    """Between the points that are asked first."""

    finest: float = 1 / 100
    """A point is asked where the circle of this radius around it is in no mask yet."""

    most_prompts: int = 150
    """Points that are asked in one picture at most."""

    batch: int = 16
    """Points that are asked at once, at most; later ones know the masks of those before."""

    into_parts: bool = False
    """Ask in every part of what has been found: a point's smallest mask covers, not its best."""

    least_score: float = 0.8
    """A mask is kept if the segmenter expects this IoU of it,"""

    least_stability: float = 0.9
    """and if its IoU with itself, cut off by ``stability_offset`` above and below, is this,"""

    stability_offset: float = 1.0

    least_area: float = 0.0005
    """and if it covers this share of the picture,"""

    most_overlap: float = 0.9
    """and if its IoU with all better masks is below this."""

    def __post_init__(self) -> None:
        if self.most_prompts < 1 or self.batch < 1:
            raise ValueError(f"ask at least one point, got most_prompts={self.most_prompts}, batch={self.batch}")
        if not 0.0 < self.finest <= self.grid <= 1.0:
            raise ValueError(f"finest and grid are 0 < finest <= grid <= 1, got {self.finest}, {self.grid}")


@dataclass(frozen=True, eq=False)
class PictureMasks:
    """M masks of one picture, the best first; they may overlap.

    Kept as the regions in which the same masks lie over each other: a picture of numbers and a small table.
    """

    regions: Tensor  # [H, W] int32, 0 to R - 1
    members: Tensor  # [R, M] bool, which masks a region is part of
    scores: Tensor  # [M] expected IoU times stability
    levels: Tensor  # [M] int64: 0 part, 1 object, 2 group, as the segmenter sees it
    prompts: int = 0
    """How many points were asked."""

    @staticmethod
    def of(
        masks: Tensor,  # [M, H, W] bool
        scores: Tensor | None = None,  # [M]
        levels: Tensor | None = None,  # [M]
        prompts: int = 0,
    ) -> PictureMasks:
        """The regions of some masks."""
        count = len(masks)
        # Each mask has a random number of 64 bits: the sum over a pixel's masks says which they are.
        numbers = np.random.default_rng(0).integers(1, 2**63, count, dtype=np.uint64)
        sums = np.zeros(masks.shape[1:], dtype=np.uint64)
        for mask, number in zip(masks.numpy(), numbers, strict=True):
            sums[mask] += number
        _, first, place = np.unique(sums, return_index=True, return_inverse=True)
        return PictureMasks(
            torch.from_numpy(place.reshape(sums.shape).astype(np.int32)),
            masks.flatten(1)[:, torch.from_numpy(first)].T.contiguous(),
            torch.ones(count) if scores is None else scores,
            torch.ones(count, dtype=torch.int64) if levels is None else levels,
            prompts,
        )

    def __len__(self) -> int:
        return self.members.shape[1]

    def mask(self, number: int) -> Tensor:  # [H, W] bool
        """One of the masks."""
        return self.members[:, number][self.regions.long()]

    @property
    def areas(self) -> Tensor:  # [M] int64
        """The pixels of each mask."""
        pixels = torch.bincount(self.regions.flatten(), minlength=len(self.members))
        return (pixels[:, None] * self.members).sum(dim=0)


def automatic_masks(segmenter: Segmenter, embedding: Embedding, config: AutomaticMasks | None = None) -> PictureMasks:
    """The masks of a picture that has been read.

    First a coarse grid is asked, then always the points that lie deepest in what no mask covers, until only slivers
    are left. Of a point's candidates the best one covers; all that are good enough are kept.
    """
    config = config or AutomaticMasks()
    longer = max(embedding.width, embedding.height)
    found = _Found(config, embedding)
    waiting = _grid(embedding.width, embedding.height, config.grid * longer)[: config.most_prompts]
    asked = 0
    while len(waiting):
        points, waiting = waiting[: config.batch], waiting[config.batch :]
        candidates = segmenter.predict(embedding, Prompts(points[:, None], torch.ones(len(points), 1).bool()))
        found.add(candidates, points)
        asked += len(points)
        if len(waiting) == 0:
            room = min(config.batch, config.most_prompts - asked)
            waiting = found.deepest_open_points(room, config.finest * longer)
    return found.masks(asked)


class _Found:
    """The good masks so far, at the segmenter's own resolution, and where there are none yet."""

    def __init__(self, config: AutomaticMasks, embedding: Embedding) -> None:
        self._config = config
        self._embedding = embedding
        self._open = np.ones((0, 0), dtype=bool)
        self._candidates: Candidates | None = None
        self._logits: list[Tensor] = []  # [h, w] each
        self._scores: list[float] = []
        self._levels: list[int] = []

    def add(
        self,
        candidates: Candidates,
        points: Tensor,  # [B, 2]
    ) -> None:
        """Keep what is good enough of the answers to some points."""
        if self._candidates is None:
            self._open = np.ones(tuple(candidates.logits.shape[2:]), dtype=bool)
        self._candidates = candidates
        scores = _scores(candidates, self._config)
        good = scores > 0
        for row, level in good.nonzero().tolist():
            self._logits.append(candidates.logits[row, level])
            self._scores.append(float(scores[row, level]))
            self._levels.append(level)
        covering = good.int().argmax(dim=1) if self._config.into_parts else scores.argmax(dim=1)
        for row, level in enumerate(covering.tolist()):
            if good[row, level]:
                self._open &= (candidates.logits[row, level] <= 0).numpy()
        least = self._config.finest * max(self._embedding.width, self._embedding.height)
        for x, y in points.tolist():
            self._shut(x * self._scale, y * self._scale, least * self._scale)

    def deepest_open_points(self, count: int, least_depth: float) -> Tensor:  # [P, 2]
        """Points in what is still open, each as far as can be from what is not and from the others.

        Not all that there are: those of less than half the greatest depth are better chosen when the answers to the
        others are known.
        """
        depth = ndimage.distance_transform_edt(self._open)
        assert isinstance(depth, np.ndarray)
        rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
        least = max(least_depth * self._scale, float(depth.max()) / 2)
        points = []
        while len(points) < count and float(deepest := depth.max()) >= least:
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            points.append([(column + 0.5) / self._scale, (row + 0.5) / self._scale])
            depth[np.hypot(rows - row, columns - column) <= deepest] = 0.0
        return torch.tensor(points).reshape(-1, 2)

    def masks(self, prompts: int) -> PictureMasks:
        """The best of all that are nearly the same, in the picture's pixels."""
        size = (self._embedding.height, self._embedding.width)
        if self._candidates is None or not self._logits:
            return PictureMasks.of(torch.zeros(0, *size, dtype=torch.bool), prompts=prompts)
        logits, scores = torch.stack(self._logits), torch.tensor(self._scores)
        kept = suppress_repeated(logits > 0, scores, self._config.most_overlap)
        masks = torch.cat([self._candidates.mask_logits(logits[[place]][None])[0] > 0 for place in kept.tolist()])
        return PictureMasks.of(masks, scores[kept], torch.tensor(self._levels)[kept], prompts)

    @property
    def _scale(self) -> float:
        """From pixels of the picture to those of the logits."""
        return self._open.shape[1] / self._embedding.width

    def _shut(self, x: float, y: float, radius: float) -> None:
        """Ask nothing more in a circle."""
        rows, columns = np.ogrid[: self._open.shape[0], : self._open.shape[1]]
        self._open &= np.hypot(rows + 0.5 - y, columns + 0.5 - x) > radius


def suppress_repeated(
    masks: Tensor,  # [M, h, w] bool
    scores: Tensor,  # [M]
    most_overlap: float,
) -> Tensor:  # [K] int64, the kept ones, the best first
    """Leave out masks whose IoU with a better one that is kept is above ``most_overlap``."""
    flat = masks.flatten(1).float()
    # Sums of ones are exact in float32 up to 16 million pixels; the segmenter's masks are small.
    shared = flat @ flat.T
    areas = shared.diagonal()
    repeated = shared > most_overlap * (areas[:, None] + areas - shared)
    kept: list[int] = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        if not bool(repeated[place, kept].any()):
            kept.append(place)
    return torch.tensor(kept, dtype=torch.int64)


def _scores(candidates: Candidates, config: AutomaticMasks) -> Tensor:  # [B, M]
    """Expected IoU times stability, 0 for masks that are not to be kept."""
    logits = candidates.logits
    pixels = logits.shape[2] * logits.shape[3]
    area, inner, outer = (
        (logits > cut).sum(dim=(2, 3)) for cut in (0.0, config.stability_offset, -config.stability_offset)
    )
    stability = inner / outer.clamp_min(1)
    good = (candidates.scores >= config.least_score) & (stability >= config.least_stability)
    good &= (area >= config.least_area * pixels) & (area < pixels)
    return torch.where(good, candidates.scores.clamp_max(1.0) * stability, 0.0)


def _grid(width: int, height: int, spacing: float) -> Tensor:  # [P, 2]
    """The centres of about square cells that fill the picture."""
    columns, rows = (max(1, round(size / spacing)) for size in (width, height))
    x, y = (torch.arange(columns) + 0.5) * width / columns, (torch.arange(rows) + 0.5) * height / rows
    return torch.cartesian_prod(y, x).flip(1)
