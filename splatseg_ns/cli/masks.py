"""``splatseg masks``: masks of the objects in any views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.cli.camera_path import read_camera_path
from splatseg_ns.cli.console import progress, say
from splatseg_ns.cli.layers import LayerInputs
from splatseg_ns.edit.extract import decided_labels
from splatseg_ns.lift import (
    FlashSplat,
    Labels,
    Progress,
    Shares,
    Votes,
    render_label_map,
    render_nearest_map,
    render_object_mask,
)
from splatseg_ns.masks import LabelName, write_label_folder, write_label_map
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats, chosen_views
from splatseg_ns.segmentation import Segmentation


@dataclass(kw_only=True)
class Masks(LayerInputs):
    """Write masks of the objects in any views, which 'splatseg label' takes back.

    visible: a label map per view; amodal: a folder per object, called by its id, with a mask per view of the object
    alone, so that nothing hides it. labels.json has the names. Masks are of undistorted pictures.

    Who is visible at a pixel is decided by the whole scene drawn together (--rule composited), or, as FlashSplat does
    it for objects whose Gaussians overlap, by depth among the objects that are there when each is drawn alone (--rule
    depth); what is in no object then hides nothing. --gamma makes such objects of the votes.
    """

    out: Path
    """The folder to write into."""

    views: tuple[str, ...] = ("test",)
    """test, train, all, names of views, or a camera path of nerfstudio's viewer (.json)."""

    kind: Literal["visible", "amodal"] = "visible"
    """What each object shows in a view, or all of it."""

    rule: Literal["composited", "depth"] = "composited"
    """Whose a visible pixel is: the object's that is strongest in the picture, or the nearest one's."""

    tau: float = 0.5
    """An object alone covers a pixel where its alpha is above this; FlashSplat publishes 0.1."""

    gamma: float | None = None
    """For amodal masks and --rule depth: objects are what wins against all the rest by the votes with this bias."""

    def run(self) -> None:
        if not 0.0 <= self.tau < 1.0:
            raise ValueError(f"--tau is a number from 0 to below 1, got {self.tau}")
        if self.rule == "depth" and self.kind == "amodal":
            raise ValueError("--rule is about visible masks, amodal ones show all of each object; leave it out")
        if self.gamma is not None and self.kind == "visible" and self.rule == "composited":
            raise ValueError("--gamma makes objects that overlap; give --rule depth or --kind amodal with it")
        splats, document = self.load()
        if not document.objects:
            raise ValueError(f"{self.store().folder}: the segmentation has no objects; make some with 'splatseg label'")
        rasterizer = self.rasterizer()
        cameras = self._cameras(rasterizer, splats)
        names = [LabelName(entry.id, entry.name, entry.color) for entry in document.objects]
        with progress("masks") as report:
            if self.kind == "amodal":
                members = object_members(document, self.gamma)
                for done, (name, camera) in enumerate(cameras, 1):
                    for id, rows in members.items():
                        mask = render_object_mask(rasterizer, splats, camera, rows.to(splats.device), self.tau)
                        write_label_map(self.out / str(id), name, mask.long())
                    report(done, len(cameras))
                write_label_folder(self.out, [], names)
            else:
                draw = self._visible_maps(rasterizer, splats, document)
                maps = (
                    (name, _reported(draw(camera), done, cameras, report))
                    for done, (name, camera) in enumerate(cameras, 1)
                )
                write_label_folder(self.out, maps, names)
        say(f"{self.kind} masks of {len(names)} objects in {len(cameras)} views: {self.out}")

    def _visible_maps(
        self, rasterizer: Rasterizer, splats: Splats, document: Segmentation
    ) -> Callable[[Camera], Tensor]:  # gives [H, W] int64
        """What draws the label map of a view."""
        if self.rule == "depth":
            members = object_members(document, self.gamma)
            return lambda camera: render_nearest_map(rasterizer, splats, camera, members, self.tau)
        shares, ids = mask_shares(document), torch.tensor(document.ids)
        return lambda camera: render_label_map(rasterizer, splats, camera, shares, ids)

    def _cameras(self, rasterizer: Rasterizer, splats: Splats) -> list[tuple[str, Camera]]:
        """Names and cameras in the frame of the splats."""
        if len(self.views) == 1 and self.views[0].lower().endswith(".json"):
            return read_camera_path(self.views[0])
        capture = self.capture()
        chosen = chosen_views(capture, self.views)
        if distorted := [view.name for view in chosen if view.lens.distorts]:
            say(f"{len(distorted)} pictures are distorted ({distorted[0]}, ...): the masks are of straight ones")
        frame = self.frame(rasterizer, splats, capture)
        return [(view.name, view.camera) for view in frame.move(capture).with_names(view.name for view in chosen)]


def mask_shares(document: Segmentation) -> Shares:
    """How much of each Gaussian belongs to each object: its votes, or all or nothing where objects were edited."""
    votes = votes_of_labels(document)
    return votes if votes is not None else hard_labels(document)


def hard_labels(document: Segmentation) -> Labels:
    """What was decided, all or nothing."""
    return Labels(document.labels, torch.zeros(len(document), dtype=torch.float64))


def object_members(document: Segmentation, gamma: float | None) -> dict[int, Tensor]:  # [N] bool each
    """The Gaussians of each object: those it was given, or with a gamma those it wins from all the rest by the votes.

    With a gamma below 0 a Gaussian may be of several objects.
    """
    if gamma is None:
        return {id: document.rows(id) for id in document.ids}
    solver = FlashSplat(gamma)
    votes = votes_of_labels(document)
    if votes is None and document.votes() is None:
        raise ValueError("the segmentation keeps no votes for --gamma; make it with 'splatseg label', or leave it out")
    if votes is None:
        raise ValueError(
            "objects were edited since their labels were made, which the votes for --gamma know nothing of; leave it "
            "out, or label again"
        )
    return {id: solver.members(votes, id) for id in document.ids}


def votes_of_labels(document: Segmentation) -> Votes | None:
    """The votes behind the labels; none if they are not kept, or the objects were edited since."""
    decided = decided_labels(document)
    return document.votes() if decided is not None and torch.equal(decided, document.labels) else None


def _reported(label_map: Tensor, done: int, cameras: list[tuple[str, Camera]], report: Progress) -> Tensor:
    report(done, len(cameras))
    return label_map
