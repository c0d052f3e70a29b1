"""``splatseg inpaint``: what a removed object hid is filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from PIL import Image
from torch import Tensor

from splatseg_ns.cli.console import Stopwatch, say
from splatseg_ns.cli.derive import NewScene
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.cli.scenes import PlyScene
from splatseg_ns.edit import InpaintConfig, Inpainted, inpaint, rows_of_part
from splatseg_ns.masks import Inpainter, inpainter_named
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Camera, Splats, chosen_views
from splatseg_ns.segmentation import Segmentation


@dataclass(frozen=True, kw_only=True)
class InpaintOptions:
    """How holes are filled, as commands are told."""

    inpainter: str = "telea"
    """telea, navier-stokes, or a TorchScript (LaMa) or ONNX file. Such files can run code: give only ones you trust."""

    views: int = InpaintConfig.views
    """In how many views the hole is painted, besides the planes behind it, which are seen face-on."""

    steps: int = InpaintConfig.steps
    """How many steps the new Gaussians are fitted for."""

    margin: float = InpaintConfig.margin
    """How much around the hole is painted over too, for the object's shadow, as a share of the hole's width."""

    seed: int = InpaintConfig.seed
    """Of everything that is drawn by lot: the same seed gives the same scene."""

    pictures: Path | None = None
    """A folder to write what was painted to: each picture before, its hole, and the picture filled."""

    def loaded(self, splats: Splats) -> Inpainter:
        """The inpainter, on the device of the splats."""
        return inpainter_named(self.inpainter, splats.device)

    def config(self) -> InpaintConfig:
        """What the core is told."""
        return InpaintConfig(views=self.views, steps=self.steps, margin=self.margin, seed=self.seed)


@dataclass(kw_only=True)
class Inpaint(NewScene):
    """Fill in what removed objects hid, in a run that 'splatseg remove' has written, as a further run.

    Finds the hole in each training view, paints it in a few, puts new Gaussians on the surface behind and fits these;
    all others stay as they are. The scene with the objects is looked for where the run says that it was made from.
    With --ply and --data the filled scene is written as a .ply.
    """

    source: Path | None = None
    """The config.yml or .ply of the scene with the objects, if it is no longer where it was."""

    fill: Annotated[InpaintOptions, tyro.conf.arg(name="")] = field(default_factory=InpaintOptions)

    def run(self) -> None:
        kept, document = self.load()
        source = self._source(document)
        target = self.check_target("inpainted")
        full = self._source_splats(source, kept)
        rows = rows_of_part(kept.means, full.means)
        if rows is None:
            raise ValueError(
                f"{source}: has changed since the objects were removed; it does not hold those of {self.scene.file}"
            )
        if bool(rows.all()):
            raise ValueError(f"{self.scene.file}: nothing was removed from {source}, so there is nothing to fill in")
        # Nobody should wait to be told of a wrong path.
        inpainter, rasterizer = self.fill.loaded(full), self.rasterizer()
        made = fill_in(rasterizer, full, ~rows, training_cameras(self, rasterizer, full), inpainter, self.fill)
        self.write(
            target, kept, with_fill_entry(document, source, self.fill), made.stays[rows], document.ids, added=made.new
        )

    def _source(self, document: Segmentation) -> Path:
        """Where the objects were removed from."""
        steps = [entry for entry in document.history if entry.operation in ("remove", "inpaint")]
        if steps and steps[-1].operation == "inpaint":
            raise ValueError(f"{self.scene.file}: is filled in already; give the run that 'splatseg remove' wrote")
        if not steps:
            raise ValueError(
                f"{self.scene.file}: no objects were removed from it; give a run that 'splatseg remove' has written"
            )
        source = Path(steps[-1].parameters["source"]) if self.source is None else self.source
        if not source.exists():
            raise FileNotFoundError(
                f"{source}: the scene that the objects were removed from is gone; restore it, or name it with --source"
            )
        return source

    def _source_splats(self, source: Path, kept: Splats) -> Splats:
        """The scene with the objects, to be drawn as the one without them is."""
        if source.suffix.lower() == ".ply":
            splats = PlyScene(source, None, None).splats(kept.profile)
        else:
            splats = SceneInputs(load_config=source, data=self.data, device=self.device).splats()
        return splats.to(kept.device)


def training_cameras(inputs: SceneInputs, rasterizer: Rasterizer, splats: Splats) -> dict[str, Camera]:
    """Of the capture, by the names of the views, in the frame of the splats."""
    capture = inputs.capture()
    views = chosen_views(inputs.frame(rasterizer, splats, capture).move(capture), ["train"])
    return {view.name: view.camera for view in views}


def fill_in(
    rasterizer: Rasterizer,
    splats: Splats,
    removed: Tensor,  # [N] bool
    cameras: Mapping[str, Camera],
    inpainter: Inpainter,
    options: InpaintOptions,
) -> Inpainted:
    """Fill in what these Gaussians of a scene hid from its training views, and say what was done.

    ``splats`` are those with the objects. Nothing is written but the pictures that were asked for. Raises
    ``NoHoleError`` if nothing is to be filled.
    """
    watch = Stopwatch()
    with watch.stages() as report:
        made = inpaint(rasterizer, splats, removed, cameras, inpainter, options.config(), report)
    for name, reason in made.left_out.items():
        say(f"{name} could not be painted and is left out: {reason}")
    holes = sum(view.pixels > 0 for view in made.hole.views)
    planes = len(made.surface.planes)
    behind = "a surface that is not flat" if not planes else "a plane" if planes == 1 else f"{planes} planes"
    say(f"hole: {made.hole.pixels} pixels in {holes} of {len(cameras)} views, {behind} behind it")
    say(f"{len(made.fills)} pictures painted by {options.inpainter}; {len(made.new)} new Gaussians")
    say(f"seconds: {watch}")
    if options.pictures is not None:
        _write_pictures(options.pictures, made)
    return made


def with_fill_entry(document: Segmentation, source: Path, options: InpaintOptions) -> Segmentation:
    """The document of a scene that was filled in; ``source`` is the one with the objects."""
    asked: Mapping[str, Any] = {name: value for name, value in asdict(options).items() if name != "pictures"}
    return document.with_entry("inpaint", source=str(source.resolve()), **asked)


def _write_pictures(folder: Path, made: Inpainted) -> None:
    """Of everything that was painted: NAME-before.png, NAME-hole.png and NAME-fill.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for fill in made.fills:
        stem = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in fill.canvas.name)
        pictures = {"before": fill.canvas.colors, "hole": fill.canvas.hole.float(), "fill": fill.colors}
        for kind, picture in pictures.items():
            values = (picture.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
            Image.fromarray(values.numpy()).save(folder / f"{stem}-{kind}.png")
    say(f"wrote {3 * len(made.fills)} pictures to {folder}")
