"""What the patches of annotated pictures look like, and which classes those of other pictures remind of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from splatseg_ns.masks.examples import Example
from splatseg_ns.masks.features import FeatureExtractor
from splatseg_ns.scene import BACKGROUND

_AT_ONCE = 1 << 24
"""Similarities that are held at a time."""

_MOSTLY = 0.5


@dataclass(frozen=True)
class Knn:
    """How a patch is compared with those of the examples."""

    neighbours: int = 5
    """The most similar patches, which have a say."""

    temperature: float = 0.05
    """By this much similarity a say grows e-fold; infinite: all have the same."""

    balance: float = 0.5
    """0: classes count as they are, large ones more often; 1: as if all had as many patches."""

    least_similarity: float = 0.25
    """A patch that is less similar than this to all of them is unknown; cosines, -1 to 1."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"at least one neighbour has a say, got neighbours={self.neighbours}")
        if not self.temperature > 0:
            raise ValueError(f"temperature is above 0, got {self.temperature}")
        if not 0.0 <= self.balance <= 1.0:
            raise ValueError(f"balance is a number from 0 to 1, got {self.balance}")
        if not -1.0 <= self.least_similarity <= 1.0:
            raise ValueError(f"least_similarity is a cosine, -1 to 1, got {self.least_similarity}")


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """The patches of all examples, with how much of each is of which class."""

    features: Tensor  # [P, D] of unit length
    shares: Tensor  # [P, L] rows that sum to 1
    ids: Tensor  # [L] int64 ascending, the class of each column; 0 is what is of none

    @staticmethod
    def of(
        extractor: FeatureExtractor,
        examples: Iterable[Example],
        progress: Callable[[int], None] | None = None,
    ) -> MemoryBank:
        """Read annotated pictures. Patches of which less than half is annotated, or ignored, are left out."""
        features, maps = [], []
        for done, example in enumerate(examples, 1):
            found = extractor(example.image)
            known, shares = _patch_shares(example.labels, found.shape[0], found.shape[1])
            features.append(found[known])
            maps.append({id: share[known] for id, share in shares.items()})
            if progress is not None:
                progress(done)
        ids = sorted({BACKGROUND, *(id for shares in maps for id in shares)})
        if ids == [BACKGROUND]:
            raise ValueError("the examples show none of their classes; annotate at least one region")
        columns = [
            torch.stack([shares.get(id, torch.zeros(len(part))) for id in ids], dim=1)
            for part, shares in zip(features, maps, strict=True)
        ]
        bank = MemoryBank(torch.cat(features), torch.cat(columns), torch.tensor(ids))
        if len(bank) == 0:
            raise ValueError("no patch of the examples is mostly annotated; show them larger, or ignore less of them")
        return bank

    def __len__(self) -> int:
        return len(self.features)

    @property
    def classes(self) -> list[int]:
        """The ids of the classes that patches have, without what is of none."""
        return self.ids[(self.ids != BACKGROUND) & (self.shares > 0).any(dim=0)].tolist()

    def patches(self) -> dict[int, float]:
        """How many patches each id has, parts of patches added up."""
        return dict(zip(self.ids.tolist(), self.shares.sum(dim=0).tolist(), strict=True))

    def without_background(self) -> MemoryBank:
        """The patches of classes alone: every other patch is then one of them, or unknown."""
        background = self.ids == BACKGROUND
        kept = self.shares[:, background].sum(dim=1) < _MOSTLY
        if not bool(kept.any()):
            raise ValueError("no patch of the examples is mostly of a class; show them larger, or keep the background")
        shares = torch.where(background, 0.0, self.shares)[kept]
        return MemoryBank(self.features[kept], F.normalize(shares, p=1, dim=1), self.ids)

    def classify(
        self,
        features: Tensor,  # [h, w, D] of unit length
        knn: Knn,
    ) -> Tensor:  # [h, w, L] how much each class is meant: sums to 1, or to 0 where a patch is unknown
        """The classes of a picture's patches by those of the most similar patches of the examples."""
        height, width, channels = features.shape
        if channels != self.features.shape[1]:
            raise ValueError(f"patches of {channels} numbers cannot be compared with {self.features.shape[1]} of them")
        amounts = self.shares.sum(dim=0)
        # A class that no patch has needs no weight.
        prior = torch.where(amounts > 0, (amounts.sum() / amounts.clamp_min(1e-6)) ** knn.balance, 0.0)
        shares = self.shares * prior
        chunks = features.reshape(-1, channels).split(max(1, _AT_ONCE // max(1, len(self))))
        return torch.cat([self._of_patches(chunk, shares, knn) for chunk in chunks]).view(height, width, -1)

    def _of_patches(self, patches: Tensor, shares: Tensor, knn: Knn) -> Tensor:  # [Q, D] -> [Q, L]
        similarity, place = (patches @ self.features.T).topk(min(knn.neighbours, len(self)), dim=1)
        weights = torch.softmax(similarity / knn.temperature, dim=1)
        answer = F.normalize((weights[..., None] * shares[place]).sum(dim=1), p=1, dim=1)
        return torch.where(similarity[:, :1] >= knn.least_similarity, answer, 0.0)


def _patch_shares(
    labels: Tensor,  # [H, W] integer
    height: int,
    width: int,
) -> tuple[Tensor, dict[int, Tensor]]:  # [height, width] bool; each [height, width]
    """Where most of a patch is annotated, and how much of that each id has."""
    said = _pooled(labels >= 0, height, width)
    known = said >= _MOSTLY
    ids: Sequence[int] = labels[labels >= 0].unique().tolist()
    return known, {id: _pooled(labels == id, height, width) / said.clamp_min(1e-6) for id in ids}


def _pooled(
    mask: Tensor,  # [H, W] bool
    height: int,
    width: int,
) -> Tensor:  # [height, width]
    """How much of each patch a mask takes."""
    return F.interpolate(mask[None, None].float(), (height, width), mode="area")[0, 0]
