"""Pictures of a scene that is not being trained: all of it, and what a document shows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from splatseg_ns.plugin.accent import overlaid, same_view, tinted
from splatseg_ns.plugin.display import Accent, Display
from splatseg_ns.plugin.parameters import PARAMETERS, splats_of
from splatseg_ns.plugin.pictures import Pictures
from splatseg_ns.raster import Rasterizer, Render
from splatseg_ns.scene import Camera, RenderProfile, Splats

_LEAST_OPACITY = 1e-6
"""Of ghosts, so that it has a logit; no render profile draws anything as faint."""

_EMPTY_DEPTH = 10.0
"""Where a picture shows nothing at all."""


def filled_depth(picture: Render) -> Tensor:  # [H, W, 1]
    """Depth, with the farthest one where nothing was drawn."""
    farthest = picture.depth.detach().max()
    return torch.where(picture.alpha > 0, picture.depth, farthest if farthest > 0 else _EMPTY_DEPTH)[..., None]


@dataclass(frozen=True, eq=False)
class Shown:
    """Gaussians, and what pictures show of them. What is made of both is made when it is first needed, and kept."""

    splats: Splats
    display: Display | None

    def cropped(
        self,
        inside: Tensor,  # [N] bool
    ) -> Shown:
        """Only what is inside a box."""
        return Shown(self.splats.subset(inside), None if self.display is None else self.display.subset(inside))

    @property
    def accent(self) -> Accent | None:
        """What stands out."""
        return None if self.display is None else self.display.look.accent

    @cached_property
    def left(self) -> Splats:
        """The Gaussians without the hidden ones, or with ghosts of these."""
        display = self.display
        if display is None or display.visible is None or display.look.ghost == 1.0:
            return self.splats
        if display.look.ghost == 0.0:
            return self.splats.subset(display.visible)
        logits = self.splats.logit_opacities
        faint = torch.logit(logits.sigmoid() * display.look.ghost, eps=_LEAST_OPACITY)
        return replace(self.splats, logit_opacities=torch.where(display.visible, logits, faint))

    @cached_property
    def accented(self) -> Splats:
        """What is left, tinted where something stands out."""
        display, accent = self.display, self.accent
        if display is None or accent is None or accent.weights is None:
            return self.left
        are_gone = display.visible is not None and display.look.ghost == 0.0
        weights = accent.weights[display.visible] if are_gone else accent.weights
        return replace(self.left, sh=tinted(self.left.sh, weights, accent.color))


class StillScene:
    """Keeps what pictures are made of while neither parameters nor display change: a viewer takes many pictures."""

    def __init__(self) -> None:
        self._splats: tuple[list[Tensor], list[int], Splats] | None = None
        self._shown: Shown | None = None

    def of(self, parameters: Mapping[str, Tensor], profile: RenderProfile, display: Display | None) -> Shown:
        """What to take pictures of now."""
        splats = self._splats_of(parameters, profile)
        shown = self._shown
        if shown is None or shown.splats is not splats or shown.display is not display:
            shown = self._shown = Shown(splats, display)
        return shown

    @torch.no_grad()
    def _splats_of(self, parameters: Mapping[str, Tensor], profile: RenderProfile) -> Splats:
        tensors = [parameters[name] for name in PARAMETERS]
        # The version of a tensor moves with every change in place.
        versions = [tensor._version for tensor in tensors]
        if self._splats is not None:
            kept, kept_versions, splats = self._splats
            if versions == kept_versions and all(one is other for one, other in zip(tensors, kept, strict=True)):
                return splats
        splats = splats_of({name: parameters[name].detach() for name in PARAMETERS}, profile)
        self._splats = (tensors, versions, splats)
        return splats


class Shots:
    """What one camera sees. Each render is made when a picture first needs it."""

    def __init__(
        self,
        engine: Rasterizer,
        shown: Shown,
        camera: Camera,
        sh_degree: int,
        background: Tensor,  # [3]
    ) -> None:
        self._engine = engine
        self._shown = shown
        self._camera = camera
        self._sh_degree = sh_degree
        self._background = background

    def pictures(self, depth_of: str = "rgb") -> Pictures:
        """All outputs by name; ``depth`` is that of the whole scene, or of what ``objects`` shows if that is said."""
        makers: dict[str, Callable[[], Tensor]] = {
            "rgb": lambda: self._colored.colors.clamp(0.0, 1.0),
            "depth": lambda: filled_depth(self._left if depth_of == "objects" else self._whole),
            "accumulation": lambda: self._whole.alpha[..., None],
            "background": lambda: self._background.expand(self._camera.height, self._camera.width, 3),
            "segmentation": lambda: self._features()[..., :3],
            "object_mask": lambda: self._features()[..., 3:],
            "objects": self._objects,
        }
        display = self._shown.display
        if display is not None and display.visible is not None:
            # A viewer that has just been started shows the first.
            makers = {"objects": makers["objects"], **makers}
        return Pictures(makers)

    @cached_property
    def _colored(self) -> Render:
        """The whole scene."""
        return self._render(self._shown.splats)

    @cached_property
    def _labelled(self) -> Render | None:
        """The whole scene in the colours of its objects and with what is selected; None without a document."""
        display = self._shown.display
        if display is None:
            return None
        return self._engine.render(self._shown.splats, self._camera, features=display.features)

    @property
    def _whole(self) -> Render:
        """A render of the whole scene, for what does not depend on colours."""
        made = vars(self).get("_labelled")
        return self._colored if made is None else made

    @cached_property
    def _left(self) -> Render:
        """What is left of the scene, tinted unless a mask marks it."""
        splats = self._shown.accented if self._mask is None else self._shown.left
        return self._colored if splats is self._shown.splats else self._render(splats)

    @cached_property
    def _mask(self) -> Tensor | None:  # [h, w] bool
        """What a segmenter found in just this view."""
        accent = self._shown.accent
        screen = None if accent is None else accent.screen
        return screen.mask if screen is not None and same_view(screen.camera, self._camera) else None

    def _objects(self) -> Tensor:  # [H, W, 3]
        picture, accent = self._left.colors.clamp(0.0, 1.0), self._shown.accent
        return picture if self._mask is None or accent is None else overlaid(picture, self._mask, accent.color)

    def _features(self) -> Tensor:  # [H, W, 4]
        if self._labelled is None:
            return self._background.new_zeros(self._camera.height, self._camera.width, 4)
        return self._labelled.colors.clamp(0.0, 1.0)

    def _render(self, splats: Splats) -> Render:
        return self._engine.render(splats, self._camera, sh_degree=self._sh_degree, background=self._background)
