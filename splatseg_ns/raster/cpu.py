"""The CPU engine: the C++ kernels behind the interface that all engines share."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.raster import _native
from splatseg_ns.raster.inputs import PixelInputs, drawable_rows, warn_undrawable
from splatseg_ns.raster.interface import Rasterizer, Render, ViewVotes
from splatseg_ns.scene import Camera, PixelRect, Splats

_EXTENTS = {"three_sigma": 0, "opacity_aware": 1, "inria": 2, "ellipse": 3}
_NO_COLUMN = 0xFFFF
_REMEMBERED = 4
"""Splats whose activated parameters are kept."""

_MAX_THREADS = 255


def available_isas() -> list[str]:
    """Instruction sets that this processor can run, fastest first."""
    return _native.available_isas()


class CpuRasterizer(Rasterizer):
    """Renders and votes on the CPU. The same sums, bit for bit, with any number of threads."""

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        """Defaults: what SPLATSEG_ISA and SPLATSEG_THREADS say, else the fastest instruction set and all cores."""
        self.device = torch.device("cpu")
        self.isa = _chosen_isa(isa)
        self.threads = _chosen_threads(threads)
        self.stage_seconds: dict[str, float] = {}
        """How long each stage that the last call went through took."""
        self._activated = _ActivatedSplats()
        self._idle_frames: list[_native.Frame] = []
        self._lock = threading.Lock()

    def _render(
        self,
        splats: Splats,
        camera: Camera,
        features: Tensor | None,
        sh_degree: int,
        background: Tensor | None,
        rect: PixelRect,
        absgrad: bool,
    ) -> Render:
        lease = _Lease(self)
        gaussians = self._activated.of(splats)
        lease.prepare(splats, camera, rect, gaussians)
        count = len(splats)
        means2d = torch.empty(count, 2)
        radii = torch.empty(count, 2, dtype=torch.int32)
        lease.frame.screen(means2d.numpy(), radii.numpy())
        means2d = means2d[None]
        channels = gaussians.sh if features is None else _float(features)
        degree = sh_degree if features is None else None
        backdrop = None if background is None else _float(background)
        inputs = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, channels, backdrop)
        if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs):
            means2d.requires_grad_()
            colors, alpha, depth = _Picture.apply(*inputs, means2d, lease, degree, absgrad)
        else:
            colors, alpha, depth = lease.render(channels, degree, backdrop)
            lease.give_back()
        info = {
            "means2d": means2d,
            "radii": _radii_for_installed_gsplat(radii),
            "gaussian_ids": None,
            "width": camera.width,
            "height": camera.height,
            "n_cameras": 1,
        }
        return Render(colors, alpha, depth, info)

    def _votes(
        self, splats: Splats, camera: Camera, columns: Tensor, ids: Tensor, pixels: PixelInputs, rect: PixelRect
    ) -> ViewVotes:
        lease = _Lease(self)
        lease.prepare(splats, camera, rect, self._activated.of(splats))
        count = len(splats)
        offsets = torch.empty(count + 1, dtype=torch.int64)
        seen = torch.empty(count)
        # -1, a label without a column, becomes 0xffff.
        narrow = columns.numpy().astype(np.uint16)
        entries, mass = lease.frame.votes(narrow, len(ids), _weights(pixels), offsets.numpy(), seen.numpy())
        lease.give_back()
        return ViewVotes(ids, offsets, torch.from_numpy(entries), torch.from_numpy(mass), seen)

    def _lift(self, splats: Splats, camera: Camera, values: Tensor, pixels: PixelInputs, rect: PixelRect) -> Tensor:
        lease = _Lease(self)
        lease.prepare(splats, camera, rect, self._activated.of(splats))
        out = torch.empty(len(splats), values.shape[2])
        lease.frame.lift(_float(values).numpy(), _weights(pixels), out.numpy())
        lease.give_back()
        return out


@dataclass(frozen=True)
class _Gaussians:
    """Splats as the kernels read them: float32, activated; the means are NaN where a Gaussian cannot be drawn."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4] of any length
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    sh: Tensor  # [N, K, 3]

    @property
    def geometry(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.means, self.quats, self.scales, self.opacities

    @staticmethod
    def of(splats: Splats) -> _Gaussians:
        activated = _Gaussians(
            _float(splats.means),
            _float(splats.raw_quats),
            _float(splats.scales),
            _float(splats.opacities),
            _float(splats.sh),
        )
        # A sum is finite only if all its parts are, and costs a fraction of looking at each.
        raw = (splats.log_scales, splats.logit_opacities, activated.scales.square(), *activated.geometry, activated.sh)
        finite = all(bool(tensor.detach().sum().isfinite()) for tensor in raw)
        if finite and bool(activated.quats.detach().any(dim=-1).all()):
            return activated
        return _Gaussians._without_undrawable(splats)

    @staticmethod
    def _without_undrawable(splats: Splats) -> _Gaussians:
        # Replaced before they are activated, so that no gradient passes through a NaN.
        good = drawable_rows(splats)
        row = good[:, None]
        harmless = replace(
            splats,
            means=splats.means.where(row, torch.nan),
            raw_quats=splats.raw_quats.where(row, 1.0),
            log_scales=splats.log_scales.where(row, 0.0),
            logit_opacities=splats.logit_opacities.where(good, 0.0),
            sh=splats.sh.where(row[..., None], 0.0),
        )
        return _Gaussians(
            _float(harmless.means),
            _float(harmless.raw_quats),
            _float(harmless.scales),
            _float(harmless.opacities),
            _float(harmless.sh),
        )


class _ActivatedSplats:
    """Keeps what the kernels read of the splats used last, for the many views that are usually taken of the same.

    Of a few of them, because a viewer draws a scene and what is visible of it in turn, and others vote meanwhile.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[weakref.ref[Splats], tuple[int, ...], _Gaussians], ...] = ()

    def of(self, splats: Splats) -> _Gaussians:
        tensors = splats.tensors().values()
        in_graph = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if in_graph or any(tensor.is_inference() for tensor in tensors):
            return _Gaussians.of(splats)
        versions = tuple(tensor._version for tensor in tensors)  # moves with every change in place
        for known, known_versions, gaussians in self._kept:
            if known() is splats and known_versions == versions:
                return gaussians
        gaussians = _Gaussians.of(splats)
        others = (entry for entry in self._kept if entry[0]() is not splats)
        self._kept = ((weakref.ref(splats, self._forget), versions, gaussians), *others)[:_REMEMBERED]
        return gaussians

    def _forget(self, gone: weakref.ref[Splats]) -> None:
        self._kept = tuple(entry for entry in self._kept if entry[0] is not gone)


class _Lease:
    """A frame of the engine for one view: taken from the idle ones, and given back when the view is done with.

    A differentiable picture keeps its frame until its graph is gone, so that the backward pass need not project again.
    """

    def __init__(self, engine: CpuRasterizer) -> None:
        self.engine = engine
        with engine._lock:
            idle = engine._idle_frames.pop() if engine._idle_frames else None
        self.frame = idle or _native.Frame(engine.isa, engine.threads)
        self._before = self.frame.seconds

    def prepare(self, splats: Splats, camera: Camera, rect: PixelRect, gaussians: _Gaussians) -> None:
        profile = splats.profile
        constants = (
            profile.near,
            profile.far,
            profile.alpha_min,
            profile.alpha_max,
            profile.transmittance_min,
            profile.eps2d,
        )
        K = camera.K
        self.frame.prepare(
            _array(gaussians.means),
            _array(gaussians.quats),
            _array(gaussians.scales),
            _array(gaussians.opacities),
            _array(camera.viewmat),
            np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], dtype=np.float32),
            camera.width,
            camera.height,
            [rect.left, rect.top, rect.left + rect.width, rect.top + rect.height],
            np.array(constants, dtype=np.float32),
            profile.antialiased,
            _EXTENTS[profile.extent],
        )
        self.rect = rect
        warn_undrawable(self.frame.undrawable, len(splats))

    def render(
        self, channels: Tensor, sh_degree: int | None, background: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Colours of harmonics up to a degree, or of features if there is none; alpha; expected depth."""
        size = (self.rect.height, self.rect.width)
        colors = torch.empty(*size, 3 if sh_degree is not None else channels.shape[1])
        alpha, depth = torch.empty(size), torch.empty(size)
        backdrop = None if background is None else _array(background)
        results = (colors.numpy(), alpha.numpy(), depth.numpy())
        if sh_degree is None:
            self.frame.render_features(_array(channels), backdrop, *results)
        else:
            self.frame.render_sh(_array(channels), sh_degree, backdrop, *results)
        self.note_times()
        return colors, alpha, depth

    def note_times(self) -> None:
        now = self.frame.seconds
        spent = {stage: now[stage] - self._before[stage] for stage in now}
        self.engine.stage_seconds = {stage: seconds for stage, seconds in spent.items() if seconds > 0.0}

    def give_back(self) -> None:
        self.note_times()
        with self.engine._lock:
            self.engine._idle_frames.append(self.frame)
        del self.frame

    def __del__(self) -> None:
        if hasattr(self, "frame"):
            self.engine._idle_frames.append(self.frame)


class _Picture(torch.autograd.Function):
    """One picture, differentiable in the Gaussians and their channels.

    ``means2d`` is an input that the picture does not read: it is there to receive the gradient of the positions on
    screen, which densification looks at.
    """

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,  # [N, 3]
        quats: Tensor,  # [N, 4]
        scales: Tensor,  # [N, 3]
        opacities: Tensor,  # [N]
        channels: Tensor,  # [N, K, 3] harmonics or [N, C] features
        background: Tensor | None,
        means2d: Tensor,  # [1, N, 2]
        lease: _Lease,
        sh_degree: int | None,
        absgrad: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        colors, alpha, depth = lease.render(channels, sh_degree, background)
        ctx.save_for_backward(means, quats, scales, opacities, channels, colors, alpha, depth)
        ctx.lease, ctx.sh_degree = lease, sh_degree
        ctx.means2d = means2d if absgrad else None
        ctx.set_materialize_grads(False)
        return colors, alpha, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_colors: Tensor | None, grad_alpha: Tensor | None, grad_depth: Tensor | None) -> Any:
        means, quats, scales, opacities, channels, colors, alpha, depth = ctx.saved_tensors
        grad_colors = torch.zeros_like(colors) if grad_colors is None else grad_colors
        grad_alpha = torch.zeros_like(alpha) if grad_alpha is None else grad_alpha
        to = [_zeros_like(tensor) for tensor in (means, quats, scales, opacities)]
        to_channels = _zeros_like(channels) if ctx.needs_input_grad[4] else None
        to_means2d = torch.zeros(len(means), 2)
        to_absgrad = None if ctx.means2d is None else torch.zeros(len(means), 2)
        is_sh = ctx.sh_degree is not None
        ctx.lease.frame.backward(
            *(_array(tensor) for tensor in (means, quats, scales, opacities)),
            _array(channels) if is_sh else None,
            ctx.sh_degree or 0,
            *(_array(tensor) for tensor in (colors, alpha, depth, grad_colors, grad_alpha)),
            None if grad_depth is None else _array(grad_depth),
            *(tensor.numpy() for tensor in to),
            to_channels.numpy() if is_sh and to_channels is not None else None,
            to_channels.numpy() if not is_sh and to_channels is not None else None,
            to_means2d.numpy(),
            None if to_absgrad is None else to_absgrad.numpy(),
        )
        ctx.lease.note_times()
        if ctx.means2d is not None and to_absgrad is not None:
            ctx.means2d.absgrad = to_absgrad[None]
        to_background = ((1.0 - alpha)[..., None] * grad_colors).sum((0, 1)) if ctx.needs_input_grad[5] else None
        return (*to, to_channels, to_background, to_means2d[None], None, None, None)


