"""What is going on, and the way to stop it."""

from __future__ import annotations

import viser

from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.widgets import add_button, as_markdown_text


class StatusSection:
    """A line, a bar and a button while something long is being done."""

    def __init__(self, desk: Desk, gui: viser.GuiApi) -> None:
        self._desk = desk
        self._line = gui.add_markdown("", visible=False)
        self._bar = gui.add_progress_bar(0.0, visible=False)
        self._cancel = add_button(desk, gui, "Cancel", desk.worker.cancel, icon=viser.Icon.X, visible=False)

    def remove(self) -> None:
        """Take it away."""
        for part in (self._line, self._bar, self._cancel):
            part.remove()

    def refresh(self) -> None:
        """Show how far it is."""
        work = self._desk.worker.work
        for part in (self._line, self._bar, self._cancel):
            part.visible = work is not None
        if work is None:
            return
        what = "stopping" if work.cancelled else work.stage
        count = f" {work.done}/{work.total}" if work.total and not work.cancelled else ""
        self._line.content = f"**{as_markdown_text(work.name)}**: {as_markdown_text(what)}{count}"
        self._bar.value = 100.0 * work.share
        self._bar.animated = work.total == 0
