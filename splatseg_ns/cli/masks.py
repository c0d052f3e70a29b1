"""``splatseg masks``: masks of the objects in any views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.cli.camera_path import read_camera_path
from splatseg_ns.cli.console import progress, say
from splatseg_ns.cli.inputs import SceneInputs, chosen_views
from splatseg_ns.edit.extract import decided_labels
from splatseg_ns.lift import Labels, Progress, Shares, render_label_map, render_object_mask
from splatseg_ns.masks import LabelName, write_label_folder, write_label_map
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats
from splatseg_ns.segmentation import Segmentation


@dataclass(kw_only=True)
class Masks(SceneInputs):
    """Write masks of the objects in any views, which 'splatseg label' takes back.

    visible: a label map per view; amodal: a folder per object, called by its id, with a mask per view of the object
    alone, so that nothing hides it. labels.json has the names. Masks are of undistorted pictures.
    """

    out: Path
    """The folder to write into."""

    views: tuple[str, ...] = ("test",)
    """test, train, all, names of views, or a camera path of nerfstudio's viewer (.json)."""

    kind: Literal["visible", "amodal"] = "visible"
    """What each object shows in a view, or all of it."""

    tau: float = 0.5
    """An object alone covers a pixel where its alpha is above this."""

    def run(self) -> None:
        if not 0.0 <= self.tau < 1.0:
            raise ValueError(f"--tau is a number from 0 to below 1, got {self.tau}")
        splats, document = self.load()
        if not document.objects:
            raise ValueError(f"{self.store().folder}: the segmentation has no objects; make some with 'splatseg label'")
        rasterizer = self.rasterizer()
        cameras = self._cameras(rasterizer, splats)
        names = [LabelName(entry.id, entry.name, entry.color) for entry in document.objects]
        with progress("masks") as report:
            if self.kind == "visible":
                shares = mask_shares(document)
                ids = torch.tensor(document.ids)
                maps = (
                    (name, _reported(render_label_map(rasterizer, splats, camera, shares, ids), done, cameras, report))
                    for done, (name, camera) in enumerate(cameras, 1)
                )
                write_label_folder(self.out, maps, names)
            else:
                for done, (name, camera) in enumerate(cameras, 1):
                    for id in document.ids:
                        rows = document.rows(id).to(splats.device)
                        mask = render_object_mask(rasterizer, splats, camera, rows, self.tau)
                        write_label_map(self.out / str(id), name, mask.long())
                    report(done, len(cameras))
                write_label_folder(self.out, [], names)
        say(f"{self.kind} masks of {len(names)} objects in {len(cameras)} views: {self.out}")

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
    decided = decided_labels(document)
    votes = document.votes()
    if votes is not None and decided is not None and torch.equal(decided, document.labels):
        return votes
    return Labels(document.labels, torch.zeros(len(document), dtype=torch.float64))


def _reported(label_map: Tensor, done: int, cameras: list[tuple[str, Camera]], report: Progress) -> Tensor:
    report(done, len(cameras))
    return label_map