def _chosen_isa(isa: str | None) -> str:
    isas = available_isas()
    wanted = isa or os.environ.get("SPLATSEG_ISA") or isas[0]
    if wanted not in isas:
        raise ValueError(f"this processor has no instruction set {wanted!r}; SPLATSEG_ISA can be {', '.join(isas)}")
    return wanted


def _chosen_threads(threads: int | None) -> int:
    wanted = os.environ.get("SPLATSEG_THREADS", "") if threads is None else threads
    if wanted == "":
        return min(_usable_cores(), _MAX_THREADS)
    try:
        number = int(wanted)
    except ValueError:
        number = 0
    if not 1 <= number <= _MAX_THREADS:
        raise ValueError(f"threads (SPLATSEG_THREADS) must be a number from 1 to {_MAX_THREADS}, got {wanted!r}")
    return number


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _float(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", torch.float32).contiguous()


def _array(tensor: Tensor) -> np.ndarray:
    return _float(tensor.detach()).numpy()


def _zeros_like(tensor: Tensor) -> Tensor:
    return torch.from_numpy(_native.zeros(tensor.numel())).view(tensor.shape)


def _weights(pixels: PixelInputs) -> np.ndarray | None:
    weights = pixels.combined()
    return None if weights is None else _array(weights)


def _radii_for_installed_gsplat(radii: Tensor) -> Tensor:
    """[1, N, 2] for gsplat 1.5 and newer, whose strategies read both axes; else the larger of both, [1, N]."""
    return radii[None] if _gsplat_version() >= (1, 5) else radii.amax(dim=-1)[None]


@functools.cache
def _gsplat_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in metadata.version("gsplat").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return (1, 4)
