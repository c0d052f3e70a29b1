"""What the sections of the panel share: the workspace, what is selected, and how that is shown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import RLock
from typing import Any, Literal, Protocol

from splatseg_ns.masks import Color
from splatseg_ns.plugin.display import Accent, Look, ScreenMask
from splatseg_ns.plugin.worker import Report, Work, Worker
from splatseg_ns.plugin.workspace import Combination, Layer, Workspace
from splatseg_ns.scene import error_line
from splatseg_ns.segmentation import SceneObject
from splatseg_ns.segmentation.pointing import Preview

PREVIEW_COLOR: Color = (255, 214, 0)
"""Of a mask that is no object yet."""

SELECTED_COLOR: Color = (64, 140, 255)
"""Of what is selected: its own colour would not be seen on things of that colour."""

Output = Literal["objects", "segmentation"]


class Screen(Protocol):
    """Where it is all shown."""

    def show(self, desk: Desk) -> None:
        """Draw the scene again."""
        ...

    def tell(self, line: str, kind: Literal["done", "failed"], client: Any | None) -> None:
        """A line for one browser, or for all."""
        ...


class Section(Protocol):
    """A part of the panel."""

    def refresh(self) -> None:
        """Show what is true now."""
        ...

    def remove(self) -> None:
        """Take it away."""
        ...


class Desk:
    """A workspace with somebody at it."""

    def __init__(self, workspace: Workspace, screen: Screen) -> None:
        self.workspace = workspace
        self.worker = Worker(self._work_changed, lambda error: self.failed(error))
        self.sections: list[Section] = []
        self.selected: int | None = None
        self.ghost = 0.0
        self.preview: Preview | None = None
        self.combination: Combination | None = None
        """What is to become of the selected object with what is pointed at; None: that becomes an object."""

        self._overview = False
        self._screen = screen
        self._refreshing = RLock()
        self._closed = False

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        """Of the document."""
        return self.workspace.document.objects

    @property
    def selected_object(self) -> SceneObject | None:
        """What is selected, if it is still there."""
        return next((entry for entry in self.objects if entry.id == self.selected), None)

    def needed_object(self) -> SceneObject:
        """The selected object; somebody has asked for something to be done with it."""
        if (entry := self.selected_object) is None:
            raise ValueError("no object is selected; press its name in the list, or pick it in the scene")
        return entry

    @property
    def look(self) -> Look:
        """What is added to the document."""
        if (preview := self.preview) is not None:
            weights = (preview.share > 0.5).float()
            return Look(self.ghost, Accent(PREVIEW_COLOR, weights, ScreenMask(preview.mask, preview.camera)))
        if (entry := self.selected_object) is not None:
            return Look(self.ghost, Accent(SELECTED_COLOR, self.workspace.document.rows(entry.id).float()))
        return Look(self.ghost)

    @property
    def helpful_output(self) -> Output | None:
        """The output in which what was done last is to be seen; None if any will do."""
        if self.preview is not None or self.selected_object is not None:
            return "objects"
        if self._overview and self.objects:
            return "segmentation"
        return "objects" if self.workspace.document.hidden_names() else None

    def select(self, id: int | None) -> None:
        """Have an object stand out, or none."""
        self.selected = id
        self._overview = False
        self.refresh()

    def overview(self) -> None:
        """Have all objects shown in their colours, until somebody selects one."""
        self.selected = None
        self._overview = True
        self.refresh()

    def show_layer(self, layer: Layer) -> None:
        """Work on another layer, with all of it shown."""
        try:
            if (work := self.worker.work) is not None:
                raise ValueError(f"{work.name} is going on; wait for it, or cancel it")
            self.workspace.show_layer(layer)
        finally:
            self.overview()

    def do(self, operation: Callable[[Any], Any]) -> None:
        """Have something done to the document, and show what comes of it."""
        try:
            self.workspace.do(operation)
        finally:
            self.refresh()

    def start(self, name: str, job: Callable[[Report], str]) -> None:
        """Begin something long, and tell everybody what it says in the end."""

        def run(report: Report) -> None:
            report("starting", 0, 0)
            try:
                line = job(report)
            finally:
                self.refresh()
            self.tell(line)

        self.worker.start(name, run)

    def refresh(self) -> None:
        """Show what is true now."""
        # viser remembers in a folder itself where elements go that are added to it.
        with self._refreshing:
            if self._closed:
                return
            if self.selected_object is None:
                self.selected = None
            self._screen.show(self)
            for section in self.sections:
                section.refresh()

    def tell(self, line: str) -> None:
        """Tell everybody."""
        self._screen.tell(line, "done", None)

    def failed(self, error: Exception, client: Any | None = None) -> None:
        """Tell whoever asked for it, or everybody, what went wrong."""
        self._screen.tell(error_line(error), "failed", client)

    def close(self) -> None:
        """Stop what is going on, and take the sections away."""
        with self._refreshing:
            self._closed = True
            self.worker.close()
            for section in self.sections:
                section.remove()

    def _work_changed(self, work: Work | None) -> None:
        with self._refreshing:
            if not self._closed:
                if self.selected_object is None:
                    self.selected = None
                for section in self.sections:
                    section.refresh()


def names_of(objects: Collection[SceneObject]) -> str:
    """For a line of text."""
    return ", ".join(entry.name for entry in objects)
