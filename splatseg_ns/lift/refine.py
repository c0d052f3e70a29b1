"""Splats that are fitted to their pictures and to the masks together, so that objects end where the masks do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from splatseg_ns.lift.accumulate import Progress
from splatseg_ns.lift.labels import BACKGROUND, Labels
from splatseg_ns.lift.leaves import assembled, detached, leaves_of, optimizer_of
from splatseg_ns.lift.solvers import Evidence, FlashSplat, Solution, Solver
from splatseg_ns.lift.ssim import ssim
from splatseg_ns.lift.views import LabelledView, LabelledViews
from splatseg_ns.lift.votes import as_ids, column_of
from splatseg_ns.raster import Rasterizer, one_torch_thread
from splatseg_ns.scene import Camera, Splats, View
from splatseg_ns.scene.spherical_harmonics import sh_basis

OBJECTS_AT_ONCE = 16
"""Drawn in one step; of a view that shows more, that many are drawn by lot, and the others count as one."""

PICTURE_CACHE_BYTES = 512 * 1024**2

_HIGHER_HARMONICS = 1.0 / 20.0
"""Their learning rate, as a share of that of the constant colour."""


@dataclass(frozen=True)
class Refine:
    """How splats are fitted to pictures and masks together."""

    steps: int = 300
    """How many views are looked at, one after the other, each time with a small change of the splats."""

    label_weight: float = 2.0
    """What the masks count beside the pictures: more makes better objects and worse pictures."""

    revote_every: int = 100
    """After how many steps the masks vote again, so that Gaussians that have moved may change their object."""

    structure_share: float = 0.2
    """Of structural dissimilarity in the error of a picture; the rest is the mean absolute difference."""

    means_rate: float = 1.6e-5
    """Learning rate of the centres at the start, as a share of the scene's extent (how far apart the cameras are).

    It is ten times the one at which splatfacto's training ends; the other rates are splatfacto's.
    """

    quats_rate: float = 1e-3
    """Of the rotations."""

    scales_rate: float = 5e-3
    """Of the logarithms of the sizes."""

    opacities_rate: float = 5e-2
    """Of the logits of the opacities."""

    colors_rate: float = 2.5e-3
    """Of the constant harmonic; the higher ones have a twentieth of it."""

    last_rate: float = 0.1
    """What share of the learning rates is left at the last step; they fall as a cosine does."""

    seed: int = 0
    """Of the order of the views."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.revote_every < 1:
            raise ValueError(f"steps is 0 or more and revote_every 1 or more, got {self.steps} and {self.revote_every}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "seed" and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} is a finite number, 0 or more, got {value}")
        if self.structure_share > 1.0 or self.last_rate > 1.0:
            raise ValueError("structure_share and last_rate are shares, at most 1")


class PicturedView(Protocol):
    """What is asked of a view; ``splatseg_ns.scene.View`` has it. A ``valid_mask()`` is heeded where there is one."""

    @property
    def camera(self) -> Camera: ...

    def image(self) -> Tensor: ...  # [H, W, 3] uint8

    def label_map(self) -> Tensor | None: ...  # [H, W] integer


@dataclass(frozen=True)
class Psnr:
    """Peak signal-to-noise ratios in dB, each the mean over views; None where there is no view."""

    fitted: float | None
    """Of the views that the splats were fitted to."""

    held_out: float | None

    @staticmethod
    def of(rasterizer: Rasterizer, splats: Splats, fitted: Pictures, held_out: Pictures) -> Psnr:
        """Of renders of the splats over black."""
        return Psnr(mean_psnr(rasterizer, splats, fitted), mean_psnr(rasterizer, splats, held_out))


@dataclass(frozen=True, eq=False)
class Refined:
    """Changed splats, and what the masks say of them."""

    splats: Splats
    solution: Solution
    """Labels and votes of the changed splats."""

    before: Psnr
    after: Psnr


