"""Changing what belongs to an object."""

from __future__ import annotations

from collections.abc import Callable

import viser

from splatseg_ns.edit import gamma_of
from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.widgets import add_button, add_buttons, guarded
from splatseg_ns.plugin.workspace import Combination, Layer

_COMBINATIONS: dict[str, Combination | None] = {
    "a new object": None,
    "added to selected": "add",
    "cut from selected": "subtract",
    "all of selected": "intersect",
}
_SAME_GAMMA = 1e-3


class EditSection:
    """Undo and redo, and operations on the selected object."""

    def __init__(self, desk: Desk, gui: viser.GuiApi) -> None:
        self._desk = desk
        self._folder = gui.add_folder("Edit")
        with self._folder:
            steps = {"Undo": lambda: desk.do(lambda s: s.undo()), "Redo": lambda: desk.do(lambda s: s.redo())}
            add_buttons(desk, gui, "Step", steps)
            self._steps = gui.add_markdown("")
            self._next = gui.add_dropdown(
                "Next one", tuple(_COMBINATIONS), hint="What the next thing that you point at and make becomes"
            )
            self._next.on_update(guarded(desk, self._combine))
            add_buttons(desk, gui, "Selected", {"Grow": self._operation("grow"), "Shrink": self._operation("shrink")})
            add_button(
                desk,
                gui,
                "Keep its largest part only",
                self._operation("largest_component"),
                hint="What does not hang together with it falls to the background",
            )
            self._gamma = gui.add_slider(
                "Background",
                -1.0,
                1.0,
                0.05,
                0.0,
                hint="Bias gamma of the votes: to the right objects lose what is not surely theirs",
            )
            self._gamma.on_update(guarded(desk, self._set_gamma))

    def remove(self) -> None:
        """Take it away."""
        self._folder.remove()

    def refresh(self) -> None:
        """Show what can be undone, and the bias that counts."""
        workspace = self._desk.workspace
        if _COMBINATIONS[self._next.value] != self._desk.combination:
            self._next.value = next(word for word, how in _COMBINATIONS.items() if how == self._desk.combination)
        undo, redo = workspace.undo_name or "nothing", workspace.redo_name or "nothing"
        self._steps.content = f"*undo: {undo}; redo: {redo}*"
        gamma = gamma_of(workspace.document)
        self._gamma.disabled = gamma is None
        if gamma is not None and not self._desk.worker.waits_for("gamma") and self._differs(gamma):
            self._gamma.value = gamma

    def _combine(self) -> None:
        self._desk.combination = how = _COMBINATIONS[self._next.value]
        try:
            if how is not None:
                self._desk.needed_object()
        except ValueError:
            self._desk.combination = None
            raise
        finally:
            self._desk.refresh()

    def _operation(self, name: str) -> Callable[[], None]:
        def act() -> None:
            entry = self._desk.needed_object()
            self._desk.do(lambda session: getattr(session, name)(entry.id))

        return act

    def _set_gamma(self) -> None:
        gamma, layer = float(self._gamma.value), self._desk.workspace.layer
        self._desk.worker.soon("gamma", lambda: self._decide(gamma, layer))

    def _decide(self, gamma: float, layer: Layer) -> None:
        try:
            # Somebody may have gone to another layer since.
            if self._desk.workspace.layer == layer:
                self._desk.workspace.set_gamma(gamma)
        finally:
            self._desk.refresh()

    def _differs(self, gamma: float) -> bool:
        return abs(float(self._gamma.value) - gamma) > _SAME_GAMMA
