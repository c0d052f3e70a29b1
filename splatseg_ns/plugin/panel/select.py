"""Pointing at things: what clicks in the scene mean, and what becomes of them."""

from __future__ import annotations

import time
from typing import Any, Literal, get_args

import viser
from nerfstudio.viewer.utils import get_camera
from nerfstudio.viewer.viewer import Viewer

from splatseg_ns.plugin.cameras import camera_of
from splatseg_ns.plugin.panel.desk import Desk
from splatseg_ns.plugin.panel.marks import MarkLayer
from splatseg_ns.plugin.panel.widgets import add_button, as_markdown_text, guarded
from splatseg_ns.plugin.worker import Report
from splatseg_ns.scene import Camera
from splatseg_ns.segmentation.clicked_scene import LONGEST_SIDE
from splatseg_ns.segmentation.pointing import Pointing
from splatseg_ns.segmentation.prompts import Level
from splatseg_ns.segmentation.scene_object import check_name, free_name

Mouse = Literal["move the camera", "pick an object", "click on it", "click off it", "draw a box"]
"""What the mouse does in the scene."""

_MOVE, _PICK, _ON, _OFF, _BOX = get_args(Mouse)
_MEANING: dict[Mouse, str] = {
    _MOVE: "clicks do nothing",
    _PICK: "click to select the object there",
    _ON: "click on what is to be an object",
    _OFF: "click on what does not belong to it",
    _BOX: "drag a box around the object",
}
_READING = "reading the picture ..."
_REST = 0.3
"""Seconds after which a camera rests."""


