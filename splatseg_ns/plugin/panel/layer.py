"""Objects, or parts of them."""

from __future__ import annotations

import viser

from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.widgets import guarded
from splatseg_ns.plugin.workspace import Layer


class LayerSection:
    """What is worked on, where there is a choice."""

    def __init__(self, desk: Desk, gui: viser.GuiApi) -> None:
        self._desk = desk
        layers: tuple[Layer, ...] = ("objects", "parts")
        self._choice = gui.add_dropdown(
            "Layer", layers, desk.workspace.layer, visible=False, hint="Objects, or the parts of them"
        )
        self._choice.on_update(guarded(desk, self._show))

    def remove(self) -> None:
        """Take it away."""
        self._choice.remove()

    def refresh(self) -> None:
        """Show it where there is a choice."""
        self._choice.visible = len(self._desk.workspace.layers()) > 1
        if self._choice.value != self._desk.workspace.layer:
            self._choice.value = self._desk.workspace.layer

    def _show(self) -> None:
        self._desk.show_layer(self._choice.value)
