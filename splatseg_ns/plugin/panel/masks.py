"""Objects without clicks: from label maps, or all that there are."""

from __future__ import annotations

import viser

from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.widgets import add_button
from splatseg_ns.plugin.worker import Report

_NONE = "none found"


class MasksSection:
    """Label maps that lie with the run or its capture, and the segmenter let loose."""

    def __init__(self, desk: Desk, gui: viser.GuiApi) -> None:
        self._desk = desk
        folders = desk.workspace.mask_folders()
        # Only these can be chosen, so that nothing typed in a browser becomes a path.
        self._folders = {f"{folder.parent.name}/{folder.name}": folder for folder in folders}
        self._folder = gui.add_folder("Masks", expand_by_default=False)
        with self._folder:
            self._choice = gui.add_dropdown(
                "Label maps", tuple(self._folders) or (_NONE,), hint="Folders with the run or its capture"
            )
            add_button(desk, gui, "Label from masks", self._label, icon=viser.Icon.STACK_2, disabled=not self._folders)
            add_button(desk, gui, "Segment everything", self._everything, icon=viser.Icon.SPARKLES)

    def remove(self) -> None:
        """Take it away."""
        self._folder.remove()

    def refresh(self) -> None:
        """Nothing changes here."""

    def _label(self) -> None:
        folder = self._folders[self._choice.value]

        def job(report: Report) -> str:
            made = self._desk.workspace.label(folder, report)
            self._desk.overview()
            return f"{made} objects of {folder.name}"

        self._desk.start("Label from masks", job)

    def _everything(self) -> None:
        def job(report: Report) -> str:
            made = self._desk.workspace.find_everything(report)
            self._desk.overview()
            return f"{made} objects"

        self._desk.start("Segment everything", job)
