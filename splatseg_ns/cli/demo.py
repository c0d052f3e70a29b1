"""``splatseg demo``: the main job on the bundled capture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splatseg_ns.demo.run import run_demo


@dataclass(kw_only=True)
class Demo:
    """Label the bundled capture by its training masks, judge the objects on held-out views, and write them.

    Writes objects as .ply files, the segmentation, and a contact sheet.
    """

    out: Path = Path("outputs/demo")
    """The folder to write into."""

    def run(self) -> None:
        run_demo(self.out)
