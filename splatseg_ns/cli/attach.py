"""``splatseg attach``: splats that were trained otherwise as a run of splatseg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splatseg_ns.cli.console import say
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.cli.loading import load_nerfstudio
from splatseg_ns.segmentation.parts import parts_of_splats


@dataclass(kw_only=True)
class Attach(SceneInputs):
    """Make a splatseg run of splats without training, so that ns-viewer, ns-render, ns-export and ns-eval show objects.

    Of a run of splatfacto (--load-config), whose checkpoint it shares and which stays as it is; of a run whose folder
    was moved; or of any splats and their capture (--ply --data). A segmentation that the splats have comes along.
    """

    out: Path | None = None
    """The folder of the new run; by default beside the old one, or outputs/NAME OF THE PLY/splatseg/TIME."""

    def run(self) -> None:
        if self.load_config is None:
            made = self._attached_ply()
        else:
            run = self.run_scene.run
            from splatseg_ns.plugin.attach import attach_run

            if self.segmentation is not None:
                raise ValueError("--segmentation is of a .ply; that of a run comes along by itself, so leave it out")
            # Nobody shall be told only by ns-viewer that they are broken.
            self.splats()
            made = attach_run(run, self.out, say)
        say(f"wrote {made}")
        say(f"look at it with: ns-viewer --load-config {made}")

    def _attached_ply(self) -> Path:
        document = self.document() if self.segmentation is not None or self.store().exists() else None
        splats = self.splats(document)
        if document is not None:
            document.check_splats(splats)
        parts = parts_of_splats(self.store(), splats, say)
        capture = self.capture()
        moved = self.frame(self.rasterizer(), splats, capture).move(capture)
        load_nerfstudio()
        from splatseg_ns.plugin.attach import METHOD, attach_splats, time_stamp

        folder = self.out or Path("outputs", self.scene.file.stem, METHOD, time_stamp())
        return attach_splats(splats, moved, folder, document, parts)
