"""All objects of a scene, found without being pointed at: masks in pictures, put together in 3D, counted once.

The masks of one picture are found by ``splatseg_ns.masks.everything``, and ``splatseg_ns.segmentation.associate`` tells
which masks of different views are the same thing. Here is the way from views to a document.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from splatseg_ns.lift import BACKGROUND, Evidence, LabelledViews, Progress, Solution, Solver, name_of
from splatseg_ns.masks.embedding_cache import CachedSegmenter
from splatseg_ns.masks.everything import AutomaticMasks, PictureMasks, automatic_masks
from splatseg_ns.masks.segmenter import reading_threads
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats, View
from splatseg_ns.segmentation.associate import Associate, Association, MaskedView, Thing, associate
from splatseg_ns.segmentation.clicked_scene import LONGEST_SIDE
from splatseg_ns.segmentation.document import Segmentation
from splatseg_ns.segmentation.scene_object import Provenance, SceneObject
from splatseg_ns.segmentation.view_choice import spread_out

Stage = Literal["masks", "association", "votes"]
"""What is done, in this order."""

StageProgress = Callable[[Stage, int, int], None]
"""Called with a stage and the views done and to do in it; each stage begins with 0 views done.

What it raises stops the work and comes out of it, and nothing goes on in the background.
"""


class TooFewViewsError(ValueError):
    """Fewer views are looked at than an object needs masks in."""


class NothingStableError(ValueError):
    """The masks of the views agree on no object."""


@dataclass(frozen=True)
class FindEverything:
    """What is looked at, and what counts as an object."""

    view_count: int | None = 16
    """How many views are looked at, spread over the cameras; None for all."""

    masks: AutomaticMasks = field(default_factory=AutomaticMasks)
    """How each picture is gone through; into parts wherever parts are looked for."""

    associate: Associate = field(default_factory=Associate)
    """When masks are the same thing, and which things become objects."""

    def __post_init__(self) -> None:
        if self.view_count is not None and self.view_count < 1:
            raise ValueError(f"view_count is at least 1, or None for all views, got {self.view_count}")


@dataclass(frozen=True, eq=False)
class WorkingView:
    """A view in the size that masks are made and counted in."""

    view: View
    camera: Camera
    labels: Tensor | None = None  # [H, W] int64

    @staticmethod
    def of(view: View) -> WorkingView:
        return WorkingView(view, view.camera.at_most(LONGEST_SIDE))

    @property
    def name(self) -> str:
        return self.view.name

    def label_map(self) -> Tensor | None:
        return self.labels

    def valid_mask(self) -> Tensor | None:
        valid = self.view.valid_mask()
        return None if valid is None else self._fitted(valid[None].float(), "nearest")[0] > 0

    def image(self) -> Tensor:  # [H, W, 3] uint8
        picture = self.view.image().permute(2, 0, 1).float()
        return self._fitted(picture, "area").round().byte().permute(1, 2, 0)

    def _fitted(self, channels: Tensor, mode: str) -> Tensor:  # [C, H, W]
        return torch.nn.functional.interpolate(channels[None], (self.camera.height, self.camera.width), mode=mode)[0]


@dataclass(frozen=True, eq=False)
class FoundEverything:
    """The objects of a scene, and all that led to them."""

    document: Segmentation
    views: tuple[WorkingView, ...]
    """Those that were looked at."""

    masks: tuple[PictureMasks, ...]
    """All masks of each of these views."""

    association: Association
    """The things that masks agree on: the first has the id 1."""

    solution: Solution

    @property
    def unstable(self) -> int:
        """Things that were dropped because too few views have masks of them."""
        return self.association.unstable

    @property
    def small(self) -> int:
        """Things that were dropped for too few Gaussians, in their masks or when all views had voted."""
        return self.association.small + len(self.association.things) - len(self.document.objects)

    def thing(self, id: int) -> Thing:
        """What an object was made of."""
        return self.association.things[id - 1]


def find_everything(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],
    segmenter: CachedSegmenter,
    solver: Solver,
    config: FindEverything | None = None,
    *,
    data: Path | None = None,
    progress: StageProgress | None = None,
) -> FoundEverything:
    """Look for masks in some of the views, make objects of those that views agree on, and let all views vote once.

    The cameras of the views are in the frame of the splats. ``data`` is where the pictures are, for the document to
    remember. Objects are called object_1 and so on, the largest first.
    """
    config = config or FindEverything()
    chosen = _spread_out(views, config.view_count)
    if len(chosen) < config.associate.min_views:
        raise TooFewViewsError(
            f"{len(chosen)} views are looked at, but an object needs masks in {config.associate.min_views}"
        )

    def begin(stage: Stage) -> Progress:
        if progress is None:
            return _say_nothing
        progress(stage, 0, len(chosen))
        return partial(progress, stage)

    masks = _find_masks(segmenter, chosen, config, begin("masks"))
    masked = [MaskedView(view.camera, found) for view, found in zip(chosen, masks, strict=True)]
    association = associate(rasterizer, splats, masked, config.associate, begin("association"))
    if not association.things:
        raise NothingStableError(
            f"none of {sum(map(len, masks))} masks in {len(chosen)} views is stable: {association.unstable} things "
            f"have masks in too few views, {association.small} too few Gaussians"
        )
    labelled = LabelledViews(
        replace(view, labels=label_map) for view, label_map in zip(chosen, association.label_maps, strict=True)
    )
    ids = [BACKGROUND, *range(1, len(association.things) + 1)]
    solution = solver.solve(Evidence.of(rasterizer, splats, labelled, ids, progress=begin("votes")))
    labels, objects = _objects(association, solution, segmenter.name, config)
    document = Segmentation.of(splats, labels, objects, solution.votes).with_entry(
        "everything",
        segmenter=segmenter.name,
        views=[view.name for view in chosen],
        level=config.associate.level,
        min_views=config.associate.min_views,
        min_support=config.associate.least_support,
        min_gaussians=config.associate.min_gaussians,
        masks=asdict(config.masks),
        found=sum(map(len, masks)),
    )
    # Export and removal look here for what decides by the votes.
    solver_name, settled = _decided_by(solution)
    document = document.with_entry(
        "label", data=str(data.resolve()) if data else "", solver=solver_name, settled=settled
    )
    return FoundEverything(document, tuple(chosen), tuple(masks), association, solution)


def _say_nothing(*_: int) -> None:
    pass


def _spread_out(views: Sequence[View], count: int | None) -> list[WorkingView]:
    """So many of the views, as different as can be, in the order they came in."""
    order = spread_out([view.camera for view in views])
    return [WorkingView.of(views[place]) for place in sorted(order[:count])]


def _find_masks(
    segmenter: CachedSegmenter, views: Sequence[WorkingView], config: FindEverything, progress: Progress
) -> list[PictureMasks]:
    """The masks of all views; the next pictures are read while one is asked about."""
    found = []
    masks = replace(config.masks, into_parts=config.masks.into_parts or config.associate.level == "part")
    with segmenter.prefetch(view.view.image() for view in views):
        for done, view in enumerate(views, 1):
            # Masks come out in the size that the embedding is said to be of.
            size = {"width": view.camera.width, "height": view.camera.height}
            embedding = replace(segmenter.embed(view.view.image()), **size)
            with reading_threads():
                found.append(automatic_masks(segmenter, embedding, masks))
            progress(done, len(views))
    return found


def _objects(
    association: Association, solution: Solution, segmenter: str, config: FindEverything
) -> tuple[Tensor, list[SceneObject]]:  # [N] int64
    """The labels, and the objects that have Gaussians enough; what the others have falls to the background."""
    labels = solution.labels.ids.clone()
    objects = []
    for id, thing in enumerate(association.things, 1):
        rows = labels == id
        if int(rows.sum()) < config.associate.min_gaussians:
            labels[rows] = BACKGROUND
            continue
        prompt = {"everything": segmenter, "level": config.associate.level, "views": len(thing.masks)}
        objects.append(SceneObject.new(id, f"object_{id}", Provenance((prompt,), *_decided_by(solution))))
    return labels, objects


def _decided_by(solution: Solution) -> tuple[str, dict[str, Any]]:
    """The name of the solver, and its config with everything settled."""
    return name_of(solution.solver), asdict(solution.solver)  # pyright: ignore[reportArgumentType]
