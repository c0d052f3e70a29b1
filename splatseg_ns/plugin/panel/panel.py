"""The panel as a whole: there while the Gaussians stay the same, gone while training changes them."""

from __future__ import annotations

import atexit
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import viser
from nerfstudio.viewer.viewer import Viewer
from nerfstudio.viewer.viewer_elements import ViewerControl

from splatseg_ns.plugin.moving import install, refresh
from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.edit import EditSection
from splatseg_ns.plugin.panel.files import FilesSection
from splatseg_ns.plugin.panel.layer import LayerSection
from splatseg_ns.plugin.panel.masks import MasksSection
from splatseg_ns.plugin.panel.objects import ObjectsSection
from splatseg_ns.plugin.panel.outputs import OutputSwitch
from splatseg_ns.plugin.panel.select import SelectSection
from splatseg_ns.plugin.panel.status import StatusSection
from splatseg_ns.plugin.workspace import Workspace
from splatseg_ns.raster import rasterizer_for
from splatseg_ns.scene import error_line

if TYPE_CHECKING:
    from splatseg_ns.plugin.pipeline import SplatsegPipeline

_TICK = 0.1
_LAST_STEP = 10.0
"""Seconds that a thread may take to come to its end."""

_SHOWN_MS = {"done": 8_000, "failed": 20_000}
_WAIT = "*Objects can be worked on while training is paused, and when it is done.*"

State = Literal["training", "paused", "done"]


class SegmentationPanel(ViewerControl):
    """The folder "Segmentation" in the viewer of a pipeline."""

    def __init__(self, pipeline: SplatsegPipeline) -> None:
        self._pipeline = pipeline
        self._labelled = False
        self._opened: _Opened | None = None
        self._told: str | None = None
        self._ended = threading.Event()

    def training_done(self) -> None:
        """The last checkpoint is written, and so are the objects of its masks."""
        self._labelled = True

    def _setup(self, viewer: Viewer) -> None:
        """Called by Nerfstudio when its viewer is there."""
        super()._setup(viewer)
        install(viewer)
        self._folder = viewer.viser_server.gui.add_folder("Segmentation", order=_before(viewer))
        with self._folder:
            self._line = viewer.viser_server.gui.add_markdown(_WAIT)
        viewer.viser_server.on_client_connect(self._new_client)
        self._thread = threading.Thread(target=self._run, name="splatseg-panel", daemon=True)
        self._thread.start()
        # A thread that is in torch or in the engine when Python ends would have the process abort.
        atexit.register(self._end)

    def _new_client(self, client: viser.ClientHandle) -> None:
        @client.camera.on_update
        def _(_: viser.CameraHandle) -> None:
            if (opened := self._opened) is not None:
                opened.select.camera_moved(client)

    @property
    def state(self) -> State:
        """Whether the Gaussians change, or nobody will look at them any more."""
        trainer = self.viewer.trainer
        if trainer is None:
            return "done"
        if self._labelled:
            return "training" if trainer.config.viewer.quit_on_train_completion else "done"
        return "paused" if trainer.training_state == "paused" else "training"

    def _run(self) -> None:
        """Open and close the panel, and notice cameras that have come to rest."""
        while not self._ended.wait(_TICK):
            if not self.viewer.ready:
                continue
            try:
                self._follow(self.state)
            # What is wrong with a run is said once; it may be mended meanwhile.
            except Exception as error:
                if self._told != (line := error_line(error)):
                    self._told = line
                    self.tell(line, "failed", None)
                self._ended.wait(1.0)

    def _end(self) -> None:
        self._ended.set()
        self._thread.join(_LAST_STEP)
        if self._opened is not None:
            self._opened.desk.worker.close(_LAST_STEP)

    def _follow(self, state: State) -> None:
        if self._opened is not None and self._opened.state != state:
            self._opened.close()
            self._opened = None
            self._pipeline.splatseg_model().show(None)
            self._line.content = _WAIT
        if self._opened is None and state != "training" and self._pipeline.config.run_folder is not None:
            self._opened = self._open(state, self._pipeline.config.run_folder)
            self._line.content = ""
        if self._opened is not None:
            self._opened.select.tick()
            self._opened.outputs.want(self._opened.desk.helpful_output)

    def _open(self, state: State, folder: Path) -> _Opened:
        # It needs the pipeline.
        from splatseg_ns.plugin.runs import Run

        model = self._pipeline.splatseg_model()
        with self.viewer.train_lock or nullcontext():
            splats = model.splats()
            splats = replace(splats, **{name: part.detach().clone() for name, part in splats.tensors().items()})
        workspace = Workspace(Run.open(folder), splats, rasterizer_for(model.device), saves=state == "done")
        return _Opened(state, Desk(workspace, self), self.viewer, self._folder)

    def show(self, desk: Desk) -> None:
        """Draw the scene as the desk has it."""
        document, selected = desk.workspace.document, desk.selected_object
        selection = None if selected is None else document.rows(selected.id)
        self._pipeline.splatseg_model().show(document, selection, desk.look)
        refresh(self.viewer)

    def tell(self, line: str, kind: Literal["done", "failed"], client: Any | None) -> None:
        """A line for one browser, or for all."""
        clients = self.viewer.viser_server.get_clients().values() if client is None else [client]
        for entry in clients:
            entry.add_notification(
                "Segmentation", line, color="red" if kind == "failed" else "green", auto_close=_SHOWN_MS[kind]
            )


class _Opened:
    """The elements of the panel, inside its folder."""

    def __init__(self, state: State, desk: Desk, viewer: Viewer, folder: viser.GuiFolderHandle) -> None:
        self.state, self.desk = state, desk
        self.outputs = OutputSwitch(viewer.control_panel)
        server = viewer.viser_server
        with folder:
            status, layer = StatusSection(desk, server.gui), LayerSection(desk, server.gui)
            self.select = SelectSection(desk, viewer, server.gui)
            objects = ObjectsSection(desk, server.gui, self.select.refine)
            edit, masks, files = (
                EditSection(desk, server.gui),
                MasksSection(desk, server.gui),
                FilesSection(desk, server),
            )
        desk.sections += [status, layer, self.select, objects, edit, masks, files]
        desk.refresh()

    def close(self) -> None:
        """Take the elements away."""
        self.select.use_mouse("move the camera")
        self.outputs.want(None)
        self.desk.close()


def _before(viewer: Viewer) -> float:
    """The place before Nerfstudio's tabs."""
    return viewer.stats_markdown.order + 0.5
