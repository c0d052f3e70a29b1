"""How good objects are: their masks in views that did not vote, against true label maps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from splatseg_ns.lift import LabelledViews, Progress, Shares, Views, render_label_map
from splatseg_ns.lift.labels import BACKGROUND
from splatseg_ns.lift.votes import column_of
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation.scene_object import SceneObject

BOUNDARY_WIDTH = 0.02
"""Of the boundary that is compared, as a share of the picture's diagonal."""

SILHOUETTE_TAUS = (0.5, 0.1)
"""Alpha above which a pixel belongs to the silhouette of an object that is drawn alone."""

LEAST_SHARE = 0.0005
"""Of the pixels of a picture: a view judges an object that shows this much there (99 pixels of 512x384)."""


@dataclass(frozen=True, eq=False)
class JudgedView:
    """The objects of one view, as they are and as they were drawn."""

    position: int
    """Among the views that were given."""

    truth: Tensor  # [H, W] integer, ids of the true label maps
    drawn: Tensor  # [H, W] integer, ids of our objects
    counts: Tensor  # [H, W] bool, False: the truth says nothing


@dataclass(frozen=True)
class TruthMatch:
    """Which object of the truth one of ours is compared with."""

    truth_id: int | None
    """None if no object of the truth has its name or overlaps with it."""

    by: Literal["name", "overlap", "nothing"]


@dataclass(frozen=True)
class ObjectScore:
    """How good one object is, from 0 to 1: each IoU but the pooled one is the mean over the views that judge it.

    A view judges an object of which the truth shows at least ``LEAST_SHARE`` of the picture, whatever we draw there.
    What we draw in other views tells on the pooled IoU and the accuracy alone. An object that is matched with nothing
    is compared with empty masks, in the views in which we draw that much of it.
    """

    id: int
    name: str
    truth_id: int | None
    truth_name: str | None
    matched_by: str
    """name, overlap, or nothing."""

    views: int
    """How many judge it; the IoUs are None if none does."""

    iou: float | None
    pooled_iou: float | None
    """Over the pixels of all views together, so that near views weigh more; None if nobody shows the object."""

    accuracy: float | None
    """Pixels of all views together that are rightly inside or outside; None as above."""

    boundary_iou: float | None
    silhouette_iou: float | None
    """Of the object drawn alone, alpha > 0.5; pixels where the truth has other objects do not count."""

    faint_silhouette_iou: float | None
    """The same with alpha > 0.1."""


SCORES = ("iou", "pooled_iou", "accuracy", "boundary_iou", "silhouette_iou", "faint_silhouette_iou")


@dataclass(frozen=True)
class Evaluation:
    """The scores of all objects that were judged."""

    objects: tuple[ObjectScore, ...]
    views: int

    def mean(self, score: str) -> float | None:
        """The mean of one of SCORES over the objects that have it."""
        return _mean([value for entry in self.objects if (value := getattr(entry, score)) is not None])

    def as_json(self) -> dict[str, Any]:
        """The means (``mean_iou`` and so on), and the same of each object by its name under ``objects``."""
        scores = {entry.name: asdict(entry) for entry in self.objects}
        for entry in scores.values():
            del entry["name"]
        return {**{f"mean_{score}": self.mean(score) for score in SCORES}, "views": self.views, "objects": scores}


@dataclass(frozen=True)
class Panoptic:
    """How well objects that nobody has named cover the true ones: each of ours is one true object's or none's.

    Ours and a true one are the same where their IoU, over the pixels of all views together, is above one half, which
    for each holds of one at most. An object of ours that lies for more than half on the truth's background is
    ``beyond`` it: a truth seldom lists the table and the walls, and says nothing against them.
    """

    matched: tuple[tuple[int, int, float], ...]
    """Our id, the true one, and their IoU."""

    missed: tuple[int, ...]
    """True objects that none of ours is; views must show one on ``LEAST_SHARE`` of the picture for it to count."""

    extra: tuple[int, ...]
    """Ours that are no true object, on true objects for half of their pixels or more."""

    beyond: tuple[int, ...]

    @property
    def segmentation_quality(self) -> float:
        """The mean IoU of those that are matched."""
        return _mean([iou for _, _, iou in self.matched]) or 0.0

    @property
    def recognition_quality(self) -> float:
        """Matched ones among ours and the true ones: their F1 score."""
        wrong = len(self.missed) + len(self.extra)
        return len(self.matched) / (len(self.matched) + wrong / 2) if self.matched else 0.0

    @property
    def quality(self) -> float:
        """Both together."""
        return self.segmentation_quality * self.recognition_quality

    @property
    def strict_quality(self) -> float:
        """As if the truth listed all there is: what is beyond it counts as extra."""
        strict = Panoptic(self.matched, self.missed, (*self.extra, *self.beyond), ())
        return strict.quality

    def as_json(self) -> dict[str, Any]:
        """All figures, from 0 to 1, and the ids."""
        return {
            "quality": self.quality,
            "segmentation_quality": self.segmentation_quality,
            "recognition_quality": self.recognition_quality,
            "strict_quality": self.strict_quality,
            **asdict(self),
        }


