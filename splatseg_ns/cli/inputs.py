"""What every command is given: splats, the capture they show, and the document between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import Capture, RenderProfile, Splats, Split, View, read_ply, render_profile
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.frames import Frame, find_frame, read_dataparser_transforms

ProfileName = Literal["gsplat-1.4", "gsplat-1.5", "inria"]

DATAPARSER_FILE = "dataparser_transforms.json"


@dataclass(kw_only=True)
class SceneInputs:
    """Splats, their capture and their segmentation."""

    ply: Path
    """The splats."""

    data: Path | None = None
    """The capture: a nerfstudio transforms.json, its folder, or a COLMAP folder."""

    segmentation: Path | None = None
    """The folder of the segmentation; by default scene.segmentation beside scene.ply."""

    dataparser_transforms: Path | None = None
    """The dataparser_transforms.json of the run that the splats were exported from; found by itself beside the ply."""

    profile: ProfileName | None = None
    """How the splats were trained to be rendered; by default what the segmentation says, else gsplat-1.4."""

    antialiased: bool = False
    """The splats were trained with antialiasing."""

    device: str = "auto"
    """cpu, cuda or cuda:N; auto takes an NVIDIA GPU if there is one."""

    def store(self) -> SegmentationStore:
        """Where the segmentation is kept."""
        return SegmentationStore(self.segmentation or self.ply.with_name(f"{self.ply.stem}.segmentation"))

    def torch_device(self) -> torch.device:
        """The device to work on."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(f"unknown device {self.device!r}; use cpu, cuda or cuda:N") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"torch finds no GPU for {self.device!r}; use --device cpu, or mend the driver")
        return device

    def rasterizer(self) -> Rasterizer:
        """The engine of the device."""
        return rasterizer_for(self.torch_device())

    def splats(self, document: Segmentation | None = None) -> Splats:
        """The splats on the device, to be rendered as the options say, else as the document does."""
        splats = read_ply(self.ply, profile=self._render_profile(document)).to(self.torch_device())
        if len(splats) == 0:
            raise ValueError(f"{self.ply}: holds no Gaussian; export the splats again")
        for name, tensor in splats.tensors().items():
            broken = ~tensor.flatten(1).isfinite().all(dim=1) if tensor.dim() > 1 else ~tensor.isfinite()
            if bool(broken.any()):
                rows = broken.nonzero().flatten()
                raise ValueError(
                    f"{self.ply}: {name} of {len(rows)} Gaussians, the first at {int(rows[0])}, are not finite; "
                    "remove these Gaussians, or export the splats again"
                )
        return splats

    def document(self) -> Segmentation:
        """The segmentation that was saved."""
        store = self.store()
        if not store.exists():
            raise FileNotFoundError(
                f"{store.folder}: no segmentation is there; make one with 'splatseg label', or name its folder with "
                "--segmentation"
            )
        return store.load()

    def load(self) -> tuple[Splats, Segmentation]:
        """The splats and the document that belongs to them."""
        document = self.document()
        splats = self.splats(document)
        document.check_splats(splats)
        return splats, document

    def capture(self) -> Capture:
        """The capture in its own frame."""
        if self.data is None:
            raise ValueError("which pictures? give --data with a transforms.json, its folder or a COLMAP folder")
        return Capture.load(self.data)

    def frame(self, rasterizer: Rasterizer, splats: Splats, capture: Capture) -> Frame:
        """The frame of the splats, found by looking at three pictures."""
        path = self.dataparser_transforms
        if path is None and (beside := self.ply.with_name(DATAPARSER_FILE)).is_file():
            path = beside
        dataparser = read_dataparser_transforms(path) if path is not None else None
        return find_frame(rasterizer, splats, capture, dataparser).frame

    def _render_profile(self, document: Segmentation | None) -> RenderProfile:
        if self.profile is None and document is not None and not self.antialiased:
            return document.profile
        name = self.profile or (document.profile.name if document is not None else "gsplat-1.4")
        return render_profile(name, antialiased=self.antialiased)


def chosen_views(
    capture: Capture,
    selection: Sequence[str],  # train, val, test, all, or names of views
) -> tuple[View, ...]:
    """The views that the words name."""
    if not selection:
        raise ValueError("which views? name train, test, all or some views")
    if len(selection) == 1 and (word := selection[0]) not in capture.names:
        if word == "all":
            return capture.views
        if word in ("train", "val", "test"):
            return _of_split(capture, word)
    return capture.with_names(selection).views


def _of_split(capture: Capture, split: Split) -> tuple[View, ...]:
    # A capture without a test split is judged on its val split, and the other way round.
    fallbacks: dict[Split, tuple[Split, ...]] = {"train": (), "val": ("test",), "test": ("val",)}
    for name in (split, *fallbacks[split]):
        if views := capture.with_split(name).views:
            return views
    raise ValueError(f"{capture.folder}: no view is for {split}; name some with --views, or give 'all'")
