"""The reference engine: float64, slow and obvious; every other engine is tested against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.raster.inputs import PixelInputs, drawable_rows, warn_undrawable
from splatseg_ns.raster.interface import Rasterizer, Render, ViewVotes
from splatseg_ns.scene import Camera, PixelRect, RenderProfile, Splats
from splatseg_ns.scene.spherical_harmonics import sh_basis

TILE = 16

_ALPHA_DOUBT = 3e-4  # relative
_TRANSMITTANCE_DOUBT = 1e-3  # relative
_DEPTH_DOUBT = 2e-6  # relative
_EXTENT_DOUBT = 1e-3  # pixels


@dataclass(frozen=True)
class _Projected:
    """The Gaussians that are drawn, or would be with other rounding, front to back."""

    rows: Tensor  # [M] into the splats
    means2d: Tensor  # [M, 2]
    conics: Tensor  # [M, 2, 2] inverse covariances
    opacities: Tensor  # [M]
    depths: Tensor  # [M]
    radii: Tensor  # [M] whole pixels, 0 if it reaches no tile
    tiles: Tensor  # [V, M, 4] left, top, right, bottom (exclusive) in tiles: as it is, then as rounding could have it


@dataclass(frozen=True)
class _TileBlend:
    """What the Gaussians of one tile, front to back, contribute to its pixels."""

    pixels: Tensor  # [P] into the flattened window
    members: Tensor  # [G] into _Projected
    weights: Tensor  # [G, P] alpha * T
    transmittance: Tensor  # [P] what is left behind the last Gaussian
    borderline: Tensor  # [P] bool


class OracleRasterizer(Rasterizer):
    """Computes in float64 on the CPU whatever it is given, and returns float64; autograd differentiates it.

    ``info["borderline"]`` [H, W] marks the pixels of a render whose outcome hangs on rounding: engines of lower
    precision may rightly differ there.
    """

    device = torch.device("cpu")

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
        splats, camera, drawable = _in_double(splats, camera)
        projected = _project(splats, camera, drawable)
        if features is None:
            channels = _colors(splats, camera, projected.rows, sh_degree)
        else:
            channels = features.to("cpu", torch.float64)[projected.rows]

        means2d = torch.zeros(len(splats), 2, dtype=torch.float64)
        means2d[projected.rows] = projected.means2d.detach()
        trained = any(tensor.requires_grad for tensor in splats.tensors().values())
        means2d = means2d[None].requires_grad_(trained and torch.is_grad_enabled())
        absolute = torch.zeros_like(means2d) if absgrad else None
        if absgrad:
            means2d.absgrad = absolute  # pyright: ignore[reportAttributeAccessIssue]
        # Adds nothing, but makes every gradient with respect to a projected mean arrive at the leaf too.
        nothing = (means2d - means2d.detach())[0, projected.rows]
        centers = projected.means2d + nothing

        blends = list(_blend_tiles(projected, centers, camera, splats.profile, rect, absolute))
        place = torch.cat([blend.pixels for blend in blends]).argsort()
        left = torch.cat([blend.transmittance for blend in blends])[place]
        colors = torch.cat([blend.weights.T @ channels[blend.members] for blend in blends])[place]
        if background is not None:
            colors = colors + left[:, None] * background.to("cpu", torch.float64)
        alpha = 1.0 - left
        summed = torch.cat([blend.weights.T @ projected.depths[blend.members] for blend in blends])[place]
        depth = torch.where(alpha > 0, summed / torch.where(alpha > 0, alpha, 1.0), 0.0)

        radii = torch.zeros(1, len(splats), dtype=torch.int32)
        radii[0, projected.rows] = projected.radii.clamp_max(2**31 - 1).int()
        shape = (rect.height, rect.width)
        info = {
            "means2d": means2d,
            "radii": radii,
            "gaussian_ids": None,
            "width": camera.width,
            "height": camera.height,
            "n_cameras": 1,
            "borderline": torch.cat([blend.borderline for blend in blends])[place].reshape(shape),
        }
        return Render(colors.reshape(*shape, -1), alpha.reshape(shape), depth.reshape(shape), info)

    def _votes(
        self,
        splats: Splats,
        camera: Camera,
        columns: Tensor,  # [H, W]
        ids: Tensor,  # [L]
        pixels: PixelInputs,
        rect: PixelRect,
    ) -> ViewVotes:
        factors = _window(_factors(pixels, camera), rect)
        columns = _window(columns, rect)
        splats, camera, drawable = _in_double(splats, camera)
        projected = _project(splats, camera, drawable)
        seen = torch.zeros(len(splats), dtype=torch.float64)
        keys, masses = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.float64)]
        for blend in _blend_tiles(projected, projected.means2d, camera, splats.profile, rect, None):
            rows = projected.rows[blend.members]
            weights = blend.weights * factors[blend.pixels]
            seen[rows] += weights.sum(dim=1)
            here = columns[blend.pixels]
            for column in here[here >= 0].unique().tolist():
                keys.append(rows * len(ids) + column)
                masses.append(weights[:, here == column].sum(dim=1))
        entries, place = torch.cat(keys).unique(return_inverse=True)
        mass = torch.zeros(len(entries), dtype=torch.float64).index_add(0, place, torch.cat(masses))
        entries, mass = entries[mass > 0], mass[mass > 0]
        counts = torch.bincount(entries // max(len(ids), 1), minlength=len(splats))
        offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        return ViewVotes(ids.cpu(), offsets, entries % max(len(ids), 1), mass, seen)

    def _lift(
        self,
        splats: Splats,
        camera: Camera,
        values: Tensor,  # [H, W, C]
        pixels: PixelInputs,
        rect: PixelRect,
    ) -> Tensor:  # [N, C]
        factors = _window(_factors(pixels, camera), rect)[:, None]
        values = _window(values, rect).double()
        # Not a plain product: a pixel that counts for nothing may hold NaN.
        values = torch.where(factors > 0, values * factors, 0.0)
        splats, camera, drawable = _in_double(splats, camera)
        projected = _project(splats, camera, drawable)
        lifted = torch.zeros(len(splats), values.shape[1], dtype=torch.float64)
        for blend in _blend_tiles(projected, projected.means2d, camera, splats.profile, rect, None):
            lifted[projected.rows[blend.members]] += blend.weights @ values[blend.pixels]
        return lifted


def _in_double(splats: Splats, camera: Camera) -> tuple[Splats, Camera, Tensor]:
    """Both in float64 on the CPU, and the rows of the splats that can be drawn."""
    drawable = drawable_rows(splats).cpu()
    warn_undrawable(int((~drawable).sum()), len(splats))
    return splats.to("cpu").to(torch.float64), camera.to("cpu").to(torch.float64), drawable.nonzero().flatten()


def _factors(pixels: PixelInputs, camera: Camera) -> Tensor:  # [H, W]
    """How much each pixel counts."""
    combined = pixels.combined()
    return torch.ones(camera.height, camera.width).double() if combined is None else combined.double()


def _window(picture: Tensor, rect: PixelRect) -> Tensor:  # [P, ...]
    """The pixels of a window in one row, on the CPU."""
    return picture[rect.slices].flatten(0, 1).cpu()


def _project(splats: Splats, camera: Camera, rows: Tensor) -> _Projected:
    """The ellipses in the picture of those Gaussians among ``rows`` that are drawn."""
    profile = splats.profile
    rotation, shift = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    in_camera = splats.means[rows] @ rotation.T + shift
    order = in_camera[:, 2].detach().argsort(stable=True)
    order = order[(in_camera[order, 2] > profile.near) & (in_camera[order, 2] < profile.far)]
    rows, in_camera = rows[order], in_camera[order]

    x, y, z = in_camera.unbind(-1)
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    u = _held_near_picture(x / z, fx, cx, camera.width)
    v = _held_near_picture(y / z, fy, cy, camera.height)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], dim=-1).reshape(-1, 2, 3)
    axes = jacobian @ rotation @ _rotations(splats.raw_quats[rows]) * splats.log_scales[rows].exp()[:, None, :]
    sharp = axes @ axes.mT
    covariances = sharp + profile.eps2d * torch.eye(2, dtype=torch.float64)

    determinants = _determinant(covariances)
    solid = (determinants > 0) & determinants.isfinite() & means2d.isfinite().all(dim=-1)
    rows, means2d, depths, sharp = rows[solid], means2d[solid], z[solid], sharp[solid]
    covariances, determinants = covariances[solid], determinants[solid]

    opacities = splats.logit_opacities[rows].sigmoid()
    if profile.antialiased:
        kept = _determinant(sharp) / determinants
        opacities = opacities * torch.where(kept > 0, torch.where(kept > 0, kept, 1.0).sqrt(), 0.0)

    with torch.no_grad():
        reach = _reach(covariances, determinants, opacities, profile)
        doubt = (-_EXTENT_DOUBT, _EXTENT_DOUBT)
        roundings = [(0.0, 0.0), *((move, growth) for move in doubt for growth in doubt)]
        tiles = torch.stack(
            [_tiles(means2d + move, (reach + grow).ceil(), camera, profile) for move, grow in roundings]
        )
        reached = (tiles[..., 2:] > tiles[..., :2]).all(dim=-1)  # [V, M]
        radii = torch.where(reached[0], reach.ceil().amax(dim=-1), 0.0)

    a, b, c = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    conics = torch.stack([c, -b, -b, a], dim=-1).reshape(-1, 2, 2) / determinants[:, None, None]
    drawn = reached.any(dim=0)
    return _Projected(
        rows[drawn], means2d[drawn], conics[drawn], opacities[drawn], depths[drawn], radii[drawn], tiles[:, drawn]
    )


def _held_near_picture(slope: Tensor, focal: Tensor, center: Tensor, size: int) -> Tensor:  # [M]
    """Slopes of rays, at most 15 % of the picture outside of it: farther out the linearisation is useless."""
    margin = 0.15 * size / focal
    return slope.clamp(-center / focal - margin, (size - center) / focal + margin)


def _rotations(quats: Tensor) -> Tensor:  # [M, 3, 3]
    """Rotation matrices of quaternions wxyz of any length."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    entries = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(entries, dim=-1).reshape(-1, 3, 3)


