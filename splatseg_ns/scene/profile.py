"""The constants a splat was trained with: whoever segments it must see what its training saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Extent = Literal["three_sigma", "opacity_aware", "inria", "ellipse"]


@dataclass(frozen=True)
class RenderProfile:
    """How a renderer turns Gaussians into pixels, down to its cut-offs."""

    name: str
    """What the profile is called on the command line and in a saved document."""

    near: float = 0.01
    """Gaussians whose centre lies at this depth or nearer are not drawn."""

    far: float = 1e10
    """Gaussians whose centre lies at this depth or farther are not drawn."""

    alpha_min: float = 1.0 / 255.0
    """A Gaussian leaves a pixel alone where its alpha is below this."""

    alpha_max: float = 0.999
    """The alpha of one Gaussian at one pixel is clamped to this."""

    transmittance_min: float = 1e-4
    """A pixel is finished before the Gaussian that would bring its transmittance down to this."""

    eps2d: float = 0.3
    """Added to the diagonal of every projected covariance, in square pixels."""

    antialiased: bool = False
    """Dim each Gaussian by what ``eps2d`` added to its area (Mip-Splatting's compensation)."""

    extent: Extent = "three_sigma"
    """Which 16x16 tiles a Gaussian may reach; inside them ``alpha_min`` alone decides.

    three_sigma: the square of ceil(3 x the longest standard deviation) around the centre (gsplat 1.4).
    opacity_aware: per axis ceil(min(3.33, the multiple where alpha meets alpha_min) x deviation) (gsplat 1.5).
    inria: as three_sigma, with the rounding of the original 3DGS rasterizer.
    ellipse: every pixel where alpha reaches alpha_min, no other cut.
    """

    def __post_init__(self) -> None:
        if self.extent not in ("three_sigma", "opacity_aware", "inria", "ellipse"):
            raise ValueError(f"unknown extent rule {self.extent!r} in render profile {self.name!r}")
        if not 0.0 < self.alpha_min < self.alpha_max < 1.0:
            raise ValueError(f"need 0 < alpha_min < alpha_max < 1 in render profile {self.name!r}")
        if not (0.0 < self.near < self.far and self.transmittance_min > 0.0 and self.eps2d >= 0.0):
            raise ValueError(
                f"need 0 < near < far, transmittance_min > 0 and eps2d >= 0 in render profile {self.name!r}"
            )


PROFILES: dict[str, RenderProfile] = {
    profile.name: profile
    for profile in (
        RenderProfile("gsplat-1.4"),
        RenderProfile("gsplat-1.5", extent="opacity_aware"),
        RenderProfile("inria", near=0.2, alpha_max=0.99, extent="inria"),
    )
}

DEFAULT_PROFILE = PROFILES["gsplat-1.4"]


def render_profile(name: str, *, antialiased: bool = False) -> RenderProfile:
    """Look a profile up by name; ``antialiased`` as the splat was trained."""
    if name not in PROFILES:
        raise ValueError(f"unknown render profile {name!r}; choose one of {', '.join(PROFILES)}")
    return replace(PROFILES[name], antialiased=antialiased)
