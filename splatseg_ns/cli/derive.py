"""What commands that edit a scene share: some Gaussians become a run or a file of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from splatseg_ns.cli.console import say
from splatseg_ns.cli.inputs import SceneInputs
from splatseg_ns.cli.layers import LayerInputs
from splatseg_ns.cli.objects import chosen_objects
from splatseg_ns.cli.scenes import segmentation_beside
from splatseg_ns.edit import part_of, with_added
from splatseg_ns.edit.layers import remaining_layer
from splatseg_ns.scene import Splats, write_ply
from splatseg_ns.scene.profile import DEFAULT_PROFILE
from splatseg_ns.segmentation import SceneObject, Segmentation, SegmentationStore
from splatseg_ns.segmentation.parts import parts_of_splats


@dataclass(kw_only=True)
class NewScene(SceneInputs):
    """Some Gaussians as a run or a file of their own."""

    out: Path | None = None
    """The folder of the new run, or the .ply to write with --ply; by default beside the source. Replaces nothing."""

    method: Literal["auto", "splatseg", "splatfacto"] = "auto"
    """splatfacto opens in stock Nerfstudio, which draws on a GPU only; splatseg runs on a CPU too; auto looks."""

    def check_target(self, suffix: str) -> Path:
        """Where to write, found out before anything is computed; ``suffix`` is added to the name of what it is from."""
        if self.load_config is None:
            return self._ply_target(self.scene.file, suffix)
        from splatseg_ns.plugin.new_run import check_target, folder_beside

        run, method = self.run_scene.run, self.run_method()
        folder = folder_beside(run, method, f"{run.folder.name}-{suffix}") if self.out is None else self.out
        return check_target(run, folder, method)

    def run_method(self) -> Literal["splatseg", "splatfacto"]:
        """The method of the new run."""
        if self.method == "auto":
            return "splatfacto" if torch.cuda.is_available() else "splatseg"
        return self.method

    def write(
        self,
        target: Path,
        splats: Splats,
        document: Segmentation | None,
        rows: Tensor,  # [N] bool
        objects: Sequence[int] = (),
        added: Splats | None = None,
    ) -> None:
        """Write the chosen Gaussians and the document of their objects, if there is one; say where.

        New ones that are ``added`` need a document. The layer beside the one that is worked on comes along.
        """
        share = f"{check_left(rows)} of {len(rows)} Gaussians"
        if document is None:
            part, kept = splats.subset(rows.to(splats.device)), None
        else:
            part, kept = part_of(document, splats, rows, objects)
            if added is not None:
                part, kept = with_added(part, kept, added)
                share += f" and {len(added)} new ones"
        objects_kept, parts_kept = self._layers(kept, splats, rows, added)
        if self.load_config is None:
            store = SegmentationStore(segmentation_beside(target))
            if objects_kept is not None:
                store.save(objects_kept)
                share += f", and their segmentation {store.folder}"
            if parts_kept is not None:
                store.parts.save(parts_kept)
                share += f", and their parts {store.parts.folder}"
            write_ply(target, part)
            say(f"wrote {target}: {share}")
            return
        from splatseg_ns.plugin.derived import derive_run

        method = self.run_method()
        run = derive_run(self.run_scene.run, target, rows, method, objects_kept, added, parts_kept)
        say(f"wrote {run}: {share}")
        if method == "splatfacto" and splats.profile.name != DEFAULT_PROFILE.name:
            say(f"the splats were trained to be drawn as {splats.profile.name}; stock Nerfstudio has its own way")

    def _layers(
        self,
        kept: Segmentation | None,
        splats: Splats,
        rows: Tensor,  # [N] bool
        added: Splats | None,
    ) -> tuple[Segmentation | None, Segmentation | None]:
        """The layers of objects and of parts that are written."""
        parts = parts_of_splats(self.store(), splats, say)
        return kept, None if parts is None else remaining_layer(parts, splats, rows, added)

    def _ply_target(self, source: Path, suffix: str) -> Path:
        if self.method != "auto":
            raise ValueError("--method is about runs; a .ply is written for a .ply, so leave it out")
        target = source.with_name(f"{source.stem}-{suffix}.ply") if self.out is None else self.out
        if target.suffix.lower() != ".ply":
            raise ValueError(f"{target}: splats of a .ply are written as a .ply; give --out such a name")
        for path in (target, segmentation_beside(target)):
            if path.exists():
                raise FileExistsError(f"{path}: is there already; give --out another name, or remove it")
        if not target.absolute().parent.is_dir():
            raise FileNotFoundError(f"{target.parent}: no such folder; make it, or give --out another name")
        return target


@dataclass(kw_only=True)
class Derive(NewScene, LayerInputs):
    """The same of some objects, or of some parts."""

    objects: tuple[str, ...]
    """Names or ids."""

    def chosen(self, document: Segmentation) -> list[SceneObject]:
        """The objects that are named, which have Gaussians."""
        if not self.objects:
            raise ValueError("which objects? give --objects with some names or ids")
        chosen = chosen_objects(document, self.objects)
        for entry in chosen:
            if not bool(document.rows(entry.id).any()):
                raise ValueError(f"{entry.name} (id {entry.id}) has no Gaussians")
        return chosen

    def _layers(
        self,
        kept: Segmentation | None,
        splats: Splats,
        rows: Tensor,  # [N] bool
        added: Splats | None,
    ) -> tuple[Segmentation | None, Segmentation | None]:
        """The layers of objects and of parts that are written."""
        if not self.parts:
            return super()._layers(kept, splats, rows, added)
        objects = self.objects_beside(splats)
        if objects is None or kept is None:
            return None, kept
        remaining = remaining_layer(objects, splats, rows, added)
        # What 'splatseg inpaint' asks the objects.
        done = kept.history[len(self.document().history) :]
        return replace(remaining, history=(*remaining.history, *done)), kept


def check_left(
    rows: Tensor,  # [N] bool
) -> int:
    """How many Gaussians are left; none are an error."""
    count = int(rows.sum())
    if count == 0:
        raise ValueError("no Gaussian would be left; nothing is written")
    return count
