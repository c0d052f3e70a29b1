"""How well holes are filled: python -m benchmarks.inpaint --load-config RUN --truth CAPTURE/removed

Needs a labelled run of a capture whose held-out views were rendered again without some of its objects, as
``removed/OBJECT/VIEW.png``, and its label maps. For each such object it compares the held-out renders with those
pictures, inside the pixels of the object and outside them, of

* the objects' own Gaussians removed, and of ``splatseg remove``;
* the published recipe: for each removed Gaussian a new one that is the mean of its five nearest neighbours, fitted to
  every view's own 2D fill. L1 alone: the weights of LPIPS cannot be had here;
* each held-out view filled by itself in 2D;
* ``splatseg inpaint``.

Inconsistency is how much two held-out views next to each other differ where they show the same place of the surface
in their holes: the mean absolute difference of colours, in percent, after each view's mean is taken off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from splatseg_ns.cli.console import output, table
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.edit import InpaintConfig, Inpainted, Take, inpaint, rows_of_objects, taken_with
from splatseg_ns.edit.hole import Hole, ViewHole
from splatseg_ns.edit.pixels import pixels_of, points_at, projected_points, sampled
from splatseg_ns.lift.ssim import ssim
from splatseg_ns.masks import Inpainter, inpainter_named
from splatseg_ns.masks.inpainter import painted
from splatseg_ns.raster import Rasterizer, one_torch_thread
from splatseg_ns.scene import Splats, View

LEAST_PIXELS = 98
"""Views that show less of the object are not judged (0.05 % of 512x384)."""


@dataclass(frozen=True, eq=False)
class JudgedView:
    """A held-out view of one object."""

    view: View
    object: Tensor  # [H, W] bool
    truth: Tensor  # [H, W, 3], without the object


@dataclass(frozen=True)
class Likeness:
    """Of some pictures to the truth: means over views."""

    hole_psnr: float
    hole_ssim: float
    outside_psnr: float
    outside_ssim: float

    @staticmethod
    def of(pictures: list[Tensor], judged: list[JudgedView]) -> Likeness:
        rows = []
        for picture, view in zip(pictures, judged, strict=True):
            rows.append([])
            for where in (view.object, ~view.object):
                error = (picture - view.truth)[where].square().double().mean()
                # Structure only of these pixels: all others are made the same.
                same = torch.where(where[..., None], picture, view.truth)
                lost = (1.0 - float(ssim(same, view.truth))) * where.numel() / int(where.sum())
                rows[-1] += [-10.0 * math.log10(max(float(error), 1e-12)), 1.0 - lost]
        return Likeness(*np.array(rows).mean(axis=0).tolist())


@dataclass(kw_only=True)
class Benchmark(SceneInputs):
    """Hole and outside likeness of several ways to fill what removed objects hid."""

    truth: Path
    """A folder OBJECT/VIEW.png of the held-out views without an object."""

    labels: Path
    """The label maps VIEW.png."""

    objects: tuple[str, ...] = ()
    """By default all that the truth has."""

    inpainter: str = "telea"
    recipe_steps: int = 300
    steps: int = InpaintConfig.steps
    views: int = InpaintConfig.views

    def run(self) -> None:
        splats, document = self.load()
        rasterizer = self.rasterizer()
        capture = self.capture()
        capture = self.frame(rasterizer, splats, capture).move(capture)
        cameras = {view.name: view.camera for view in capture if view.split == "train"}
        held_out = [view for view in capture if view.split != "train"]
        painter = inpainter_named(self.inpainter)
        names = self.objects or tuple(sorted(path.name for path in self.truth.iterdir() if path.is_dir()))
        for name in names:
            own = rows_of_objects(document, [document.object(name).id])
            taken = taken_with(
                document,
                splats,
                [document.object(name).id],
                Take(),
                rasterizer=rasterizer,
                cameras=list(cameras.values()),
            ).rows
            judged = self._judged(held_out, name, document.object(name).id)
            begin = time.perf_counter()
            config = InpaintConfig(steps=self.steps, views=self.views)
            made = inpaint(rasterizer, splats, taken, cameras, painter, config)
            seconds = time.perf_counter() - begin
            plain, clean = splats.subset(~own), splats.subset(~taken)
            begin = time.perf_counter()
            recipe = published_recipe(rasterizer, splats, taken, made.hole, painter, self.recipe_steps)
            recipe_seconds = time.perf_counter() - begin
            holes = held_out_holes(rasterizer, splats, made, judged)
            alone = [
                painted(painter, (picture * 255).round().to(torch.uint8), hole).float() / 255
                for picture, hole in zip(drawn(rasterizer, clean, judged), holes, strict=True)
            ]
            filled = made.splats(splats)
            entries = {
                "own Gaussians removed": (drawn(rasterizer, plain, judged), 0.0),
                "splatseg remove": (drawn(rasterizer, clean, judged), 0.0),
                "published recipe, L1": (drawn(rasterizer, recipe, judged), recipe_seconds),
                "2D, each view alone": (alone, 0.0),
                "splatseg inpaint": (drawn(rasterizer, filled, judged), seconds),
                "the truth": ([view.truth for view in judged], 0.0),
            }
            rows = table(
                f"{name}, {len(judged)} held-out views", "hole PSNR", "way", "SSIM", "outside PSNR", "SSIM",
                "inconsistency %", "seconds",
            )  # fmt: skip
            for way, (pictures, took) in entries.items():
                likeness = Likeness.of(pictures, judged)
                rows.add_row(
                    f"{likeness.hole_psnr:.2f}", way, f"{likeness.hole_ssim:.3f}", f"{likeness.outside_psnr:.2f}",
                    f"{likeness.outside_ssim:.3f}", f"{100 * inconsistency(made, judged, holes, pictures):.2f}",
                    f"{took:.0f}",
                )  # fmt: skip
            output().print(rows)

    def _judged(self, held_out: list[View], name: str, id: int) -> list[JudgedView]:
        judged = []
        for view in held_out:
            stem = Path(view.name).name
            labels = torch.from_numpy(np.array(Image.open(self.labels / f"{stem}.png")))
            if int((labels == id).sum()) >= LEAST_PIXELS:
                picture = np.array(Image.open(self.truth / name / f"{stem}.png").convert("RGB"))
                judged.append(JudgedView(view, labels == id, torch.from_numpy(picture).float() / 255))
        return judged


@torch.no_grad()
def drawn(rasterizer: Rasterizer, splats: Splats, judged: list[JudgedView]) -> list[Tensor]:
    """What the held-out views show of the splats."""
    return [rasterizer.render(splats, view.view.camera).colors.clamp(0, 1).cpu() for view in judged]


@torch.no_grad()
def held_out_holes(
    rasterizer: Rasterizer, splats: Splats, made: Inpainted, judged: list[JudgedView]
) -> list[Tensor]:  # each [H, W] bool
    """Where the held-out views show new Gaussians: the hole, found by the training views, as they see it."""
    together = made.splats(splats)
    new = torch.zeros(len(together), 1)
    new[-len(made.new) :] = 1.0
    return [
        rasterizer.render(together, view.view.camera, features=new.to(splats.device)).colors[..., 0].cpu() > 0.5
        for view in judged
    ]


@torch.no_grad()
def inconsistency(made: Inpainted, judged: list[JudgedView], holes: list[Tensor], pictures: list[Tensor]) -> float:
    """The mean over pairs of neighbouring views; places are those of the plane behind, warped by its depth."""
    if not made.surface.planes:
        return math.nan
    differences = []
    for first in range(len(judged)):
        for second in range(first + 1, len(judged)):
            one, other = judged[first].view.camera, judged[second].view.camera
            if not bool(holes[first].any()) or float(one.viewmat[2, :3] @ other.viewmat[2, :3]) < 0.7:
                continue
            points = points_at(one, made.surface.planes[0].depth(one))[holes[first]]
            pixels, _, inside = projected_points(other, points)
            rows, columns = pixels_of(other, pixels)
            shown = inside & holes[second][rows, columns]
            if int(shown.sum()) < LEAST_PIXELS:
                continue
            here, there = pictures[first][holes[first]][shown], sampled(pictures[second], pixels[shown])
            differences.append(float(((here - here.mean(dim=0)) - (there - there.mean(dim=0))).abs().mean()))
    return float(np.mean(differences)) if differences else math.nan


def published_recipe(
    rasterizer: Rasterizer, splats: Splats, removed: Tensor, hole: Hole, painter: Inpainter, steps: int
) -> Splats:
    """New Gaussians are means of the five nearest that stay, one for each removed; all views' own fills are fitted."""
    kept = splats.subset(~removed)
    tree = KDTree(kept.means.numpy())
    _, nearest = tree.query(splats.means[removed].numpy(), k=5)
    leaves = {
        name: tensor[torch.from_numpy(nearest)].mean(dim=1).clone().requires_grad_()
        for name, tensor in kept.tensors().items()
    }
    views = hole.largest_first()
    targets = [_own_fill(rasterizer, kept, view, painter) for view in views]
    rates = {"means": 1.6e-4, "raw_quats": 1e-3, "log_scales": 5e-3, "logit_opacities": 5e-2, "sh": 2.5e-3}
    optimizer = torch.optim.Adam([{"params": [leaves[name]], "lr": rate} for name, rate in rates.items()], eps=1e-15)
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        place = int(torch.randint(len(views), (1,), generator=random))
        together = Splats.concat([kept, replace(kept, **leaves)])
        error = (rasterizer.render(together, views[place].camera).colors - targets[place]).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return Splats.concat([kept, replace(kept, **{name: leaf.detach() for name, leaf in leaves.items()})])


@torch.no_grad()
def _own_fill(rasterizer: Rasterizer, kept: Splats, view: ViewHole, painter: Inpainter) -> Tensor:  # [H, W, 3]
    picture = rasterizer.render(kept, view.camera).colors.clamp(0, 1)
    return painted(painter, (picture * 255).round().to(torch.uint8), view.hole).float() / 255


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    with one_torch_thread():
        tyro.cli(Benchmark, description=__doc__, args=arguments).run()


if __name__ == "__main__":
    main()
