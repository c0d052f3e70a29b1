"""Classes of a few annotated pictures, carried to the Gaussians of a scene through image features.

Each view's patches are compared with those of the examples, which gives each pixel a share of each class: the 2D
answer, one view at a time. The shares of all views vote, and so the scene has one answer for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.lift import (
    BACKGROUND,
    Evidence,
    FlashSplat,
    Labels,
    Progress,
    Robust,
    Solver,
    Votes,
    accumulate_shares,
    render_share,
)
from splatseg_ns.masks.features import CachedFeatures, FeatureExtractor
from splatseg_ns.masks.memory_bank import Knn, MemoryBank
from splatseg_ns.masks.upsample import Upsampling, to_pixels
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import IGNORED, Camera, Splats, View

Voting = Literal["shares", "labels", "robust"]
"""shares: what each class has of a pixel votes; labels: its likeliest class does; robust: and errors are put right."""

SHOWN = 0.5
"""A pixel shows the chosen objects if they have this much of it."""


class NothingKnownError(ValueError):
    """No pixel of any view looks like the examples."""


@dataclass(frozen=True)
class Transfer:
    """How classes are carried over."""

    knn: Knn = field(default_factory=Knn)
    """How patches are compared."""

    upsampling: Upsampling = "guided"
    """From patches to pixels."""

    voting: Voting = "shares"
    """What pixels vote with."""

    gamma: float = 0.0
    """Bias to what is of no class, -1 to 1: below 0 classes gain doubtful Gaussians, and doubtful pixels."""

    def __post_init__(self) -> None:
        if not -1.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma is a number from -1 to 1, got {self.gamma}")

    @property
    def solver(self) -> Solver:
        """What decides by the votes."""
        return Robust(gamma=self.gamma) if self.voting == "robust" else FlashSplat(gamma=self.gamma)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Says of pictures, one at a time, what classes their pixels are of."""

    extractor: FeatureExtractor
    bank: MemoryBank
    config: Transfer

    def shares(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Tensor:  # [H, W, L] for each of ``bank.ids``: sums to 1, or to less where it is unknown
        """How much of each pixel is of each class."""
        return to_pixels(self.bank.classify(self.extractor(image), self.config.knn), image, self.config.upsampling)

    def label_map(
        self,
        shares: Tensor,  # [H, W, L]
    ) -> Tensor:  # [H, W] int64: a class, 0, or -1 where it is unknown
        """The likeliest class of each pixel; this alone is the 2D answer."""
        bias = torch.where(self.bank.ids == BACKGROUND, self.config.gamma, 0.0)
        known = shares.sum(dim=2)
        likeliest = self.bank.ids[(shares + bias * known[..., None]).argmax(dim=2)]
        return torch.where(known >= SHOWN, likeliest, IGNORED)

    def answer(
        self,
        image: Tensor,  # [H, W, 3] uint8
        objects: Tensor | None,  # [H, W], how much of a pixel is of the chosen objects
    ) -> Tensor:  # [H, W] int64: a class, or 0
        """What a picture alone says of its pixels; see ``shown_classes``."""
        return shown_classes(self.label_map(self.shares(image)), objects)


@dataclass(frozen=True, eq=False)
class Transferred:
    """What became of the classes."""

    labels: Labels  # ids of classes
    votes: Votes
    solver: Solver


def transfer(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],
    classifier: Classifier,
    within: Tensor | None = None,  # [N] bool, all Gaussians by default
    progress: Progress | None = None,
) -> Transferred:
    """The class of each Gaussian, by what all views say about it.

    ``within`` restricts it to some Gaussians, such as those of an object: pixels count by how much they show of these,
    and all others are of no class. The views are in the frame of the splats.
    """
    images = (view.image() for view in views)
    if isinstance(classifier.extractor, CachedFeatures):
        with classifier.extractor.prefetch(images):
            return _transfer(rasterizer, splats, views, classifier, within, progress)
    return _transfer(rasterizer, splats, views, classifier, within, progress)


def _transfer(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],
    classifier: Classifier,
    within: Tensor | None,
    progress: Progress | None,
) -> Transferred:
    solver, ids = classifier.config.solver, classifier.bank.ids
    said = _said_by(rasterizer, splats, views, classifier, within, progress)
    if classifier.config.voting == "shares":
        votes = accumulate_shares(rasterizer, splats, said, ids)
        labels = solver.decide(votes)
    else:
        maps = [_ClassView(camera, classifier, shares) for camera, shares in said]
        solution = solver.solve(Evidence.of(rasterizer, splats, maps, ids))
        labels, votes, solver = solution.labels, solution.votes, solution.solver
    if not bool((votes.seen > 0).any()):
        raise NothingKnownError("no pixel of the views looks like the examples")
    if within is not None:
        labels = replace(labels, ids=torch.where(within.cpu(), labels.ids, BACKGROUND))
    return Transferred(labels, votes, solver)


def _said_by(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[View],
    classifier: Classifier,
    within: Tensor | None,
    progress: Progress | None,
) -> Iterable[tuple[Camera, Tensor]]:  # [H, W, L] each
    """What each view says: shares of classes, less where it shows other things or may not be used."""
    for done, view in enumerate(views, 1):
        shares = classifier.shares(view.image())
        if (objects := shown_of(rasterizer, splats, view.camera, within)) is not None:
            shares = shares * objects[..., None]
        if (usable := view.valid_mask()) is not None:
            shares = shares * usable[..., None]
        yield view.camera, shares
        if progress is not None:
            progress(done, len(views))


class _ClassView:
    """A view that votes by its likeliest classes."""

    def __init__(self, camera: Camera, classifier: Classifier, shares: Tensor) -> None:
        self.camera = camera
        self._labels = classifier.label_map(shares).int()

    def label_map(self) -> Tensor:  # [H, W] int32
        return self._labels


def chosen_classes(
    bank: MemoryBank,
    background: bool | None,
    within_objects: bool,
) -> MemoryBank:
    """The bank with or without what the examples leave out as an answer of its own.

    By default it is one, but inside chosen objects, of which every part then is of one of the classes. With a single
    class there would be nothing left to decide, so there it is an answer too.
    """
    if background is None:
        background = not within_objects or len(bank.classes) < 2
    return bank if background else bank.without_background()


def shown_of(
    rasterizer: Rasterizer,
    splats: Splats,
    camera: Camera,
    within: Tensor | None,  # [N] bool
) -> Tensor | None:  # [H, W]
    """How much of each pixel is of the Gaussians to which a transfer is restricted; None if it is not."""
    return None if within is None else render_share(rasterizer, splats, camera, within).cpu()


def shown_classes(
    label_map: Tensor,  # [H, W]
    objects: Tensor | None,  # [H, W], how much of a pixel is of the chosen objects
) -> Tensor:  # [H, W] int64
    """The 2D answer within the chosen objects; what is unknown is of no class."""
    labels = label_map.clamp_min(BACKGROUND)
    return labels if objects is None else torch.where(objects > SHOWN, labels, BACKGROUND)
