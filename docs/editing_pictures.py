"""The pictures of editing: python -m docs.editing_pictures --load-config RUN

Takes a run whose objects are labelled, removes one and fills in what it hid, and draws one view with the object,
without it, and filled in, beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from PIL import Image
from torch import Tensor

from splatseg_ns.cli.inpaint import InpaintOptions, fill_in
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.edit import Take, file_stem, taken_with
from splatseg_ns.raster import one_torch_thread
from splatseg_ns.scene import Camera

_MOST_BYTES = 120_000


@dataclass(kw_only=True)
class EditingPictures(SceneInputs):
    """Draw an object's removal."""

    objects: tuple[str, ...] = ("teddy_bear", "coffee_cup")
    views: tuple[str, ...] = ("frame_00060", "frame_00059")
    """For each object the one that is drawn, by the end of its name."""

    out: Path = Path("docs/images")

    def run(self) -> None:
        splats, document = self.load()
        rasterizer = self.rasterizer()
        capture = self.capture()
        capture = self.frame(rasterizer, splats, capture).move(capture)
        cameras = {view.name: view.camera for view in capture if view.split == "train"}
        options = InpaintOptions()
        for name, wanted in zip(self.objects, self.views, strict=True):
            entry = document.object(name)
            taken = taken_with(
                document, splats, [entry.id], Take(), rasterizer=rasterizer, cameras=list(cameras.values())
            ).rows
            made = fill_in(rasterizer, splats, taken, cameras, options.loaded(splats), options)
            camera = next(view.camera for view in capture if view.name.endswith(wanted))
            pictures = [
                rasterizer.render(part, camera).colors.detach()
                for part in (splats, splats.subset(~taken), made.splats(splats))
            ]
            _save(self.out / f"editing-{file_stem(entry)}.jpg", pictures, camera)


def _save(path: Path, pictures: list[Tensor], camera: Camera) -> None:
    """Side by side, as good as the size allows."""
    beside = torch.cat(pictures, dim=1).clamp(0, 1).cpu()
    image = Image.fromarray((beside * 255).round().to(torch.uint8).numpy())
    for quality in range(92, 40, -4):
        image.save(path, quality=quality)
        if path.stat().st_size < _MOST_BYTES:
            return
    raise RuntimeError(f"{path}: {camera.width}x{camera.height} three times is too large; draw smaller pictures")


if __name__ == "__main__":
    with one_torch_thread():
        tyro.cli(EditingPictures, description=__doc__).run()
