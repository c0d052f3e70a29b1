"""The CUDA engine: pictures by gsplat's kernels, and votes as the gradient of a picture in its colours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splatseg_ns.raster.inputs import PixelInputs, drawable_rows, warn_undrawable
from splatseg_ns.raster.interface import Rasterizer, Render, ViewVotes
from splatseg_ns.scene import PROFILES, Camera, PixelRect, RenderProfile, Splats

CHANNELS = 32
"""Channels per pass: the most that gsplat's kernels take at once without slowing down."""

_TOLD_TO_GSPLAT = ("name", "near", "far", "eps2d", "antialiased")
"""Fields of a render profile that ``gsplat.rasterization`` takes as arguments; the others are fixed in its kernels."""

_USE_CPU = "or use the CPU engine (device 'cpu')"


class CudaRasterizer(Rasterizer):
    """gsplat on an NVIDIA GPU, in float32.

    ``votes`` costs one forward and one backward pass of the whole picture for every 32 labels present among the pixels
    that count (labels without a column count as one); ``lift`` the same for every 32 channels. A crop makes neither
    cheaper. Sums are collected by atomic additions, so two runs can differ in the last bits.
    """

    def __init__(self, device: torch.device | str = "cuda") -> None:
        problem = cuda_problem()
        if problem is not None:
            raise RuntimeError(problem)
        self.device = torch.device(device)
        self._rasterization, self._version = _load_gsplat()
        self._warned: set[RenderProfile] = set()

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
        count = 3 if features is None else features.shape[1]
        if absgrad and count >= CHANNELS:
            raise ValueError(f"absgrad works for up to {CHANNELS - 1} channels on CUDA, got {count}")
        scene, camera = self._prepare(splats, camera)
        if len(scene) == 0:
            colors, alpha, depth, info = _empty_render(scene, camera, count)
        else:
            blended = scene.sh if features is None else features.to(self.device, torch.float32)
            picture, alpha, info = self._rasterize(
                scene,
                camera,
                blended,
                sh_degree=sh_degree if features is None else None,
                render_mode="RGB+ED",
                absgrad=absgrad,
            )
            colors, depth, alpha = picture[0, ..., :-1], picture[0, ..., -1], alpha[0, ..., 0]
        if info["means2d"].requires_grad:
            info["means2d"].retain_grad()
        if background is not None:
            colors = colors + (1.0 - alpha)[..., None] * background.to(self.device, torch.float32)
        # The projection's Jacobian is clamped at the borders of the picture: only a cut from the whole one is the same.
        window = rect.slices
        return Render(colors[window], alpha[window], depth[window], info)

    def _votes(
        self,
        splats: Splats,
        camera: Camera,
        columns: Tensor,  # [H, W] int, -1 where the label has no column
        ids: Tensor,  # [L]
        pixels: PixelInputs,
        rect: PixelRect,
    ) -> ViewVotes:
        scene, camera = self._prepare(splats, camera)
        columns = columns.to(self.device)
        factor = self._pixel_factor(pixels, camera, rect)
        seen = torch.zeros(len(scene), dtype=torch.float64, device=self.device)
        rows, entries, mass = [], [], []
        present = columns[factor > 0].unique()
        for start in range(0, len(present), CHANNELS):
            part = present[start : start + CHANNELS]
            sums = self._pull_back(scene, camera, (columns[..., None] == part) * factor[..., None])
            seen += sums.sum(dim=1, dtype=torch.float64)
            sums = sums * (part >= 0)
            row, channel = sums.nonzero(as_tuple=True)
            rows.append(row)
            entries.append(part[channel].long())
            mass.append(sums[row, channel])
        return _as_view_votes(ids.to(self.device), seen.float(), rows, entries, mass)

    def _lift(self, splats: Splats, camera: Camera, values: Tensor, pixels: PixelInputs, rect: PixelRect) -> Tensor:
        scene, camera = self._prepare(splats, camera)
        factor = self._pixel_factor(pixels, camera, rect)[..., None]
        # Not a plain product: what stands at a pixel that counts for nothing may be NaN.
        weighted = torch.where(factor > 0, values.to(self.device, torch.float32) * factor, 0.0)
        parts = [self._pull_back(scene, camera, part) for part in weighted.split(CHANNELS, dim=-1)]
        return torch.cat(parts, dim=1)

    def _prepare(self, splats: Splats, camera: Camera) -> tuple[Splats, Camera]:
        """Scene and camera in float32 on the device, with Gaussians that cannot be drawn put out of sight."""
        self._warn_of_profile(splats.profile)
        scene, camera = splats.to(self.device).to(torch.float32), camera.to(self.device).to(torch.float32)
        good = drawable_rows(scene)
        bad_count = len(scene) - int(good.sum())
        if bad_count == 0:
            return scene, camera
        warn_undrawable(bad_count, len(scene))
        return _out_of_sight(scene, good, camera), camera

    def _pixel_factor(self, pixels: PixelInputs, camera: Camera, rect: PixelRect) -> Tensor:  # [H, W] float32
        """How much each pixel counts, 0 outside the window."""
        factor = torch.zeros(camera.height, camera.width, device=self.device)
        given = pixels.combined()
        factor[rect.slices] = 1.0 if given is None else given.to(factor)[rect.slices]
        return factor

    def _pull_back(
        self,
        scene: Splats,
        camera: Camera,
        cotangent: Tensor,  # [H, W, C]
    ) -> Tensor:  # [N, C]
        """The sums of alpha * T * cotangent over the pixels: the gradient of the picture in the Gaussians' colours."""
        colors = torch.zeros(len(scene), cotangent.shape[-1], device=self.device)
        if len(scene) == 0:
            return colors
        geometry = replace(scene, **{name: tensor.detach() for name, tensor in scene.tensors().items()})
        with torch.enable_grad():
            picture, _, _ = self._rasterize(geometry, camera, colors.requires_grad_())
            return torch.autograd.grad(picture, colors, cotangent[None].to(picture))[0]

    def _rasterize(
        self,
        scene: Splats,
        camera: Camera,
        colors: Tensor,  # [N, C], or [N, K, 3] with an sh_degree
        *,
        sh_degree: int | None = None,
        render_mode: str = "RGB",
        absgrad: bool = False,
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:  # [1, H, W, C], [1, H, W, 1], info
        profile = scene.profile
        return self._rasterization(
            means=scene.means,
            quats=scene.quats,
            scales=scene.scales,
            opacities=scene.opacities,
            colors=colors,
            viewmats=camera.viewmat[None],
            Ks=camera.K[None],
            width=camera.width,
            height=camera.height,
            near_plane=profile.near,
            far_plane=profile.far,
            eps2d=profile.eps2d,
            sh_degree=sh_degree,
            packed=False,
            tile_size=16,
            render_mode=render_mode,
            absgrad=absgrad,
            rasterize_mode="antialiased" if profile.antialiased else "classic",
            channel_chunk=CHANNELS,
        )

    def _warn_of_profile(self, profile: RenderProfile) -> None:
        """Say, once per profile, what the installed gsplat does otherwise."""
        if profile in self._warned:
            return
        self._warned.add(profile)
        installed = _installed_profile(self._version)
        differences = [
            f"{field.name} {getattr(installed, field.name)} instead of {getattr(profile, field.name)}"
            for field in fields(RenderProfile)
            if field.name not in _TOLD_TO_GSPLAT and getattr(installed, field.name) != getattr(profile, field.name)
        ]
        if differences:
            warnings.warn(
                f"gsplat {self._version} renders as profile {installed.name!r}, the splats have profile "
                f"{profile.name!r}; on CUDA they are drawn with {', '.join(differences)}",
                UserWarning,
                stacklevel=5,
            )


def cuda_problem() -> str | None:
    """Why pictures cannot be drawn on CUDA and what to do, in one line; None if they can. Loads no kernels."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA; install one with CUDA from PyPI, {_USE_CPU}"
    if not torch.cuda.is_available():
        return (
            "torch sees no NVIDIA GPU; see whether nvidia-smi lists one and CUDA_VISIBLE_DEVICES does not hide it, "
            f"{_USE_CPU}"
        )
    package = find_spec("gsplat")
    if package is None:
        return f"gsplat is not installed; pip install gsplat, {_USE_CPU}"
    prebuilt = PathFinder.find_spec("gsplat.csrc", package.submodule_search_locations)
    if prebuilt is not None and prebuilt.origin is not None:
        return None
    return _build_problem()


def _build_problem() -> str | None:
    """Why gsplat cannot compile its kernels, or load those that it compiled before (it needs the tools for both)."""
    wanted = f"{torch.version.cuda}".split(".")[0]
    nvcc = _find_nvcc()
    if nvcc is None:
        return (
            f"gsplat needs nvcc for its kernels and finds none; install the CUDA {wanted} toolkit and put its bin "
            f"folder on PATH, or install a prebuilt wheel of gsplat, {_USE_CPU}"
        )
    if shutil.which("ninja") is None:
        return f"gsplat needs ninja for its kernels; activate the environment that has it on PATH, {_USE_CPU}"
    if _kernels_were_built():
        return None
    found = _nvcc_major(nvcc)
    if found != wanted:
        return (
            f"gsplat cannot compile its kernels: nvcc is of CUDA {found or '(unknown)'}, torch of CUDA "
            f"{torch.version.cuda}; put nvcc of a CUDA {wanted} toolkit first on PATH, {_USE_CPU}"
        )
    return None


def _find_nvcc() -> str | None:
    """The compiler that gsplat would call: 1.4 looks on PATH alone, 1.5 also where torch looks for a toolkit."""
    on_path = shutil.which("nvcc")
    if on_path is not None or _release(_load_gsplat()[1]) < (1, 5):
        return on_path
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return shutil.which("nvcc", path=str(Path(home) / "bin"))


def _nvcc_major(nvcc: str) -> str | None:
    """The major CUDA version of a compiler, None if it does not say."""
    try:
        answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"release (\d+)\.", answer)
    return match.group(1) if match else None


def _kernels_were_built() -> bool:
    """Whether gsplat compiled its kernels before, in the folder where torch keeps what it compiles."""
    from torch.utils.cpp_extension import get_default_build_root

    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    if root is None:
        abi = f"py{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}"
        root = str(Path(get_default_build_root()) / f"{abi}_cu{torch.version.cuda}".replace(".", ""))
    return (Path(root) / "gsplat_cuda" / "gsplat_cuda.so").is_file()


def _load_gsplat() -> tuple[Callable[..., tuple[Tensor, Tensor, dict[str, Any]]], str]:
    """gsplat's one entry point, and its version."""
    import gsplat

    return gsplat.rasterization, gsplat.__version__


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _installed_profile(version: str) -> RenderProfile:
    """What this version of gsplat has fixed in its kernels."""
    return PROFILES["gsplat-1.4" if _release(version) < (1, 5) else "gsplat-1.5"]


def _out_of_sight(
    scene: Splats,
    good: Tensor,  # [N] bool
    camera: Camera,
) -> Splats:
    """The same scene with every other Gaussian replaced by a harmless one behind the camera, which is never drawn."""
    behind = camera.position - camera.viewmat[2, :3]
    harmless = {
        "means": behind,
        "raw_quats": torch.tensor([1.0, 0.0, 0.0, 0.0], device=good.device),
        "log_scales": torch.zeros(3, device=good.device),
        "logit_opacities": torch.zeros((), device=good.device),
        "sh": torch.zeros(scene.sh.shape[1:], device=good.device),
    }
    chosen = {
        name: torch.where(good.view(-1, *[1] * (tensor.dim() - 1)), tensor, harmless[name])
        for name, tensor in scene.tensors().items()
    }
    return replace(scene, **chosen)


def _empty_render(scene: Splats, camera: Camera, count: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    """Picture [H, W, C], alpha [H, W], depth [H, W] and info of a scene without Gaussians."""
    means2d = scene.means[None, :, :2]
    # The sum of nothing is 0, and keeps the picture differentiable.
    alpha = torch.zeros(camera.height, camera.width, device=scene.device) + means2d.sum()
    info = {
        "means2d": means2d,
        "radii": torch.zeros(1, 0, dtype=torch.int32, device=scene.device),
        "gaussian_ids": None,
        "width": camera.width,
        "height": camera.height,
        "n_cameras": 1,
    }
    return alpha[..., None].expand(-1, -1, count), alpha, alpha, info


def _as_view_votes(
    ids: Tensor,  # [L]
    seen: Tensor,  # [N]
    rows: list[Tensor],  # of each pass, [M_i]
    columns: list[Tensor],
    mass: list[Tensor],
) -> ViewVotes:
    """The entries of all passes in the order of the Gaussians; the passes come in the order of the columns."""
    nothing = seen.new_zeros(0)
    row = torch.cat([nothing.long(), *rows])
    order = row.argsort(stable=True)
    counts = torch.bincount(row, minlength=len(seen))
    return ViewVotes(
        ids=ids,
        offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        columns=torch.cat([nothing.long(), *columns])[order],
        mass=torch.cat([nothing, *mass])[order],
        seen=seen,
    )
