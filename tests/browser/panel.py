"""The folder "Segmentation" of a page, as those who work with it know it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from splatseg_ns.scene import View
from tests.browser.controls import Button, Dropdown, Folder, escaped
from tests.browser.demo_runs import inside_of
from tests.browser.viewer_page import Spot, ViewerPage
from tests.browser.waiting import until

T = TypeVar("T")

LONG = 180.0
"""Seconds that an object may take where others want the machine as well."""

_TITLE = "Segmentation"
_ROW = re.compile(r"^(✓ |hidden: )?(.*) · ([\d,]+)$")


@dataclass(frozen=True)
class Panel:
    """The panel of one page."""

    page: ViewerPage

    # What it is made of.

    @property
    def folder(self) -> Folder:
        """All of it."""
        return self.page.panel.folder(_TITLE)

    @property
    def select(self) -> Folder:
        return self.page.panel.folder("Select")

    @property
    def objects(self) -> Folder:
        return self.page.panel.folder("Objects")

    @property
    def selected(self) -> Folder:
        """Only there while something is selected."""
        return self.page.panel.folder("Selected")

    @property
    def edit(self) -> Folder:
        return self.page.panel.folder("Edit")

    @property
    def masks(self) -> Folder:
        return self.page.panel.folder("Masks")

    @property
    def files(self) -> Folder:
        return self.page.panel.folder("Files")

    @property
    def output(self) -> Dropdown:
        """Nerfstudio's own choice of what is drawn."""
        return self.page.panel.dropdown("Output type")

    # What it says.

    @property
    def counts(self) -> dict[str, int]:
        """The objects that the list shows, and the background: how many Gaussians each has."""
        return {name: int(count.replace(",", "")) for _, name, count in self._rows()}

    @property
    def names(self) -> list[str]:
        """The rows of the list, from the top."""
        return list(self.counts)

    @property
    def selected_name(self) -> str | None:
        """The name of what is selected."""
        return next((name for sign, name, _ in self._rows() if sign.startswith("✓")), None)

    @property
    def last_step(self) -> str:
        """What would be undone."""
        found = re.search(r"undo: (.*); redo:", self.edit.text)
        assert found is not None, self.edit.text
        return found[1]

    def said(self) -> list[str]:
        """What has come up over the scene."""
        return [body for title, body in self.page.notifications() if title == _TITLE]

    # What is done with it.

    def until(self, what: str, condition: Callable[[], T], timeout: float = 60.0) -> T:
        """Wait for something."""
        return until(self.page.page, what, condition, timeout)

    def wait_until_open(self) -> None:
        """Wait until objects can be worked on, on a page that need not have a picture yet."""
        self.page.wait_until_connected()
        self.until("the list of objects", lambda: self.names)

    def row(self, name: str) -> Button:
        """The bar with the object's name; a press selects it."""
        words = re.compile(rf"^(✓ |hidden: )?{escaped(name)} · [\d,]+$")
        return Button(self.objects.root.get_by_role("button", name=words, include_hidden=True))

    def in_row(self, name: str, word: str) -> Button:
        """One of the small buttons below the bar."""
        return self.objects.button_in_group(name, word)

    def hide(self, name: str) -> None:
        """And wait until the list says so."""
        self.in_row(name, "Hide").press()
        self.until(f"{name} to be hidden", lambda: self.in_row(name, "Show").is_there)

    def show(self, name: str) -> None:
        """And wait until the list says so."""
        self.in_row(name, "Show").press()
        self.until(f"{name} to be shown", lambda: self.in_row(name, "Hide").is_there)

    def turn(self, to: str) -> None:
        """To the page before or after this one, and wait until it is there."""
        before = self.names
        self.objects.button_in_group("Page", to).press()
        self.until("the other page", lambda: self.names != before and self.names)

    def choose(self, name: str) -> None:
        """Select an object by its row, which unselects one that is selected."""
        if self.selected_name != name:
            self.row(name).press()
        self.until(f"{name} to be selected", lambda: self.selected_name == name)

    def deselect(self) -> None:
        """Have nothing selected."""
        if self.selected_name is not None:
            self.selected.button("Deselect").press()
            self.until("nothing to be selected", lambda: self.selected_name is None)

    @property
    def undo_button(self) -> Button:
        return self.edit.button_in_group("Step", "Undo")

    def undo(self) -> None:
        """Take the last operation back."""
        self.undo_button.press()

    def use_mouse(self, use: str) -> None:
        """Have clicks mean this, and wait until they do."""
        self.select.dropdown("Mouse").choose(use)
        moves = use == "move the camera"
        self.until("the page to know what clicks are for", lambda: self.page.takes_clicks != moves)
        if use not in ("move the camera", "pick an object"):
            self.until("the picture to be read", lambda: "ready" in self.select.text or "mask of" in self.select.text)

    def click_on(self, view: View, id: int) -> Spot:
        """Click in the middle of an object, seen from where a picture was taken; gives the place."""
        spot = self.page.spot_of(view, *inside_of(view, id))
        self.page.click(spot)
        return spot

    def point_at(self, view: View, id: int) -> Spot:
        """As ``click_on``, until the segmenter has answered."""
        spot = self.click_on(view, id)
        self.until("a mask", lambda: "mask of" in self.select.text)
        return spot

    def start_making(self, name: str) -> None:
        """Have what was pointed at made an object, and wait until that is going on."""
        self.select.text_field("Name").write(name)
        self.select.button("Make object").press()
        self.until("work to begin", lambda: self.folder.button("Cancel").is_there)

    def make(self, name: str) -> None:
        """Have what was pointed at made an object."""
        self.start_making(name)
        self.until(f"the object {name}", lambda: name in self.names, LONG)
        self.until_idle()

    def until_idle(self) -> None:
        """Wait for the end of what takes long."""
        self.until("work to end", lambda: not self.folder.button("Cancel").is_there, LONG)

    def _rows(self) -> list[tuple[str, str, str]]:
        """A sign, the name and the number."""
        words = self.objects.root.get_by_role("button", name=" · ").all_inner_texts()
        return [found.groups(default="") for found in map(_ROW.match, map(str.strip, words)) if found]
