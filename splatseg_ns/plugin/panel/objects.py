"""The list of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import viser

from splatseg_ns.masks import Color
from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.widgets import add_button, add_buttons, guarded
from splatseg_ns.scene import BACKGROUND
from splatseg_ns.segmentation.document import BACKGROUND_NAME

_ON_A_PAGE = 6
_LONGEST_NAME = 32
_MOST_GHOST = 50
"""Per cent. Gaussians lie over each other: with half of their opacity things look whole."""

_GREY: Color = (110, 110, 110)


@dataclass(frozen=True)
class _Row:
    """What a row shows; a row that shows something else is made anew."""

    id: int
    name: str
    color: Color
    count: int
    visible: bool
    selected: bool


@dataclass
class _DrawnRow:
    row: _Row
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Selected:
    """What is shown of the selected object."""

    id: int
    folder: Any
    name: Any
    color: Any


class ObjectsSection:
    """A row for each object and one for the background, page by page, and what can be done with the selected one."""

    def __init__(self, desk: Desk, gui: viser.GuiApi, refine: Callable[[], None]) -> None:
        self._desk, self._gui = desk, gui
        self._page = 0
        self._drawn: list[_DrawnRow] = []
        self._folder = gui.add_folder("Objects")
        with self._folder:
            self._summary = gui.add_markdown("", order=-3.0)
            whole = {"Hide": self._hide_all, "Show": self._show_all, "Flip": self._invert}
            add_buttons(desk, gui, "All", whole, order=-2.0)
            self._pages = add_buttons(
                desk, gui, "Page", {"<": lambda: self._turn(-1), ">": lambda: self._turn(1)}, order=-1.0
            )
            self._ghost = gui.add_slider(
                "Ghosts, %", 0, _MOST_GHOST, 5, 0, hint="How much of what is hidden can be seen", order=1000.0
            )
            self._ghost.on_update(guarded(desk, self._set_ghost))
        self._refine = refine
        self._selected: _Selected | None = None

    def remove(self) -> None:
        """Take it away."""
        self._folder.remove()

    def refresh(self) -> None:
        """Show the objects as they are now."""
        rows = self._rows()
        shown = None if self._selected is None else self._selected.id
        if (selected := self._desk.selected) is not None and selected != shown:
            self._page = next(place for place, row in enumerate(rows) if row.id == selected) // _ON_A_PAGE
        pages = -(-len(rows) // _ON_A_PAGE)
        self._page = min(self._page, pages - 1)
        self._draw(rows[self._page * _ON_A_PAGE :][:_ON_A_PAGE])
        self._pages.visible = pages > 1
        paging = f", page {self._page + 1} of {pages}" if pages > 1 else ""
        self._summary.content = f"{len(rows) - 1} object{'' if len(rows) == 2 else 's'}{paging}"
        self._show_selection()

    def _rows(self) -> list[_Row]:
        document, selected = self._desk.workspace.document, self._desk.selected
        counts = document.counts()
        rows = [
            _Row(entry.id, entry.name, entry.color, counts[entry.id], entry.visible, entry.id == selected)
            for entry in document.objects
        ]
        rest = len(document) - sum(counts.values())
        return [*rows, _Row(BACKGROUND, BACKGROUND_NAME, _GREY, rest, document.background_visible, False)]

    def _draw(self, rows: list[_Row]) -> None:
        for place, drawn in enumerate(self._drawn):
            if place >= len(rows) or drawn.row != rows[place]:
                for part in drawn.parts:
                    part.remove()
                drawn.parts.clear()
        kept = [drawn if drawn.parts else None for drawn in self._drawn]
        kept += [None] * (len(rows) - len(kept))
        self._drawn = [
            drawn or self._draw_row(row, place) for place, (row, drawn) in enumerate(zip(rows, kept, strict=False))
        ]

    def _draw_row(self, row: _Row, place: int) -> _DrawnRow:
        desk = self._desk
        name = row.name if len(row.name) <= _LONGEST_NAME else f"{row.name[: _LONGEST_NAME - 1]}…"
        # As text: viser looks for each icon in an archive of thousands.
        sign = "✓ " if row.selected else "" if row.visible else "hidden: "

        def toggle() -> None:
            desk.do(lambda session: (session.hide if row.visible else session.show)(row.id))

        actions = {"Hide" if row.visible else "Show": toggle, "Solo": lambda: self._solo(row.id)}
        if row.id != BACKGROUND:
            actions["Del"] = lambda: desk.do(lambda session: session.delete(row.id))
        with self._folder:
            header = add_button(
                desk,
                self._gui,
                f"{sign}{name} · {row.count:,}",
                lambda: desk.select(None if row.selected or row.id == BACKGROUND else row.id),
                # viser names some colours; its client takes all that CSS knows.
                color="#{:02x}{:02x}{:02x}".format(*row.color),
                order=float(2 * place),
            )
            buttons = add_buttons(desk, self._gui, name, actions, order=float(2 * place + 1))
        return _DrawnRow(row, [header, buttons])

    def _show_selection(self) -> None:
        """A folder with what can be done to the selected object alone."""
        desk, entry = self._desk, self._desk.selected_object
        if self._selected is not None and (entry is None or entry.id != self._selected.id):
            self._selected.folder.remove()
            self._selected = None
        if entry is None:
            return
        if self._selected is None:
            with self._folder:
                folder = self._gui.add_folder("Selected", order=1001.0)
            with folder:
                name = self._gui.add_text("New name", entry.name)
                add_button(desk, self._gui, "Rename", self._rename, icon=viser.Icon.PENCIL)
                color = self._gui.add_rgb("Colour", entry.color)
                color.on_update(guarded(desk, self._recolor))
                add_button(desk, self._gui, "Refine with more clicks", self._refine, icon=viser.Icon.CLICK)
                add_button(desk, self._gui, "Deselect", lambda: desk.select(None))
            self._selected = _Selected(entry.id, folder, name, color)
        if self._selected.color.value != entry.color:
            self._selected.color.value = entry.color

    def _turn(self, by: int) -> None:
        self._page = max(self._page + by, 0)
        self.refresh()

    def _hide_all(self) -> None:
        self._desk.do(lambda session: session.hide(*session.document.ids))

    def _show_all(self) -> None:
        self._desk.do(lambda session: session.show(BACKGROUND, *session.document.ids))

    def _invert(self) -> None:
        self._desk.do(lambda session: session.invert_visible())

    def _solo(self, id: int) -> None:
        self._desk.do(lambda session: session.show_only(id))

    def _set_ghost(self) -> None:
        self._desk.ghost = self._ghost.value / 100
        self._desk.refresh()

    def _rename(self) -> None:
        entry, selected = self._desk.needed_object(), self._selected
        if selected is not None:
            name = selected.name.value.strip()
            self._desk.do(lambda session: session.rename(entry.id, name))

    def _recolor(self) -> None:
        entry, selected = self._desk.selected_object, self._selected
        if entry is None or selected is None or selected.id != entry.id:
            return
        color = tuple(selected.color.value)
        self._desk.do(lambda session: session.recolor(entry.id, color))
