"""A run's objects while they are worked on: all that the viewer's panel does, without the panel."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import RLock
from typing import Literal, TypeVar

import torch

from splatseg_ns.edit import (
    export_objects,
    extraction,
    name_of_objects,
    part_of,
    removal,
    rows_of_objects,
    taken_with,
    with_gamma,
)
from splatseg_ns.edit.alone import isolate, masks_of
from splatseg_ns.edit.layers import remaining_layer
from splatseg_ns.lift import Progress, Robust
from splatseg_ns.masks import CachedSegmenter, LabelFolder
from splatseg_ns.masks.segmenters import default_segmenter
from splatseg_ns.plugin.after_training import label_splats
from splatseg_ns.plugin.derived import derive_run
from splatseg_ns.plugin.new_run import Method, check_target, folder_beside
from splatseg_ns.plugin.runs import Run
from splatseg_ns.plugin.trainer import CONFIG_FILE
from splatseg_ns.plugin.worker import Report
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import BACKGROUND, Camera, Capture, PixelRect, Splats, View
from splatseg_ns.segmentation import EditingSession, SceneObject, Segmentation, SegmentationStore
from splatseg_ns.segmentation.clicked_scene import ClickedScene
from splatseg_ns.segmentation.clicking import earlier_prompts, known_before, with_found
from splatseg_ns.segmentation.everything import FindEverything, find_everything
from splatseg_ns.segmentation.pointing import Pointing
from splatseg_ns.segmentation.prompts import ObjectPrompts
from splatseg_ns.segmentation.propagate import FoundObject, Propagate, find_object

Combination = Literal["add", "subtract", "intersect"]
"""What becomes of an object with what was pointed at."""

Layer = Literal["objects", "parts"]
"""What a segmentation is worked on: its objects, or the parts of these that a transfer has found."""

Command = Literal["export", "extract", "remove"]
"""Of ``splatseg``, that does to a run what the panel does."""

EXPORTS = "exports"
"""In the folder of a run: the .ply files of its objects."""

_GAMMA = "gamma"
_SOLID = 0.5

T = TypeVar("T")


class ChangedElsewhereError(RuntimeError):
    """Another program has saved the segmentation meanwhile."""


class _LayerAtWork:
    """A layer while it is worked on, and what of it is saved."""

    def __init__(self, store: SegmentationStore, splats: Splats, stored: bool) -> None:
        """``stored``: with what is kept there."""
        self.store = store
        self.stamp = store.stamp()
        self.session = EditingSession(store.load(splats) if stored else Segmentation.of(splats), splats)
        self.saved = self.session.document
        # Another program may replace the votes; undo is to bring them back.
        with suppress(ValueError, OSError):
            self.saved.votes()


class Workspace:
    """The segmentation of a run, saved after each operation. May be used from several threads."""

    def __init__(
        self,
        run: Run,
        splats: Splats,
        rasterizer: Rasterizer,
        *,
        saves: bool = True,
        segmenter: Callable[[torch.device], CachedSegmenter] = default_segmenter,
    ) -> None:
        """``saves``: the splats are those of the run's checkpoint, so that the document belongs beside it."""
        self.run, self.splats, self.rasterizer, self.saves = run, splats, rasterizer, saves
        self._make_segmenter = segmenter
        self._lock = RLock()
        self.layer: Layer = "objects"
        self._at_work = _LayerAtWork(run.store, splats, saves and run.store.exists())
        self._layers: dict[Layer, _LayerAtWork] = {"objects": self._at_work}

    # The document

    def layers(self) -> tuple[Layer, ...]:
        """Those that there are; there need not be parts."""
        has_parts = "parts" in self._layers or (self.saves and self.run.store.parts.exists())
        return ("objects", "parts") if has_parts else ("objects",)

    def show_layer(self, layer: Layer) -> None:
        """Work on another layer from here on."""
        with self._lock:
            if layer not in self.layers():
                raise ValueError("no parts are there; find some with 'splatseg transfer'")
            if layer not in self._layers:
                self._layers[layer] = _LayerAtWork(self.run.store.parts, self.splats, stored=True)
            self.layer, self._at_work = layer, self._layers[layer]
            # What another program has saved meanwhile is what is shown.
            with suppress(ChangedElsewhereError):
                self._take_over()

    @property
    def document(self) -> Segmentation:
        """As it is now."""
        return self._at_work.session.document

    @property
    def undo_name(self) -> str | None:
        """The operation that ``undo`` would take back."""
        return self._at_work.session.undo_name

    @property
    def redo_name(self) -> str | None:
        """The operation that ``redo`` would do again."""
        return self._at_work.session.redo_name

    def do(self, operation: Callable[[EditingSession], T]) -> T:
        """Have something done to the document, and save it."""
        with self._lock:
            self._take_over()
            result = operation(self._at_work.session)
            self._save()
            return result

    def _finish(self, operation: Callable[[EditingSession], T]) -> T:
        """As ``do``, at the end of what took long: on top of what another program has saved meanwhile, too."""
        try:
            return self.do(operation)
        except ChangedElsewhereError:
            return self.do(operation)

    def set_gamma(self, gamma: float) -> int:
        """Decide by the votes again with this bias to the background; several in a row are one operation."""
        return self.do(partial(_decide_by, gamma=gamma))

    def _take_over(self) -> None:
        """Show what another program has saved, rather than write over it."""
        at_work = self._at_work
        stamp = at_work.store.stamp()
        if not self.saves or stamp == at_work.stamp or stamp is None:
            return
        at_work.session.adopt("load", at_work.store.load(self.splats))
        at_work.stamp, at_work.saved = stamp, at_work.session.document
        raise ChangedElsewhereError(
            "another program has changed the segmentation; what it saved is shown now, undo brings back what was here"
        )

    def _save(self) -> None:
        at_work = self._at_work
        if not self.saves or at_work.session.document is at_work.saved:
            return
        at_work.session.saved(at_work.store.save(at_work.session.document))
        at_work.stamp, at_work.saved = at_work.store.stamp(), at_work.session.document

    # Pointing

    @cached_property
    def segmenter(self) -> CachedSegmenter:
        """What is asked about pictures; making it takes seconds."""
        return self._make_segmenter(self.splats.device)

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The pictures that the run was trained on, in the frame of its splats."""
        return self._capture.with_split("train").views

    @cached_property
    def _capture(self) -> Capture:
        return self.run.capture()

    @cached_property
    def pointing(self) -> Pointing:
        """What is pointed at."""
        scene = ClickedScene(self.rasterizer, self.splats, self.views, self.segmenter)
        for view in self._capture:
            # Clicks may have been made in pictures that were held out.
            scene.add(view)
        return Pointing(scene)

    def earlier_prompts(self, object: SceneObject) -> ObjectPrompts:
        """The clicks that an object was made by."""
        prompts = earlier_prompts(self.document, object.name)
        assert prompts is not None
        return prompts

    def find(self, prompts: ObjectPrompts, report: Report) -> FoundObject:
        """What is pointed at, in all views."""
        # Stops if the name is that of an object of another kind.
        earlier_prompts(self.document, prompts.name)
        before = known_before(self.document, prompts.name, self.splats.device)
        return find_object(
            self.pointing.scene, prompts, Propagate(), lambda done, total: report("asking views", done, total), before
        )

    def make(self, found: FoundObject) -> SceneObject:
        """An object of what was found, in place of the one of its name."""
        self._finish(
            lambda session: session.adopt(
                "click", with_found(session.document, [found], self.segmenter.name, Propagate())
            )
        )
        return self.document.object(found.prompts.name)

    def combine(self, target: int, how: Combination, found: FoundObject) -> int:
        """Change an object by what was found; gives the number of Gaussians that changed hands."""
        rows = found.known.rows.cpu()
        return self._finish(lambda session: getattr(session, how)(target, rows))

    @torch.no_grad()
    def object_at(self, camera: Camera, x: float, y: float) -> int | None:
        """The id of what is shown at a pixel, 0 for the background; None if that is nothing."""
        document, splats = self.document, self.splats
        labels = document.labels
        if document.hidden_names():
            shown = document.visible_rows()
            labels, splats = labels[shown], splats.subset(shown.to(splats.device))
        column, row = min(int(x), camera.width - 1), min(int(y), camera.height - 1)
        everywhere = torch.ones(camera.height, camera.width, 1, device=self.rasterizer.device)
        weights = self.rasterizer.lift(splats, camera, everywhere, crop=PixelRect(column, row, 1, 1))[:, 0].cpu()
        if float(weights.sum()) < _SOLID:
            return None
        return int(torch.bincount(labels.clamp_min(BACKGROUND), weights=weights).argmax())

    # Masks

    def mask_folders(self) -> list[Path]:
        """Folders with label maps: that of --pipeline.masks, and those in the run's folder and in its capture's."""
        named = getattr(self.run.config.pipeline, "masks", None)
        folders = [] if named is None else [Path(named)]
        capture = self.run.capture(corrected=False)
        for parent in (self.run.folder, capture.folder):
            folders += sorted(path for path in parent.iterdir() if path.is_dir())
        return [path for path in dict.fromkeys(folders) if _has_label_maps(path, capture)]

    def label(self, masks: Path, report: Report) -> int:
        """Make objects of a folder of label maps, in place of all that there are; gives their number."""
        document = label_splats(self.splats, self.run, self.rasterizer, masks, Robust(), report)
        self.show_layer("objects")
        self._finish(lambda session: session.adopt("label", document))
        return len(document.objects)

    def find_everything(self, report: Report) -> int:
        """Make objects of all that there is, in place of all that there are; gives their number."""
        found = find_everything(
            self.rasterizer,
            self.splats,
            self.views,
            self.segmenter,
            Robust(),
            FindEverything(),
            data=self.run.data,
            progress=report,
        )
        self.show_layer("objects")
        self._finish(lambda session: session.adopt("everything", found.document))
        return len(found.document.objects)

    # Files

    def export(self, objects: Sequence[SceneObject], report: Report) -> list[Path]:
        """Write objects as .ply files into the run's folder."""
        document = self._isolated(objects, report)
        written = export_objects(self.run.folder / EXPORTS, self.splats, document, objects)
        return [entry.path for entry in written if entry.object is not None and entry.path is not None]

    def extract(self, objects: Sequence[SceneObject], report: Report) -> Path:
        """Write a run of these objects alone beside this one, and give its config.yml."""
        target = self._target(name_of_objects(objects))
        ids = [entry.id for entry in objects]
        document = extraction(self._isolated(objects, report), ids, self.config_file)
        return self._derive(target, document, rows_of_objects(document, ids), ids)

    def remove(self, objects: Sequence[SceneObject], report: Report) -> Path:
        """Write a run of all but these objects beside this one, and give its config.yml."""
        target = self._target(f"without-{name_of_objects(objects)}")
        ids, document = [entry.id for entry in objects], self.document
        taken = taken_with(
            document,
            self.splats,
            ids,
            rasterizer=self.rasterizer,
            cameras=[view.camera for view in self.views],
            progress=partial(report, "removal"),
        )
        others = [id for id in document.ids if id not in ids]
        return self._derive(target, removal(document, ids, self.config_file), ~taken.rows, others)

    @property
    def config_file(self) -> Path:
        """Of the run."""
        return self.run.folder / CONFIG_FILE

    def command(self, name: Command, objects: Sequence[SceneObject]) -> str:
        """The line that does the same in a shell."""
        # A number means the object that is called so, if there is one, before that of the id.
        names = self.document.names
        words = ["splatseg", name, "--load-config", str(self.config_file), "--objects"]
        words += [entry.name if str(entry.id) in names else str(entry.id) for entry in objects]
        if self.layer == "parts":
            words.append("--parts")
        if name == "export":
            words += ["--out", str(self.run.folder / EXPORTS)]
        return shlex.join(words)

    def _isolated(self, objects: Sequence[SceneObject], report: Report) -> Segmentation:
        def masks() -> tuple[Path, Iterable[View]]:
            folder, capture = masks_of(self.document, self.run.capture())
            return folder, capture.views

        ids = [entry.id for entry in objects]
        progress: Progress = partial(report, "re-vote")
        return isolate(self.rasterizer, self.splats, self.document, ids, masks, progress)[0]

    @property
    def _method(self) -> Method:
        return "splatfacto" if self.splats.device.type == "cuda" else "splatseg"

    def _target(self, name: str) -> Path:
        name = f"{self.run.folder.name}-{name}"
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        folders = (folder_beside(self.run, self._method, name) for name in names)
        free = next(folder for folder in folders if not folder.exists())
        return check_target(self.run, free, self._method)

    def _derive(self, target: Path, document: Segmentation, rows: torch.Tensor, objects: Sequence[int]) -> Path:
        if not bool(rows.any()):
            raise ValueError("no Gaussian would be left; nothing is written")
        _, kept = part_of(document, self.splats, rows, objects)
        beside = self._layer_beside()
        other = None if beside is None else remaining_layer(beside, self.splats, rows)
        if other is not None:
            other = replace(other, history=(*other.history, *document.history[len(self.document.history) :]))
        whole, parts = (kept, other) if self.layer == "objects" else (other, kept)
        return derive_run(self.run, target, rows, self._method, whole, parts=parts)

    def _layer_beside(self) -> Segmentation | None:
        """The layer that is not worked on, as it is kept."""
        store = self.run.store if self.layer == "parts" else self.run.store.parts
        return store.load(self.splats) if self.saves and store.exists() else None


def one_file(paths: Sequence[Path]) -> tuple[str, bytes]:
    """Name and content of a file to download: the one there is, or a zip of all."""
    if len(paths) == 1:
        return paths[0].name, paths[0].read_bytes()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    return "objects.zip", content.getvalue()


def _decide_by(session: EditingSession, gamma: float) -> int:
    repeated = session.undo_name == _GAMMA
    if repeated:
        session.undo()
    try:
        return session.adopt(_GAMMA, with_gamma(session.document, gamma))
    except ValueError:
        if repeated:
            session.redo()
        raise


def _has_label_maps(folder: Path, capture: Capture) -> bool:
    pictures = [path for view in capture for path in (view.image_path, view.mask_path) if path is not None]
    if _any_size(folder) in {_any_size(parent) for path in pictures for parent in path.parents}:
        return False
    try:
        return bool(LabelFolder.open(folder, capture.names).sources)
    except (ValueError, LookupError, OSError):
        return False


def _any_size(folder: Path) -> Path:
    """The folder of pictures for one of smaller ones, which Nerfstudio calls images_2, images_4 and so on."""
    return folder.with_name(re.sub(r"_\d+$", "", folder.name)) if folder.name else folder
