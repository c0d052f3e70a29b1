"""How objects look once they are cut out: ``python -m benchmarks.boundary --data CAPTURE --ply SPLATS``.

Every object that the masks of the training views make is drawn alone from the held-out views and compared with its true
mask and its picture. Pixels of other objects do not count: they may hide it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from scipy import ndimage
from torch import Tensor

from splatseg_ns.edit.pixels import pixels_of, projected_points
from splatseg_ns.lift import Evidence, FlashSplat, Labels, Refine, isolated_labels, refine
from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import Camera, Capture, Splats, View, read_ply

SPIKE = 4
"""Pixels off the mask from which on what is drawn is no edge."""

LEAST_SHARE = 0.0005
"""Of a picture: what is smaller is not judged."""

_FAINT, _SOLID = 0.1, 0.5
_ENDS = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
"""Standard deviations along the longest axis at which a Gaussian is asked whether it is still inside."""

_LONG = 2.0
"""How many times as long as the next axis the longest one is, from which on a Gaussian is a needle or a blade."""


@dataclass(frozen=True)
class Looks:
    """What is wrong with an object that stands alone; each the mean over held-out views."""

    silhouette: float
    """IoU of where alpha is above .5 with the true mask."""

    faint_silhouette: float
    """The same above .1."""

    spikes: float
    """Pixels above .1 that are more than ``SPIKE`` off the mask, for 100 pixels of its boundary."""

    bleeding: float
    """Mean difference to the picture in the three pixels inside the boundary, in grey levels of 255."""

    @staticmethod
    def mean(looks: Sequence[Looks]) -> Looks:
        """Of several."""
        table = torch.tensor([list(vars(entry).values()) for entry in looks], dtype=torch.float64)
        return Looks(*table.mean(dim=0).tolist())


def looks_of(
    rasterizer: Rasterizer,
    splats: Splats,
    rows: Tensor,  # [N] bool, the object's Gaussians
    views: Sequence[View],
    object: int,
) -> Looks | None:
    """None if no view shows enough of the object."""
    part, found = splats.subset(rows), []
    for view in views:
        labels = view.label_map()
        assert labels is not None
        mask = labels == object
        if float(mask.double().mean()) < LEAST_SHARE:
            continue
        drawn = rasterizer.render(part, view.camera)
        counted = mask | (labels == 0)
        solid, faint = ((drawn.alpha > least) & counted for least in (_SOLID, _FAINT))
        outside = torch.from_numpy(ndimage.distance_transform_edt(~mask.numpy()))
        depth = torch.from_numpy(ndimage.distance_transform_edt(mask.numpy()))
        # The edge towards other objects is not the object's own.
        towards_others = torch.from_numpy(ndimage.binary_dilation((~counted).numpy(), iterations=3))
        rim = mask & (depth > 1.0) & (depth <= 4.0) & ~towards_others
        edge = int((mask & (depth <= 1.0)).sum())
        picture = view.image().float()
        difference = (drawn.colors.clamp(0.0, 1.0) * 255.0 - picture).abs().mean(dim=-1)
        found.append(
            Looks(
                _iou(solid, mask),
                _iou(faint, mask),
                100.0 * float((faint & (outside > SPIKE)).sum()) / max(edge, 1),
                float(difference[rim].mean()) if bool(rim.any()) else 0.0,
            )
        )
    return Looks.mean(found) if found else None


def shortened(
    splats: Splats,
    labels: Labels,
    views: Sequence[View],
    objects: Sequence[int],
    least: float = 0.25,
) -> Splats:
    """Long Gaussians of objects, the longest axis so short that its ends are inside the masks in half of the views.

    Of each view in which the middle is inside, how far one can go both ways without leaving the mask; pixels of other
    objects count as inside, for there the object may be behind them. The median of three standard deviations' share
    is what is left of the axis, and never less than ``least``.
    """
    scales = splats.scales
    longest = scales.argmax(dim=1)
    sorted_scales = scales.sort(dim=1).values
    long = sorted_scales[:, 2] > _LONG * sorted_scales[:, 1]
    axes = _rotations(splats.quats)[torch.arange(len(splats)), :, longest] * sorted_scales[:, 2:]
    log_scales = splats.log_scales.clone()
    for object in objects:
        rows = (labels.rows(object) & long).nonzero().flatten()
        shares: list[Tensor] = []
        for view in views:
            labels_here = view.label_map()
            assert labels_here is not None
            inside = labels_here != 0
            own = labels_here == object
            middle = _at(own, view.camera, splats.means[rows])
            reach, whole = torch.zeros(len(rows)), torch.ones(len(rows), dtype=torch.bool)
            for end in _ENDS:
                for side in (-1.0, 1.0):
                    whole &= _at(inside, view.camera, splats.means[rows] + side * end * axes[rows])
                reach[whole] = float(end / _ENDS[-1])
            shares.append(torch.where(middle, reach, torch.nan))
        if len(rows) and shares:
            share = torch.stack(shares).nanmedian(dim=0).values.nan_to_num(1.0).clamp(least, 1.0)
            log_scales[rows, longest[rows]] += share.log()
    return replace(splats, log_scales=log_scales)


def reunited_difference(
    rasterizer: Rasterizer, splats: Splats, labels: Labels, objects: Sequence[int], views: Sequence[View]
) -> float:
    """The greatest difference of any pixel between the scene and its parts put together again."""
    parts = [splats.subset(labels.rows(object)) for object in objects]
    parts.append(splats.subset(~torch.isin(labels.ids, torch.tensor(list(objects)))))
    together = replace(
        splats, **{name: torch.cat([part.tensors()[name] for part in parts]) for name in splats.tensors()}
    )
    differences = [
        (rasterizer.render(splats, view.camera).colors - rasterizer.render(together, view.camera).colors).abs().max()
        for view in views
    ]
    return float(torch.stack(differences).max())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a capture with true label maps in labels/")
    parser.add_argument("--ply", type=Path, required=True, help="its splats")
    parser.add_argument("--steps", type=int, default=300, help="of refinement")
    options = parser.parse_args(arguments)
    capture, splats, engine = Capture.load(options.data), read_ply(options.ply), rasterizer_for("cpu")
    training, held_out = capture.with_split("train").views, capture.with_split("val", "test").views
    solution = FlashSplat().solve(Evidence.of(engine, splats, training))
    labels = solution.labels
    objects = [id for id in labels.objects.tolist() if id > 0]

    print(f"{len(splats)} Gaussians, {len(objects)} objects, {len(held_out)} held-out views\n")
    print("| objects, alone | silhouette IoU, alpha > .5 | > .1 | spikes | colour off at the rim |")
    print("|---|---:|---:|---:|---:|")

    def report(name: str, splats: Splats, labels: Labels) -> None:
        found = [looks_of(engine, splats, labels.rows(object), held_out, object) for object in objects]
        looks = Looks.mean([entry for entry in found if entry is not None])
        print(
            f"| {name} | {100 * looks.silhouette:.1f} | {100 * looks.faint_silhouette:.1f} | {looks.spikes:.1f} | "
            f"{looks.bleeding:.1f} |",
            flush=True,
        )

    def revoted(splats: Splats, labels: Labels) -> Labels:
        return isolated_labels(engine, splats, training, labels, objects=objects)

    report("as labelled", splats, labels)
    alone = revoted(splats, labels)
    report("re-vote", splats, alone)
    report("axes shortened", shortened(splats, labels, training, objects), labels)
    report("re-vote, axes shortened", shortened(splats, alone, training, objects), alone)
    fitted = refine(engine, splats, training, config=Refine(steps=options.steps), labels=labels)
    report("refine", fitted.splats, fitted.solution.labels)
    fitted_alone = revoted(fitted.splats, fitted.solution.labels)
    report("refine, re-vote", fitted.splats, fitted_alone)
    report("refine, re-vote, axes shortened", shortened(fitted.splats, fitted_alone, training, objects), fitted_alone)
    difference = reunited_difference(engine, splats, alone, objects, held_out)
    print(f"\nParts put together again: at most {difference:.2g} off the scene's render, of 1")


def _iou(drawn: Tensor, mask: Tensor) -> float:
    return float((drawn & mask).sum()) / max(float((drawn | mask).sum()), 1.0)


def _at(
    mask: Tensor,  # [H, W] bool
    camera: Camera,
    points: Tensor,  # [M, 3]
) -> Tensor:  # [M] bool, False outside of the picture
    pixels, _, inside = projected_points(camera, points.double())
    return inside & mask[pixels_of(camera, pixels)]


def _rotations(
    quats: Tensor,  # [N, 4] wxyz, of length one
) -> Tensor:  # [N, 3, 3]
    w, x, y, z = quats.unbind(dim=1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


if __name__ == "__main__":
    main()