def _determinant(matrices: Tensor) -> Tensor:  # [M]
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _reach(covariances: Tensor, determinants: Tensor, opacities: Tensor, profile: RenderProfile) -> Tensor:  # [M, 2]
    """How far a Gaussian may reach from its centre along x and y, in pixels; -inf if it is not drawn."""
    mean_variance = 0.5 * (covariances[:, 0, 0] + covariances[:, 1, 1])
    floor = {"three_sigma": 0.01, "inria": 0.1, "opacity_aware": 0.0, "ellipse": 0.0}[profile.extent]
    longest = (mean_variance + (mean_variance**2 - determinants).clamp_min(floor).sqrt()).sqrt()[:, None]
    if profile.extent in ("three_sigma", "inria"):
        return (3.0 * longest).expand(-1, 2)
    deviations = (2.0 * (opacities / profile.alpha_min).log()).clamp_min(0.0).sqrt()[:, None]
    if profile.extent == "opacity_aware":
        reach = deviations.clamp_max(3.33) * covariances.diagonal(dim1=1, dim2=2).sqrt()
    else:
        reach = (deviations * longest).expand(-1, 2)
    return torch.where(opacities[:, None] < profile.alpha_min, -torch.inf, reach)


def _tiles(means2d: Tensor, radii: Tensor, camera: Camera, profile: RenderProfile) -> Tensor:  # [M, 4]
    """Left, top, right and bottom (exclusive) of the tiles that squares of the given radii reach; 0 if none."""
    size = torch.tensor([camera.width, camera.height])
    grid = (size + TILE - 1) // TILE
    if profile.extent == "inria":
        first = ((means2d - 0.5 - radii) / TILE).trunc()
        last = ((means2d - 0.5 + radii + TILE - 1) / TILE).trunc()
        outside = radii < 0
    else:
        first, last = ((means2d - radii) / TILE).floor(), ((means2d + radii) / TILE).ceil()
        outside = (means2d + radii <= 0) | (means2d - radii >= size) | (radii < 0)
    if profile.extent == "ellipse":
        first, last = torch.zeros_like(first), grid.expand_as(last)
    corners = torch.cat([first.clamp(min=0).minimum(grid), last.clamp(min=0).minimum(grid)], dim=-1)
    return torch.where(outside.any(dim=-1, keepdim=True), 0, corners.nan_to_num().long())