def draw_objects(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Views,
    shares: Shares,
    ids: Sequence[int],
    progress: Progress | None = None,
) -> list[JudgedView]:
    """The masks of our objects in all views that have a true label map."""
    labelled = LabelledViews.of(views)
    objects = torch.tensor(sorted(ids), dtype=torch.int64)
    judged = []
    for position in range(len(labelled)):
        for view in labelled.read([position]):
            drawn = render_label_map(rasterizer, splats, view.camera, shares, objects).to("cpu", torch.int32)
            counts = torch.ones_like(drawn, dtype=torch.bool) if view.pixel_mask is None else view.pixel_mask
            judged.append(JudgedView(position, view.labels, drawn, counts))
        if progress is not None:
            progress(position + 1, len(labelled))
    return judged


def match_objects(
    views: Sequence[JudgedView],
    objects: Sequence[SceneObject],
    truth_names: Mapping[int, str],  # of the ids that the truth names
) -> dict[int, TruthMatch]:
    """The true object of each of ours: that of the same name, else the one it overlaps best with.

    Overlap is the IoU over all views; true objects that are matched by name are not matched by overlap as well.
    """
    ids_by_name = {name: id for id, name in truth_names.items()}
    matches = {entry.id: TruthMatch(ids_by_name[entry.name], "name") for entry in objects if entry.name in ids_by_name}
    taken = {match.truth_id for match in matches.values()}
    present = {id for view in views for id in view.truth[view.counts].unique().tolist()} - {BACKGROUND}
    free = torch.tensor(sorted(present - taken), dtype=torch.int64)
    unnamed = [entry.id for entry in objects if entry.id not in matches]
    overlaps = overlap_matrix(views, unnamed, free)
    for id, row in zip(unnamed, overlaps, strict=True):
        best = int(row.argmax()) if len(row) and float(row.max()) > 0 else None
        matches[id] = TruthMatch(None, "nothing") if best is None else TruthMatch(int(free[best]), "overlap")
    return matches


def overlap_matrix(
    views: Iterable[JudgedView],
    ours: Sequence[int] | Tensor,  # [K]
    theirs: Sequence[int] | Tensor,  # [T]
) -> Tensor:  # [K, T] float64
    """The IoU of each of our objects with each true one, over the pixels of all views together; 0 if both are empty."""
    ours, theirs = torch.as_tensor(ours, dtype=torch.int64), torch.as_tensor(theirs, dtype=torch.int64)
    counted = torch.zeros(len(ours) + 1, len(theirs) + 1, dtype=torch.float64)
    for view in views:
        # Place 0 takes the pixels of all other ids.
        rows = column_of(ours, view.drawn[view.counts]) + 1
        columns = column_of(theirs, view.truth[view.counts]) + 1
        counted += torch.bincount(rows * counted.shape[1] + columns, minlength=counted.numel()).view_as(counted)
    shared = counted[1:, 1:]
    union = counted.sum(dim=1)[1:, None] + counted.sum(dim=0)[None, 1:] - shared
    return shared / union.clamp_min(1.0)


def panoptic_quality(
    views: Sequence[JudgedView],
    ids: Sequence[int],  # of our objects
) -> Panoptic:
    """Compare all our objects with all true ones, whatever either are called."""
    shown = {id for view in views for id in view.truth[view.counts].unique().tolist()} - {BACKGROUND}
    true = [id for id in sorted(shown) if any(is_shown(view.truth == id, view.counts) for view in views)]
    overlaps = overlap_matrix(views, ids, true)
    matched = [
        (ids[row], true[column], float(overlaps[row, column])) for row, column in (overlaps > 0.5).nonzero().tolist()
    ]
    pixels, outside = Counter[int](), Counter[int]()
    for view in views:
        pixels.update(view.drawn[view.counts].tolist())
        outside.update(view.drawn[view.counts & (view.truth == BACKGROUND)].tolist())
    unmatched = [id for id in ids if id not in {ours for ours, _, _ in matched} and pixels[id]]
    beyond = [id for id in unmatched if 2 * outside[id] > pixels[id]]
    return Panoptic(
        tuple(matched),
        tuple(id for id in true if id not in {theirs for _, theirs, _ in matched}),
        tuple(id for id in unmatched if id not in beyond),
        tuple(beyond),
    )