class SelectSection:
    """From clicks to an object."""

    def __init__(self, desk: Desk, viewer: Viewer, gui: viser.GuiApi) -> None:
        self._desk, self._viewer = desk, viewer
        self._marks = MarkLayer(viewer.viser_server)
        self._mouse: Mouse = _MOVE
        self._reading = False
        self._moved: tuple[float, viser.ClientHandle] | None = None
        self._seen: Camera | None = None
        self._refined: str | None = None
        """The object whose clicks were taken up."""

        self._folder = gui.add_folder("Select")
        with self._folder:
            self._mode = gui.add_dropdown("Mouse", get_args(Mouse), initial_value=_MOVE)
            self._mode.on_update(guarded(desk, lambda: self.use_mouse(self._mode.value)))
            self._line = gui.add_markdown("")
            self._name = gui.add_text("Name", "", hint="Of the next object; without one it is numbered")
            self._level = gui.add_dropdown(
                "How much", get_args(Level), initial_value="auto", hint="The part, the object, or the group around it"
            )
            self._level.on_update(guarded(desk, self._look_again))
            self._make = add_button(desk, gui, "Make object", self._make_object, icon=viser.Icon.CUBE_PLUS)
            add_button(desk, gui, "Clear", self.clear, icon=viser.Icon.ERASER)

    @property
    def is_clicking(self) -> bool:
        """Whether the mouse says what belongs to an object."""
        return self._mouse in (_ON, _OFF, _BOX)

    def use_mouse(self, mouse: Mouse) -> None:
        """Have clicks in the scene, of all browsers, mean this."""
        if mouse == self._mouse:
            return
        scene = self._viewer.viser_server.scene
        if self._mouse != _MOVE:
            scene.remove_pointer_callback()
        self._mouse = mouse
        if self._mode.value != mouse:
            self._mode.value = mouse
        if mouse == _BOX:
            scene.on_pointer_event("rect-select")(self._pointed)
        elif mouse != _MOVE:
            scene.on_pointer_event("click")(self._pointed)
        if self.is_clicking:
            for client in self._viewer.viser_server.get_clients().values():
                self.camera_moved(client)
        self.refresh()

    def camera_moved(self, client: viser.ClientHandle) -> None:
        """Remember who looks at the scene, from now on."""
        self._moved = (time.monotonic(), client)

    def tick(self) -> None:
        """Have the picture read in which somebody may click soon: their camera rests."""
        if not self.is_clicking or self._moved is None or time.monotonic() - self._moved[0] < _REST:
            return
        client, self._moved = self._moved[1], None
        if client.client_id in self._viewer.viser_server.get_clients():
            camera = self._camera(client)
            self._desk.worker.soon("look", lambda: self._look(camera))
            self.refresh()

    def clear(self) -> None:
        """Forget what was pointed at."""
        self._desk.worker.soon("clear", self._clear)

    def _clear(self) -> None:
        self._pointing.clear()
        self._marks.show(())
        self._refined = None
        self._desk.preview = None
        self._desk.refresh()

    def refine(self) -> None:
        """Take up the clicks that the selected object was made by, for more of them."""
        entry = self._desk.needed_object()
        prompts = self._desk.workspace.earlier_prompts(entry)

        def job(report: Report) -> str:
            report("reading its clicks", 0, 0)
            self._pointing.take_up(prompts)
            self._marks.show(self._pointing.marks)
            self._refined = self._name.value = entry.name
            self.use_mouse(_ON)
            return f"{entry.name}: add clicks on it or off it, then make it again"

        self._desk.start(f"Refine {entry.name}", job)

    def remove(self) -> None:
        """Take it away."""
        self._folder.remove()

    def refresh(self) -> None:
        """Say what clicks do, and what the segmenter makes of them."""
        lines = [_MEANING[self._mouse]]
        if self.is_clicking and self._desk.worker.work is None:
            if self._reading or self._moved is not None:
                lines.append(f"*{_READING}*")
            elif (preview := self._desk.preview) is not None:
                lines.append(f"*mask of {int(preview.mask.sum())} pixels, score {preview.score:.2f}*")
            elif self._seen is not None:
                lines.append("*ready*")
        if (how := self._desk.combination) is not None and (entry := self._desk.selected_object) is not None:
            verb = {"add": "added to", "subtract": "taken from", "intersect": "all that is left of"}[how]
            lines.append(f"*what you make is {verb} {as_markdown_text(entry.name)}*")
        self._line.content = "  \n".join(lines)

    @property
    def _pointing(self) -> Pointing:
        return self._desk.workspace.pointing

    def _camera(self, client: viser.ClientHandle) -> Camera:
        """That of a browser, with a picture as large as is of use to the segmenter."""
        state = self._viewer.get_camera_state(client)
        width, height = (
            (LONGEST_SIDE, round(LONGEST_SIDE / state.aspect))
            if state.aspect > 1.0
            else (round(LONGEST_SIDE * state.aspect), LONGEST_SIDE)
        )
        camera = get_camera(state, height, width)
        return camera_of(camera, camera.camera_to_worlds[0])

    def _pointed(self, event: Any) -> None:
        """Somebody has clicked in the scene, or drawn a box."""

        def act() -> None:
            camera = self._camera(event.client)
            pixels = [(x * camera.width, y * camera.height) for x, y in event.screen_pos]
            if self._mouse == _PICK:
                self._pick(camera, *pixels[0])
                return
            mouse = self._mouse
            self._desk.worker.soon(f"point {pixels}", lambda: self._point(mouse, camera, pixels))
            if mouse == _BOX:
                # A box is enough; what follows are corrections.
                self.use_mouse(_ON)

        guarded(self._desk, act)(event)

    def _pick(self, camera: Camera, x: float, y: float) -> None:
        found = self._desk.workspace.object_at(camera, x, y)
        self._desk.select(found or None)

    def _point(self, mouse: Mouse, camera: Camera, pixels: list[tuple[float, float]]) -> None:
        """Show the mark at once, then the mask."""
        if mouse == _BOX:
            (left, top), (right, bottom) = pixels
            self._pointing.draw_box(camera, left, top, right, bottom)
        else:
            self._pointing.click(camera, *pixels[0], on=mouse == _ON)
        self._marks.show(self._pointing.marks)
        self._look(camera)

    def _look(self, camera: Camera) -> None:
        """Read a picture, and see what the segmenter makes of the clicks there."""
        pointing = self._pointing
        view = pointing.look(camera)
        if not view.is_read:
            self._reading = True
            self.refresh()
            try:
                _ = view.embedding
            finally:
                self._reading = False
        self._seen = camera
        if pointing:
            self._desk.preview = pointing.preview(camera, self._level.value)
            self._desk.refresh()
        else:
            self.refresh()

    def _look_again(self) -> None:
        if (camera := self._seen) is not None and self._desk.preview is not None:
            self._desk.worker.soon("look", lambda: self._look(camera))

    def _make_object(self) -> None:
        desk = self._desk
        if (how := desk.combination) is not None:
            target = desk.needed_object()
            prompts = self._pointing.prompts(free_name(desk.workspace.document.names), self._level.value)
        else:
            target, taken = None, desk.workspace.document.names
            name = self._name.value.strip() or free_name(taken)
            check_name(name)
            if name in taken and name != self._refined:
                raise ValueError(
                    f"there is {name} already; choose another name, or select it and press 'Refine with more clicks'"
                )
            prompts = self._pointing.prompts(name, self._level.value)

        def job(report: Report) -> str:
            found = desk.workspace.find(prompts, report)
            if how is None or target is None:
                made = desk.workspace.make(found)
                line = f"{made.name}: {desk.workspace.document.counts()[made.id]} Gaussians"
                chosen = made.id
            else:
                changed = desk.workspace.combine(target.id, how, found)
                line, chosen = f"{target.name}: {changed} Gaussians changed hands", target.id
            desk.combination = None
            self._name.value = ""
            desk.selected = chosen
            self._clear()
            return line

        desk.start(f"Make {prompts.name}" if target is None else f"Change {target.name}", job)
