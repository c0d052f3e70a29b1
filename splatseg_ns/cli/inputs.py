"""What every command is given: splats, the capture they show, and the document between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from splatseg_ns.cli.loading import load_nerfstudio
from splatseg_ns.cli.scenes import PlyScene, Scene
from splatseg_ns.raster import Rasterizer, rasterizer_for
from splatseg_ns.scene import Capture, RenderProfile, Splats, render_profile
from splatseg_ns.segmentation import Segmentation, SegmentationStore
from splatseg_ns.segmentation.frames import Frame

if TYPE_CHECKING:
    from splatseg_ns.cli.run_scene import RunScene

ProfileName = Literal["gsplat-1.4", "gsplat-1.5", "inria"]


@dataclass(kw_only=True)
class SceneInputs:
    """Splats, their capture and their segmentation."""

    load_config: Path | None = None
    """The config.yml of a run of Nerfstudio, by splatseg or splatfacto. It can run code: open only runs you trust."""

    ply: Path | None = None
    """Instead of a run: splats in a file, which need --data wherever pictures matter."""

    data: Path | None = None
    """The capture: a nerfstudio transforms.json, its folder, or a COLMAP folder; for a run, where it has been moved."""

    segmentation: Path | None = None
    """Its folder; by default segmentation beside config.yml, or scene.segmentation beside scene.ply."""

    dataparser_transforms: Path | None = None
    """The dataparser_transforms.json of the run that a .ply was exported from; found by itself beside the ply."""

    profile: ProfileName | None = None
    """How the splats of a .ply were trained to be rendered; by default what the segmentation says, else gsplat-1.4."""

    antialiased: bool = False
    """The splats of a .ply were trained with antialiasing."""

    device: str = "auto"
    """cpu, cuda or cuda:N; auto takes an NVIDIA GPU if there is one."""

    @cached_property
    def scene(self) -> Scene:
        """Where the splats come from."""
        if self.load_config is not None and self.ply is not None:
            raise ValueError("--load-config and --ply both name splats; give one of them")
        if self.load_config is not None:
            return self.run_scene
        if self.ply is None:
            raise ValueError("which splats? give --load-config with the config.yml of a run, or --ply and --data")
        return PlyScene(self.ply, self.data, self.dataparser_transforms)

    @cached_property
    def run_scene(self) -> RunScene:
        """The run, read with Nerfstudio, which takes seconds to be loaded."""
        given = {"dataparser-transforms": self.dataparser_transforms, "profile": self.profile}
        for option in [name for name, value in given.items() if value is not None] + ["antialiased"] * self.antialiased:
            raise ValueError(f"--{option} is about the splats of a .ply; a run knows it, so leave it out")
        assert self.load_config is not None
        if not self.load_config.exists():
            # Nobody should wait for Nerfstudio to be told that.
            raise FileNotFoundError(f"{self.load_config}: no such file; give the config.yml of a run")
        load_nerfstudio()
        from splatseg_ns.cli.run_scene import RunScene

        return RunScene.open(self.load_config, self.data)

    def store(self) -> SegmentationStore:
        """Where the segmentation is kept."""
        return self.scene.store if self.segmentation is None else SegmentationStore(self.segmentation)

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
        scene = self.scene
        splats = scene.splats(self._render_profile(document)).to(self.torch_device())
        if len(splats) == 0:
            raise ValueError(f"{scene.file}: holds no Gaussian; make the splats again")
        for name, tensor in splats.tensors().items():
            broken = ~tensor.flatten(1).isfinite().all(dim=1) if tensor.dim() > 1 else ~tensor.isfinite()
            if bool(broken.any()):
                rows = broken.nonzero().flatten()
                raise ValueError(
                    f"{scene.file}: {name} of {len(rows)} Gaussians, the first at {int(rows[0])}, are not finite; "
                    "remove these Gaussians, or make the splats again"
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
        try:
            document.check_splats(splats)
        except ValueError as error:
            raise ValueError(f"{self.store().folder}: {error}") from error
        return splats, document

    def capture(self) -> Capture:
        """The capture in its own frame."""
        return self.scene.capture()

    def frame(self, rasterizer: Rasterizer, splats: Splats, capture: Capture) -> Frame:
        """From the frame of the capture to that of the splats."""
        return self.scene.frame(rasterizer, splats, capture)

    def to_world(self, frame: Frame) -> Tensor:  # [4, 4]
        """From the frame of the splats to that of the cameras in the capture's files."""
        return self.scene.to_world(frame)

    def _render_profile(self, document: Segmentation | None) -> RenderProfile:
        if self.profile is None and document is not None and not self.antialiased:
            return document.profile
        name = self.profile or (document.profile.name if document is not None else "gsplat-1.4")
        return render_profile(name, antialiased=self.antialiased)