@torch.no_grad()
def evaluate(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Views,
    judged: Sequence[JudgedView],
    objects: Sequence[SceneObject],
    alone: Tensor,  # [N] int64, the object that each Gaussian goes with when objects leave the scene
    truth_names: Mapping[int, str],
    progress: Progress | None = None,
) -> Evaluation:
    """Score objects in the views that ``draw_objects`` has drawn."""
    labelled = LabelledViews.of(views)
    matches = match_objects(judged, objects, truth_names)
    scores = []
    for done, entry in enumerate(objects):
        truth_id = matches[entry.id].truth_id
        pooled, masks, borders, silhouettes = MaskCount(), ViewMean(), ViewMean(), [ViewMean() for _ in SILHOUETTE_TAUS]
        extracted = splats.subset((alone == entry.id).to(splats.device))
        for view in judged:
            drawn, counts = view.drawn == entry.id, view.counts
            true = view.truth == truth_id if truth_id is not None else torch.zeros_like(drawn)
            pooled.add(drawn, true, counts)
            if not is_shown(drawn if truth_id is None else true, counts):
                continue
            masks.add(drawn, true, counts)
            width = boundary_pixels(*true.shape)
            borders.add(inner_boundary(drawn, width), inner_boundary(true, width), counts)
            (camera,) = (part.camera for part in labelled.read([view.position]))
            not_occluded = counts & (true | (view.truth == BACKGROUND))
            # One render for all thresholds; an object without Gaussians has nothing to render.
            alpha = rasterizer.render(extracted, camera, sh_degree=0).alpha.cpu() if len(extracted) else true * 0.0
            for silhouette, tau in zip(silhouettes, SILHOUETTE_TAUS, strict=True):
                silhouette.add(alpha > tau, true, not_occluded)
        scores.append(
            ObjectScore(
                entry.id,
                entry.name,
                truth_id,
                truth_names.get(truth_id, f"object_{truth_id}") if truth_id is not None else None,
                matches[entry.id].by,
                masks.views,
                masks.iou,
                pooled.iou,
                pooled.accuracy if pooled.union else None,
                borders.iou,
                silhouettes[0].iou,
                silhouettes[1].iou,
            )
        )
        if progress is not None:
            progress(done + 1, len(objects))
    return Evaluation(tuple(scores), len(judged))


@dataclass
class MaskCount:
    """Pixels of two masks, over any number of views."""

    shared: int = 0
    union: int = 0
    total: int = 0

    def add(
        self,
        ours: Tensor,  # [H, W] bool
        truth: Tensor,  # [H, W] bool
        counts: Tensor,  # [H, W] bool
    ) -> None:
        """Count one view."""
        self.shared += int((ours & truth & counts).sum())
        self.union += int(((ours | truth) & counts).sum())
        self.total += int(counts.sum())

    @property
    def iou(self) -> float | None:
        return self.shared / self.union if self.union else None

    @property
    def accuracy(self) -> float | None:
        return 1.0 - (self.union - self.shared) / self.total if self.total else None


@dataclass
class ViewMean:
    """The IoU of two masks in each of some views."""

    scores: list[float] = field(default_factory=list)
    views: int = 0

    def add(
        self,
        ours: Tensor,  # [H, W] bool
        truth: Tensor,  # [H, W] bool
        counts: Tensor,  # [H, W] bool
    ) -> None:
        """Score one view; if both masks are empty there is nothing to score."""
        count = MaskCount()
        count.add(ours, truth, counts)
        self.views += 1
        if count.iou is not None:
            self.scores.append(count.iou)

    @property
    def iou(self) -> float | None:
        return _mean(self.scores)


def is_shown(
    mask: Tensor,  # [H, W] bool
    counts: Tensor,  # [H, W] bool
) -> bool:
    """Whether so much of an object is to be seen that the view judges it."""
    return int((mask & counts).sum()) >= LEAST_SHARE * mask.numel()


def boundary_pixels(height: int, width: int) -> int:
    """The width of the boundary in a picture of this size."""
    return max(1, round(BOUNDARY_WIDTH * math.hypot(height, width)))


def inner_boundary(
    mask: Tensor,  # [H, W] bool
    width: int,
) -> Tensor:  # [H, W] bool
    """The pixels of a mask that are at most ``width`` steps, diagonal ones too, from a pixel outside it or the picture.

    This is the boundary of Boundary IoU (Cheng et al. 2021): the mask without what ``width`` erosions by 3x3 leave.
    """
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if len(rows) == 0:
        return mask
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    outside = torch.nn.functional.pad(~mask[window], (width, width, width, width), value=True).float()[None]
    across = torch.nn.functional.max_pool2d(outside, (1, 2 * width + 1), stride=1)
    near_outside = torch.nn.functional.max_pool2d(across, (2 * width + 1, 1), stride=1)[0] > 0
    boundary = torch.zeros_like(mask)
    boundary[window] = mask[window] & near_outside
    return boundary


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None