def refine(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Sequence[PicturedView | View],
    ids: Sequence[int] | Tensor | None = None,
    config: Refine | None = None,
    *,
    solver: Solver | None = None,
    labels: Labels | None = None,
    held_out: Sequence[PicturedView | View] = (),
    progress: Progress | None = None,
) -> Refined:
    """A copy of the splats, fitted to the pictures and label maps of the views; the given ones stay as they are.

    Each step renders one view, picture and objects in one pass. To the picture's error it adds, for each pixel, the
    square of the share that the pixel's own label does not have. Geometry, opacities and colours move; the labels are
    those that ``solver`` (without bias by default) decides from the votes, and are decided anew from time to time.
    Views without a label map count for the picture alone. What masks get wrong goes into the geometry: use good ones.

    Without ``ids`` all labels in the maps count. ``labels`` are those of the given splats, if they are known already.
    On the CPU the result is the same on every run.
    """
    config = config or Refine()
    solver = solver or FlashSplat()
    pictures, others = Pictures(views), Pictures(held_out)
    if not len(pictures):
        raise ValueError("there are no views to fit the splats to: give at least one")
    labelled = LabelledViews(views)
    ids = labelled.present_ids() if ids is None else as_ids(ids)
    with one_torch_thread(rasterizer.device):
        before = Psnr.of(rasterizer, splats, pictures, others)
        fitted, after = splats, before
        if config.steps:
            fitted = _fit(rasterizer, splats, pictures, labelled, ids, config, solver, labels, progress)
            after = Psnr.of(rasterizer, fitted, pictures, others)
        solution = solver.solve(Evidence.of(rasterizer, fitted, labelled, ids))
    return Refined(fitted, solution, before, after)


def mean_psnr(rasterizer: Rasterizer, splats: Splats, pictures: Pictures) -> float | None:
    """Of renders over black, the mean over views; None without views. Pixels that are not to be used do not count."""
    ratios = []
    for position in range(len(pictures)):
        picture = pictures.read(position, splats.device)
        with torch.no_grad():
            ratios.append(psnr_of(rasterizer.render(splats, picture.camera).colors.clamp(0.0, 1.0), picture))
    return mean_of(ratios)


def psnr_of(
    drawn: Tensor,  # [H, W, 3]
    picture: Picture,
) -> float | None:
    """Of one view; None if no pixel of it is to be used."""
    errors = (drawn - picture.colors).square()
    if picture.valid is not None:
        errors = errors[picture.valid]
    return -10.0 * math.log10(max(float(errors.double().mean()), 1e-12)) if errors.numel() else None


def mean_of(values: Sequence[float | None]) -> float | None:
    """Of those that there are; None if there are none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


@dataclass(frozen=True, eq=False)
class Picture:
    """What a view shows, ready to be compared with a render."""

    camera: Camera
    colors: Tensor  # [H, W, 3] float32 in [0, 1]
    valid: Tensor | None  # [H, W] bool, False: the pixel says nothing


class Pictures:
    """The pictures of some views; those that fit into ``cache_bytes`` are read once."""

    def __init__(self, views: Iterable[PicturedView | View], cache_bytes: int = PICTURE_CACHE_BYTES) -> None:
        self._views = list(views)
        self._room = cache_bytes
        self._kept: dict[int, tuple[Tensor, Tensor | None]] = {}

    def __len__(self) -> int:
        return len(self._views)

    @property
    def cameras(self) -> list[Camera]:
        return [view.camera for view in self._views]

    def read(self, position: int, device: torch.device) -> Picture:
        """One of them."""
        colors, valid = self._kept[position] if position in self._kept else self._load(position)
        colors = colors.to(device).float() / 255.0
        return Picture(self._views[position].camera, colors, None if valid is None else valid.to(device))

    def _load(self, position: int) -> tuple[Tensor, Tensor | None]:
        view = self._views[position]
        colors = view.image()
        valid = view.valid_mask() if hasattr(view, "valid_mask") else None  # pyright: ignore
        size = colors.nbytes + (0 if valid is None else valid.nbytes)
        if size <= self._room:
            self._room -= size
            self._kept[position] = colors, valid
        return colors, valid


def scene_extent(splats: Splats, cameras: Sequence[Camera]) -> float:
    """The greatest distance of a camera from the middle of all; of one camera alone, from the splats it looks at."""
    places = torch.stack([camera.position.cpu().double() for camera in cameras])
    extent = float((places - places.mean(dim=0)).norm(dim=1).max())
    if extent > 0.0 or len(splats) == 0:
        return extent
    return float((splats.means.detach().cpu().double() - places[0]).norm(dim=1).median())


def view_colors(splats: Splats, camera: Camera) -> Tensor:  # [N, 3]
    """What colour each Gaussian shows to the camera."""
    directions = torch.nn.functional.normalize(splats.means - camera.position.to(splats.means), dim=-1)
    basis = sh_basis(directions, splats.sh_degree)
    return ((basis[..., None] * splats.sh).sum(dim=1) + 0.5).clamp_min(0.0)


def label_error(
    shares: Tensor,  # [H, W, C], of each pixel those of the objects; the rest belongs to the background
    columns: Tensor,  # [H, W] int64, the place of the pixel's own label, -1 for the background
    counted: Tensor | None = None,  # [H, W] bool, False: the pixel says nothing
) -> Tensor:  # scalar
    """The mean over pixels of the square of what the pixel's own label lacks."""
    of_all = torch.cat([1.0 - shares.sum(dim=-1, keepdim=True), shares], dim=-1)
    lacking = 1.0 - of_all.gather(-1, columns[..., None] + 1)[..., 0]
    if counted is not None:
        lacking = lacking[counted]
    return lacking.square().sum() / max(lacking.numel(), 1)


