"""Objects as files and as runs of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import viser

from splatseg_ns.plugin.panel.desk import Desk, names_of
from splatseg_ns.plugin.panel.widgets import add_button, add_buttons
from splatseg_ns.plugin.worker import Report
from splatseg_ns.plugin.workspace import EXPORTS, Command, one_file
from splatseg_ns.segmentation import SceneObject


class FilesSection:
    """Saving, exporting, and the commands that do the same."""

    def __init__(self, desk: Desk, server: viser.ViserServer) -> None:
        self._desk, self._server = desk, server
        gui = server.gui
        self._folder = gui.add_folder("Files", expand_by_default=False)
        with self._folder:
            self._where = gui.add_markdown("")
            self._saving = add_button(desk, gui, "Save", self._save, icon=viser.Icon.DEVICE_FLOPPY)
            add_buttons(
                desk,
                gui,
                "Export .ply",
                {
                    "Selected": lambda: self._export([desk.needed_object()]),
                    "All": lambda: self._export(self._all()),
                },
                hint="Written into the run's folder, and downloaded",
            )
            self._runs = add_buttons(
                desk,
                gui,
                "New run",
                {"Extract": lambda: self._derive("extract"), "Remove": lambda: self._derive("remove")},
                hint="Of the selected object alone, or of all but it, beside this run",
            )
            self._commands: dict[Command, Any] = {
                name: gui.add_text(f"> {name}", "", hint="The command that does the same in a shell, to copy")
                for name in get_args(Command)
            }

    def remove(self) -> None:
        """Take it away."""
        self._folder.remove()

    def refresh(self) -> None:
        """Say where things go, and how to do the same in a shell."""
        workspace = self._desk.workspace
        self._where.content = (
            "saved after every change, in `segmentation`"
            if workspace.saves
            else "**not saved**: training goes on, and what is made now belongs to no checkpoint"
        )
        self._runs.visible = self._saving.visible = workspace.saves
        entry = self._desk.selected_object
        for name, field in self._commands.items():
            line = "" if entry is None else workspace.command(name, [entry])
            field.visible = entry is not None and (workspace.saves or name == "export")
            if field.value != line:
                field.value = line

    def _all(self) -> list[SceneObject]:
        if not self._desk.objects:
            raise ValueError("there is no object yet; make one first")
        return list(self._desk.objects)

    def _save(self) -> None:
        # Whatever was done is saved; this also takes over what another program has saved.
        self._desk.do(lambda session: None)
        self._desk.tell(f"saved in {self._desk.workspace.run.store.folder}")

    def _export(self, objects: Sequence[SceneObject]) -> None:
        clients = self._server.get_clients()

        def job(report: Report) -> str:
            paths = self._desk.workspace.export(objects, report)
            if not paths:
                raise ValueError(f"{names_of(objects)}: no Gaussians, so no file was written")
            name, content = one_file(paths)
            for client in clients.values():
                client.send_file_download(name, content)
            return f"{names_of(objects)}: {len(paths)} files in {self._desk.workspace.run.folder / EXPORTS}"

        self._desk.start("Export", job)

    def _derive(self, name: str) -> None:
        entry = self._desk.needed_object()
        derive: Callable[[Sequence[SceneObject], Report], Path] = getattr(self._desk.workspace, name)

        def job(report: Report) -> str:
            return f"ns-viewer --load-config {derive([entry], report)}"

        self._desk.start(f"{name.capitalize()} {entry.name}", job)
