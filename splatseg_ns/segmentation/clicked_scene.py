"""A scene that is asked about by clicks: its views with what the segmenter and the splats say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from splatseg_ns.masks.embedding_cache import CachedSegmenter
from splatseg_ns.masks.segmenter import Embedding, Prompts, Segmenter
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats, View
from splatseg_ns.scene.matching import no_view
from splatseg_ns.segmentation.partial import Guess, PartialObject
from splatseg_ns.segmentation.prompts import FreeCamera, ViewPrompts
from splatseg_ns.segmentation.surfaces import Surfaces, in_picture
from splatseg_ns.segmentation.view_choice import spread_out

LONGEST_SIDE = 1024
"""Masks are made and counted at this size: the segmenter sees no more."""


@dataclass(frozen=True, eq=False)
class FreeView:
    """The scene from anywhere: the picture is what the splats show."""

    name: str
    camera: Camera
    rasterizer: Rasterizer
    splats: Splats

    @torch.no_grad()
    def image(self) -> Tensor:  # [H, W, 3] uint8
        """The splats as they are drawn."""
        colors = self.rasterizer.render(self.splats, self.camera).colors
        return (colors.clamp(0.0, 1.0) * 255.0).round().byte().cpu()


PicturedView = View | FreeView
"""What can be clicked in: a camera with a name and a picture."""


@dataclass(frozen=True, eq=False)
class Answers:
    """The segmenter's masks for one question, in a view's working size."""

    masks: Tensor  # [M, H, W] bool
    scores: Tensor  # [M]


class ClickedView:
    """One view at its working size; what has been found out about it is kept."""

    def __init__(self, view: PicturedView, rasterizer: Rasterizer, splats: Splats, segmenter: Segmenter) -> None:
        self._view, self._rasterizer, self._splats, self._segmenter = view, rasterizer, splats, segmenter
        self.name = view.name
        self.picture_size = (view.camera.width, view.camera.height)
        self.camera = view.camera.at_most(LONGEST_SIDE)
        self.scale = max(self.camera.width, self.camera.height) / max(self.picture_size)
        """Working pixels in a pixel of the picture."""

    @property
    def is_free(self) -> bool:
        """Whether it is from a camera that is none of the capture's."""
        return isinstance(self._view, FreeView)

    def is_seen_by(self, camera: Camera) -> bool:
        """Whether this is what the camera sees."""
        return FreeCamera.of(self._view.camera) == FreeCamera.of(camera)

    def image(self) -> Tensor:  # [H, W, 3] uint8
        """The picture in its own size."""
        return self._view.image()

    @property
    def is_read(self) -> bool:
        """Whether ``embedding`` is there without waiting."""
        return "embedding" in self.__dict__

    @cached_property
    def embedding(self) -> Embedding:
        """What the segmenter makes of the picture; reading it takes the longest of all."""
        return self._segmenter.embed(self._view.image())

    @cached_property
    def surfaces(self) -> Surfaces:
        """What is seen first at each pixel."""
        return Surfaces.seen(self._rasterizer, self._splats, self.camera)

    def ask(self, prompts: Prompts) -> Answers:
        """The segmenter's answers to one question, whose points are working pixels."""
        boxes = None if prompts.boxes is None else prompts.boxes / self.scale
        found = self._segmenter.predict(
            self.embedding, replace(prompts, points=prompts.points / self.scale, boxes=boxes)
        )
        found = replace(found, width=self.camera.width, height=self.camera.height)
        return Answers(found.masks()[0], found.scores[0])

    @torch.no_grad()
    def lifted(
        self,
        masks: Tensor,  # [M, H, W] bool
    ) -> tuple[PartialObject, ...]:  # M
        """What each mask says about the Gaussians."""
        values = torch.cat([masks, torch.ones_like(masks[:1])]).permute(1, 2, 0).float()
        sums = self._rasterizer.lift(self._splats, self.camera, values.to(self._splats.device))
        return tuple(PartialObject(sums[:, place], sums[:, -1]) for place in range(len(masks)))

    def guess(self, known: PartialObject) -> Guess:
        """What an object should look like here."""
        return known.guess(self._rasterizer, self._splats, self.camera)

    def direction_to(
        self,
        point: Tensor,  # [3] float64
    ) -> Tensor:  # [3]
        """From the camera towards a point."""
        return torch.nn.functional.normalize(point - self.camera.position.cpu().double(), dim=0)


class ClickedScene:
    """Views of splats that can be clicked in."""

    def __init__(
        self,
        rasterizer: Rasterizer,
        splats: Splats,
        views: Iterable[PicturedView],
        segmenter: Segmenter,
    ) -> None:
        self.rasterizer, self.splats, self._segmenter = rasterizer, splats, segmenter
        self._views = {view.name: self.prepared(view) for view in views}
        names = list(self._views)
        self._order = [names[place] for place in spread_out([view.camera for view in self._views.values()])]

    def view(self, name: str) -> ClickedView:
        """The view of this name."""
        if name not in self._views:
            raise LookupError(no_view(name, self._views))
        return self._views[name]

    def clicked(self, prompts: ViewPrompts) -> ClickedView:
        """The view that the prompts are in, which may be of a free camera."""
        if prompts.camera is None:
            return self.view(prompts.view)
        camera = prompts.camera.camera()
        view = self.add(FreeView(prompts.view, camera, self.rasterizer, self.splats))
        if not view.is_seen_by(camera):
            raise ValueError(f"view {prompts.view}: another camera's view is called so; each needs a name of its own")
        return view

    def forget(self, name: str) -> None:
        """Keep nothing of a view from a free camera; those of the capture stay."""
        if name not in self._order and name in self._views and self._views[name].is_free:
            del self._views[name]

    def add(self, view: PicturedView) -> ClickedView:
        """A view from a free camera, or one of another split, in which there are clicks; it is not carried to."""
        return self._views[view.name] if view.name in self._views else self.keep(self.prepared(view))

    def prepared(self, view: PicturedView) -> ClickedView:
        """A view that is looked at, but not remembered."""
        return ClickedView(view, self.rasterizer, self.splats, self._segmenter)

    def keep(self, view: ClickedView) -> ClickedView:
        """Remember a view in which there are clicks now."""
        return self._views.setdefault(view.name, view)

    def views_of(
        self,
        point: Tensor,  # [3]
        count: int | None,
    ) -> list[ClickedView]:
        """The first views, in an order that spreads them out, in whose pictures the point is, hidden or not."""
        found: list[ClickedView] = []
        for name in self._order:
            if count is not None and len(found) >= count:
                break
            view = self._views[name]
            if in_picture(view.camera, point):
                found.append(view)
        return found

    @contextmanager
    def reading_ahead(self, views: Sequence[ClickedView]) -> Iterator[None]:
        """Have the pictures of these views read in the background, in this order, if the segmenter can do that."""
        if isinstance(self._segmenter, CachedSegmenter):
            with self._segmenter.prefetch(view.image() for view in views if not view.is_read):
                yield
        else:
            yield
