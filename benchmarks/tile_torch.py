"""What vectorised torch can do: one [pixels, Gaussians] block for every tile. The yardstick for the engines' speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from splatseg_ns.scene import Camera, Splats
from splatseg_ns.scene.spherical_harmonics import sh_basis

TILE = 16


@dataclass(frozen=True)
class _Ellipses:
    """The Gaussians that reach the picture, front to back."""

    rows: Tensor  # [M] into the splats
    centers: Tensor  # [M, 2]
    conics: Tensor  # [M, 3] the inverse covariance: xx, xy, yy
    opacities: Tensor  # [M]
    depths: Tensor  # [M]
    tiles: Tensor  # [M, 4] left, top, right, bottom (exclusive)


@dataclass(frozen=True)
class _Block:
    """One tile: what each of its Gaussians gives to each of its pixels."""

    members: Tensor  # [G] into the ellipses
    window: tuple[slice, slice]
    weights: Tensor  # [P, G] alpha * T


@torch.no_grad()
def forward(splats: Splats, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:  # [H, W, 3], [H, W], [H, W]
    """Colours, alpha and expected depth."""
    ellipses = _project(splats, camera)
    colors = _colors(splats, camera, ellipses.rows)
    picture = torch.zeros(camera.height, camera.width, 5)
    channels = torch.cat([colors, torch.ones(len(colors), 1), ellipses.depths[:, None]], dim=1)
    for block in _blocks(ellipses, splats, camera):
        target = picture[block.window]
        target.copy_((block.weights @ channels[block.members]).view_as(target))
    alpha = picture[..., 3]
    return picture[..., :3], alpha, torch.where(alpha > 0, picture[..., 4] / alpha.clamp_min(1e-10), 0.0)


@torch.no_grad()
def votes(
    splats: Splats,
    camera: Camera,
    label_map: Tensor,  # [H, W] below count
    count: int,
) -> Tensor:  # [N, count]
    """For every Gaussian the sums of alpha * T over the pixels of each label."""
    ellipses = _project(splats, camera)
    mass = torch.zeros(len(splats), count)
    for block in _blocks(ellipses, splats, camera):
        labels = label_map[block.window].flatten()
        present = labels.unique()
        sums = block.weights.T @ (labels[:, None] == present).float()  # [G, labels of the tile]
        mass[ellipses.rows[block.members][:, None], present] += sums
    return mass


def _project(splats: Splats, camera: Camera) -> _Ellipses:
    """Ellipses in the picture, sorted by depth; the tiles are those of gsplat 1.4, less those that no alpha reaches."""
    profile = splats.profile
    if profile.extent not in ("three_sigma", "ellipse") or profile.antialiased:
        raise ValueError(f"tile_torch draws classic three_sigma and ellipse profiles, not {profile}")
    rotation, shift = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    seen = splats.means @ rotation.T + shift
    rows = ((seen[:, 2] > profile.near) & (seen[:, 2] < profile.far)).nonzero().flatten()
    rows = rows[seen[rows, 2].argsort(stable=True)]
    x, y, z = seen[rows].unbind(-1)
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]

    u = (x / z).clamp(-cx / fx - 0.15 * camera.width / fx, (camera.width - cx) / fx + 0.15 * camera.width / fx)
    v = (y / z).clamp(-cy / fy - 0.15 * camera.height / fy, (camera.height - cy) / fy + 0.15 * camera.height / fy)
    axes = rotation @ _rotations(splats.quats[rows]) * splats.scales[rows][:, None]  # [M, 3, 3]
    along_x = (fx / z)[:, None] * (axes[:, 0] - u[:, None] * axes[:, 2])
    along_y = (fy / z)[:, None] * (axes[:, 1] - v[:, None] * axes[:, 2])
    xx = along_x.square().sum(dim=1) + profile.eps2d
    yy = along_y.square().sum(dim=1) + profile.eps2d
    xy = (along_x * along_y).sum(dim=1)
    determinant = xx * yy - xy * xy

    centers = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    opacities = splats.opacities[rows]
    # Half the box around the ellipse on which alpha falls to alpha_min: nothing is drawn outside of it.
    deviations = (2.0 * (opacities / profile.alpha_min).log()).clamp_min(0.0).sqrt()
    box = deviations[:, None] * torch.stack([xx, yy], dim=-1).sqrt()
    tiles = _tiles(centers, box, camera)
    if profile.extent == "three_sigma":
        mean = 0.5 * (xx + yy)
        longest = (mean + (mean.square() - determinant).clamp_min(0.01).sqrt()).sqrt()
        square = _tiles(centers, (3.0 * longest).ceil()[:, None].expand(-1, 2), camera)
        tiles = torch.cat([tiles[:, :2].maximum(square[:, :2]), tiles[:, 2:].minimum(square[:, 2:])], dim=1)
    kept = (tiles[:, 2:] > tiles[:, :2]).all(dim=1) & (determinant > 0) & (opacities >= profile.alpha_min)
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    return _Ellipses(rows[kept], centers[kept], conics[kept], opacities[kept], z[kept], tiles[kept])


def _tiles(centers: Tensor, reach: Tensor, camera: Camera) -> Tensor:  # [M, 4]
    """Left, top, right and bottom (exclusive) of the tiles under the boxes of the given half sizes."""
    grid = torch.tensor([_ceil_div(camera.width), _ceil_div(camera.height)])
    first, last = ((centers - reach) / TILE).floor(), ((centers + reach) / TILE).ceil()
    return torch.cat([first.clamp_min(0).minimum(grid), last.clamp_min(0).minimum(grid)], dim=1).long()


def _ceil_div(size: int) -> int:
    return -(-size // TILE)


def _blocks(ellipses: _Ellipses, splats: Splats, camera: Camera) -> Iterator[_Block]:
    """The tiles that any Gaussian reaches."""
    columns = _ceil_div(camera.width)
    tile_of, members = _pairs(ellipses.tiles, columns)
    for tile, part in zip(*_runs(tile_of, members), strict=True):
        top, left = tile // columns * TILE, tile % columns * TILE
        bottom, right = min(top + TILE, camera.height), min(left + TILE, camera.width)
        y = torch.arange(top, bottom).repeat_interleave(right - left) + 0.5
        x = torch.arange(left, right).repeat(bottom - top) + 0.5
        window = (slice(top, bottom), slice(left, right))
        yield _Block(part, window, _weights(ellipses, part, x, y, splats))


def _pairs(tiles: Tensor, columns: int) -> tuple[Tensor, Tensor]:  # [I], [I]
    """Every tile with every Gaussian that reaches it, tile by tile, front to back in each."""
    widths, heights = tiles[:, 2] - tiles[:, 0], tiles[:, 3] - tiles[:, 1]
    counts = widths * heights
    members = torch.repeat_interleave(torch.arange(len(tiles)), counts)
    place = torch.arange(len(members)) - (counts.cumsum(0) - counts)[members]
    width = widths[members]
    tile_of = (tiles[members, 1] + place // width) * columns + tiles[members, 0] + place % width
    order = tile_of.argsort(stable=True)
    return tile_of[order], members[order]


def _runs(tile_of: Tensor, members: Tensor) -> tuple[list[int], tuple[Tensor, ...]]:
    """The tiles, and the Gaussians of each."""
    present, counts = tile_of.unique_consecutive(return_counts=True)
    return present.tolist(), members.split(counts.tolist())


def _weights(ellipses: _Ellipses, members: Tensor, x: Tensor, y: Tensor, splats: Splats) -> Tensor:  # [P, G]
    """alpha * T of the Gaussians of one tile at its pixels."""
    profile = splats.profile
    centers, conics = ellipses.centers[members], ellipses.conics[members]
    dx, dy = x[:, None] - centers[:, 0], y[:, None] - centers[:, 1]
    sigma = 0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) + conics[:, 1] * dx * dy
    alpha = ellipses.opacities[members] * sigma.neg_().exp_()
    alpha = alpha.clamp_(max=profile.alpha_max).mul_(alpha >= profile.alpha_min)
    through = (1.0 - alpha).cumprod(dim=1)
    alpha.mul_(through > profile.transmittance_min)
    alpha[:, 1:].mul_(through[:, :-1])
    return alpha


def _colors(splats: Splats, camera: Camera, rows: Tensor) -> Tensor:  # [M, 3]
    directions = torch.nn.functional.normalize(splats.means[rows] - camera.position, dim=-1)
    basis = sh_basis(directions, splats.sh_degree)
    return (torch.einsum("mk,mkc->mc", basis, splats.sh[rows]) + 0.5).clamp_min_(0.0)


def _rotations(quats: Tensor) -> Tensor:  # [M, 3, 3]
    w, x, y, z = quats.unbind(-1)
    entries = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(entries, dim=-1).reshape(-1, 3, 3)
