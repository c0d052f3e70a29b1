"""The segmentation of a scene: its objects, and which Gaussian belongs to which."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.lift.labels import BACKGROUND, UNSEEN
from splatseg_ns.lift.votes import Votes
from splatseg_ns.scene import RenderProfile, Splats
from splatseg_ns.segmentation.scene_object import SceneObject, plain

ObjectRef = int | str
"""An object's id, or its name."""

BACKGROUND_NAME = "background"
"""What messages call all that belongs to no object."""


@dataclass(frozen=True)
class HistoryEntry:
    """One step on the way to a document."""

    operation: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""
    """ISO 8601, UTC."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", plain(self.parameters))

    @staticmethod
    def now(operation: str, parameters: Mapping[str, Any]) -> HistoryEntry:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return HistoryEntry(operation, parameters, time)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The document. What changes it gives a new one; labels are never written in place."""

    objects: tuple[SceneObject, ...]
    """Sorted by id; an object may have no Gaussians."""

    labels: Tensor  # [N] int64: -1 never seen, 0 background, k >= 1 the object of this id
    fingerprint: str
    """Of the splats' centres; see ``fingerprint_of``."""

    profile: RenderProfile
    """What the splats were rendered with when they were segmented."""

    votes_source: Callable[[], Votes] | None = field(default=None, repr=False)
    """Gives the votes from which the labels were decided, if they are kept."""

    history: tuple[HistoryEntry, ...] = ()
    next_id: int = 1
    """Of the next object. Ids of deleted objects are not given again, because the votes still know them."""

    background_visible: bool = True
    """Whether what belongs to no object is shown."""

    def __post_init__(self) -> None:
        if self.labels.dim() != 1 or self.labels.dtype != torch.int64:
            raise ValueError(f"labels are an [N] tensor of int64, got {self.labels.dtype} {list(self.labels.shape)}")
        if not isinstance(self.background_visible, bool):
            raise ValueError(f"background_visible is true or false, got {self.background_visible!r}")
        object.__setattr__(self, "objects", tuple(sorted(self.objects, key=lambda entry: entry.id)))
        for what in ("id", "name"):
            counts = Counter(getattr(entry, what) for entry in self.objects)
            if repeated := [value for value, count in counts.items() if count > 1]:
                raise ValueError(f"two objects have the {what} {repeated[0]!r}; each needs its own")
        known = torch.tensor([UNSEEN, BACKGROUND, *self.ids], device=self.labels.device)
        place = torch.searchsorted(known, self.labels).clamp_max(len(known) - 1)
        unknown = self.labels[known[place] != self.labels]
        if len(unknown):
            raise ValueError(f"a Gaussian has the label {int(unknown[0])}, but no object has this id")
        object.__setattr__(self, "next_id", max([self.next_id, *(id + 1 for id in self.ids)]))

    @staticmethod
    def of(
        splats: Splats,
        labels: Tensor | None = None,  # [N] integer; nothing has been seen by default
        objects: Sequence[SceneObject] = (),
        votes: Votes | None = None,
    ) -> Segmentation:
        """The document of these splats."""
        if labels is None:
            labels = torch.full((len(splats),), UNSEEN)
        if len(labels) != len(splats):
            raise ValueError(f"{len(splats)} Gaussians need as many labels, got {len(labels)}")
        document = Segmentation(
            tuple(objects), labels.to("cpu", torch.int64), fingerprint_of(splats.means), splats.profile
        )
        return document.with_votes(votes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> list[int]:
        return [entry.id for entry in self.objects]

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.objects]

    def object(self, ref: ObjectRef) -> SceneObject:
        """The object of this id or name."""
        for entry in self.objects:
            if ref == (entry.name if isinstance(ref, str) else entry.id):
                return entry
        close = get_close_matches(ref, self.names, n=1) if isinstance(ref, str) else []
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.names) or 'none yet'}"
        raise LookupError(f"no object {ref!r}; {hint}")

    def rows(self, ref: ObjectRef) -> Tensor:  # [N] bool
        """Which Gaussians the object has."""
        return self.labels == self.object(ref).id

    def visible_rows(self) -> Tensor:  # [N] bool
        """Which Gaussians are shown."""
        shown = torch.zeros(self.next_id, dtype=torch.bool)
        shown[BACKGROUND] = self.background_visible
        for entry in self.objects:
            shown[entry.id] = entry.visible
        return shown[self.labels.clamp_min(BACKGROUND)]

    def hidden_names(self) -> tuple[str, ...]:
        """What is not shown."""
        background = () if self.background_visible else (BACKGROUND_NAME,)
        return (*background, *(entry.name for entry in self.objects if not entry.visible))

    def counts(self) -> dict[int, int]:
        """How many Gaussians each object has, by id."""
        found = dict(zip(*(part.tolist() for part in self.labels.unique(return_counts=True)), strict=True))
        return {id: found.get(id, 0) for id in self.ids}

    def votes(self) -> Votes | None:
        """The votes from which the labels were decided, if they are kept."""
        return self.votes_source() if self.votes_source is not None else None

    def with_votes(self, votes: Votes | None) -> Segmentation:
        """The document with these votes, and no others."""
        if votes is not None and len(votes) != len(self):
            raise ValueError(f"{len(self)} Gaussians need as many votes, got {len(votes)}")
        return replace(self, votes_source=None if votes is None else partial(_given, votes))

    def with_objects(self, *changed: SceneObject) -> Segmentation:
        """The document with these objects in place of those of the same ids, or besides the others."""
        return replace(self, objects=tuple(({entry.id: entry for entry in (*self.objects, *changed)}).values()))

    def with_entry(self, operation: str, **parameters: Any) -> Segmentation:
        """The document with one more step in its history."""
        return replace(self, history=(*self.history, HistoryEntry.now(operation, parameters)))

    def check_splats(self, splats: Splats) -> None:
        """Stop if these are not the splats that were segmented."""
        if len(splats) != len(self):
            raise ValueError(
                f"the splats have changed since they were segmented: there were {len(self)} Gaussians, now there are "
                f"{len(splats)}; segment them again, or use the ones from before"
            )
        if fingerprint_of(splats.means) != self.fingerprint:
            raise ValueError(
                f"the splats have changed since they were segmented: there are still {len(self)} Gaussians, but in "
                "other places or in another order; segment them again, or use the ones from before"
            )


def _given(votes: Votes) -> Votes:
    return votes


def fingerprint_of(
    means: Tensor,  # [N, 3]
) -> str:
    """BLAKE2b (128 bits) of the centres as little-endian float32, Gaussian by Gaussian, x, y, z."""
    numbers = means.detach().cpu().float().numpy()
    content = np.ascontiguousarray(numbers, dtype="<f4")
    return f"blake2b-128:{hashlib.blake2b(content.data, digest_size=16).hexdigest()}"