def _colors(splats: Splats, camera: Camera, rows: Tensor, degree: int) -> Tensor:  # [M, 3]
    """The colours that the camera sees."""
    directions = torch.nn.functional.normalize(splats.means[rows] - camera.position, dim=-1)
    basis = sh_basis(directions, degree)
    return (torch.einsum("mk,mkc->mc", basis, splats.sh[rows, : basis.shape[1]]) + 0.5).clamp_min(0.0)


def _blend_tiles(
    projected: _Projected,
    centers: Tensor,  # [M, 2]
    camera: Camera,
    profile: RenderProfile,
    rect: PixelRect,
    absolute: Tensor | None,  # [1, N, 2] collects the sums over pixels of |d loss / d mean|
) -> Iterator[_TileBlend]:
    """Blends each tile of the window by itself."""
    for top in range(rect.top // TILE * TILE, rect.top + rect.height, TILE):
        for left in range(rect.left // TILE * TILE, rect.left + rect.width, TILE):
            ys = torch.arange(max(top, rect.top), min(top + TILE, rect.top + rect.height))
            xs = torch.arange(max(left, rect.left), min(left + TILE, rect.left + rect.width))
            y, x = (axis.flatten() for axis in torch.meshgrid(ys, xs, indexing="ij"))
            pixels = (y - rect.top) * rect.width + (x - rect.left)
            tile = torch.tensor([left // TILE, top // TILE])
            inside = ((projected.tiles[..., :2] <= tile) & (tile < projected.tiles[..., 2:])).all(dim=-1)  # [V, M]
            members = inside.any(dim=0).nonzero().flatten()
            inside = inside[:, members]
            yield _blend_tile(
                projected, centers, profile, torch.stack([x, y], -1) + 0.5, pixels, members, inside, absolute
            )


def _blend_tile(
    projected: _Projected,
    centers: Tensor,  # [M, 2]
    profile: RenderProfile,
    points: Tensor,  # [P, 2]
    pixels: Tensor,  # [P]
    members: Tensor,  # [G]
    inside: Tensor,  # [V, G] bool
    absolute: Tensor | None,  # [1, N, 2] collects the sums over pixels of |d loss / d mean|
) -> _TileBlend:
    offsets = points - centers[members][:, None]  # [G, P, 2]
    if absolute is not None and offsets.requires_grad:
        rows = projected.rows[members]

        def collect(gradient: Tensor) -> None:  # [G, P, 2]
            absolute[0].index_add_(0, rows, gradient.abs().sum(dim=1))

        offsets.register_hook(collect)
    sigmas = 0.5 * torch.einsum("gpi,gij,gpj->gp", offsets, projected.conics[members], offsets)
    alphas = (projected.opacities[members][:, None] * (-sigmas).exp()).clamp_max(profile.alpha_max)

    counts = (alphas >= profile.alpha_min) & inside[0][:, None]
    # Never rises, so the Gaussians from the one that finishes the pixel on are those that find it too low.
    behind = (1.0 - torch.where(counts, alphas, 0.0)).cumprod(dim=0).detach()
    drawn = counts & (behind > profile.transmittance_min)
    alphas_drawn = torch.where(drawn, alphas, 0.0)
    through = torch.cat([torch.ones(1, len(points)).double(), (1.0 - alphas_drawn).cumprod(dim=0)])

    with torch.no_grad():
        reached = torch.cat([torch.ones(1, len(points)).double(), behind])[:-1] > profile.transmittance_min
        faint = (alphas / profile.alpha_min - 1.0).abs() < _ALPHA_DOUBT
        finishing = counts & ((behind / profile.transmittance_min - 1.0).abs() < _TRANSMITTANCE_DOUBT)
        depths = torch.where(drawn, projected.depths[members][:, None], -torch.inf)
        nearer = torch.cat([torch.full((1, len(points)), -torch.inf).double(), depths.cummax(dim=0).values])[:-1]
        tied = drawn & (depths - nearer < _DEPTH_DOUBT * depths)
        cut = (inside != inside[0]).any(dim=0)[:, None] & (alphas >= profile.alpha_min * (1.0 - _ALPHA_DOUBT))
        borderline = (reached & (faint & inside[0][:, None] | finishing | tied | cut)).any(dim=0)
    return _TileBlend(pixels, members, alphas_drawn * through[:-1], through[-1], borderline)