def picture_error(
    drawn: Tensor,  # [H, W, 3]
    picture: Picture,
    structure_share: float,
) -> Tensor:  # scalar
    """The mean absolute difference, mixed with the structural dissimilarity."""
    colors, difference = picture.colors, drawn - picture.colors
    if picture.valid is not None:
        difference = difference[picture.valid]
        drawn, colors = (part * picture.valid[..., None] for part in (drawn, colors))
    if not difference.numel():
        return drawn.sum() * 0.0
    error = (1.0 - structure_share) * difference.abs().mean()
    return error + structure_share * (1.0 - ssim(drawn, colors)) if structure_share else error


def _fit(
    rasterizer: Rasterizer,
    splats: Splats,
    pictures: Pictures,
    labelled: LabelledViews,
    ids: Tensor,  # [L] int64
    config: Refine,
    solver: Solver,
    labels: Labels | None,
    progress: Progress | None,
) -> Splats:
    leaves = leaves_of(splats)
    rates = _rates(config, scene_extent(splats, pictures.cameras))
    optimizer, schedule = optimizer_of(leaves, rates, config.steps, config.last_rate)
    random = torch.Generator().manual_seed(config.seed)
    waiting: list[int] = []
    for step in range(config.steps):
        if labels is None or (step and step % config.revote_every == 0):
            labels = solver.solve(Evidence.of(rasterizer, detached(splats, leaves), labelled, ids)).labels
        waiting = waiting or torch.randperm(len(pictures), generator=random).tolist()
        position = waiting.pop()
        current, picture = assembled(splats, leaves), pictures.read(position, splats.device)
        target = next((_Target.of(view, ids, random) for view in labelled.read([position])), None)
        channels = [view_colors(current, picture.camera)]
        if target is not None and config.label_weight:
            channels.append(target.memberships(labels).to(current.means))
        drawn = rasterizer.render(current, picture.camera, features=torch.cat(channels, dim=1)).colors
        error = picture_error(drawn[..., :3], picture, config.structure_share)
        if target is not None and config.label_weight:
            error = error + config.label_weight * target.error(drawn[..., 3:])
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, config.steps)
    return detached(splats, leaves)


@dataclass(frozen=True, eq=False)
class _Target:
    """What a label map asks of the objects that are drawn."""

    objects: Tensor  # [C] int64, those that are told apart
    columns: Tensor  # [H, W] int64: the place of an object, C for other objects, -1 for the background
    counted: Tensor | None  # [H, W] bool

    @staticmethod
    def of(view: LabelledView, ids: Tensor, random: torch.Generator) -> _Target:
        labels = view.labels.long().cpu()
        present = (labels if view.pixel_mask is None else labels[view.pixel_mask.cpu()]).unique()
        present = present[(present > BACKGROUND) & (column_of(ids, present) >= 0)]
        chosen = present[torch.randperm(len(present), generator=random)[:OBJECTS_AT_ONCE]].sort().values
        others = (column_of(present, labels) >= 0) & (column_of(chosen, labels) < 0)
        return _Target(chosen, column_of(chosen, labels).masked_fill(others, len(chosen)), view.pixel_mask)

    def memberships(self, labels: Labels) -> Tensor:  # [N, C + 1] bool
        """Which Gaussians belong to each object that is told apart, and which to the others."""
        ids = labels.ids[:, None]
        chosen = ids == self.objects
        return torch.cat([chosen, (ids > BACKGROUND) & ~chosen.any(dim=1, keepdim=True)], dim=1)

    def error(self, shares: Tensor) -> Tensor:  # [H, W, C + 1] -> scalar
        counted = None if self.counted is None else self.counted.to(shares.device)
        return label_error(shares, self.columns.to(shares.device), counted)


def _rates(config: Refine, extent: float) -> dict[str, float]:
    return {
        "means": config.means_rate * extent,
        "raw_quats": config.quats_rate,
        "log_scales": config.scales_rate,
        "logit_opacities": config.opacities_rate,
        "constant": config.colors_rate,
        "higher": config.colors_rate * _HIGHER_HARMONICS,
    }
