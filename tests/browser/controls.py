"""The elements of viser's panel, found by the words that users see.

Of viser 0.2.7: its client is built of Mantine, so elements have Mantine's class names. What the viewer has hidden is
not in the page; what a closed folder or another tab has is there, and hidden.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from playwright.sync_api import Locator

from tests.browser.waiting import until

_SENT = 150.0
"""Milliseconds after which a value is on its way. All elements of a panel share one sender, which waits 50 between two
messages and drops all but the last of those that it gets meanwhile."""

_ROW = "xpath=ancestor::div[contains(@class, 'mantine-Flex-root')][1]"
_FOLDER = ".mantine-Paper-root"


class Notification(NamedTuple):
    """What came up over the scene."""

    title: str
    body: str


@dataclass(frozen=True)
class Controls:
    """The elements of a panel, a folder, a tab or a window."""

    root: Locator

    @property
    def text(self) -> str:
        """All that is to be read in it."""
        return self.root.inner_text()

    def folder(self, title: str) -> Folder:
        """By its title, however deep it is."""
        label = self.root.page.locator(f":scope > {_FOLDER}", has_text=_only(title))
        return Folder(self.root.locator(_FOLDER).filter(has=label))

    def tab(self, title: str) -> Controls:
        """Brought to the front."""
        tab = self.root.get_by_role("tab", name=title, exact=True)
        tab.click()
        return Controls(self.root.locator(f"[role=tabpanel][aria-labelledby='{tab.get_attribute('id')}']"))

    def button(self, text: str) -> Button:
        """One with these words on it."""
        return Button(self.root.get_by_role("button", name=text, exact=True, include_hidden=True))

    def button_in_group(self, label: str, text: str) -> Button:
        """One of several in the row with this label."""
        return Button(self._row(label).get_by_role("button", name=text, exact=True, include_hidden=True))

    def checkbox(self, label: str) -> Checkbox:
        """In the row with this label."""
        return Checkbox(self._row(label).locator("input[type=checkbox]"))

    def text_field(self, label: str) -> TextField:
        """In the row with this label."""
        return TextField(self._row(label).locator("input.mantine-TextInput-input"))

    def number(self, label: str) -> NumberField:
        """A slider, or a number, in the row with this label."""
        return NumberField(self._row(label).locator("input.mantine-NumberInput-input"))

    def color(self, label: str) -> ColorField:
        """In the row with this label."""
        return ColorField(self._row(label).locator("input.mantine-ColorInput-input"))

    def dropdown(self, label: str) -> Dropdown:
        """In the row with this label."""
        return Dropdown(self._row(label).locator("input.mantine-Select-input"))

    def labels(self) -> list[str]:
        """Of all rows that can be seen, from the top."""
        return self.root.locator("label:visible").all_inner_texts()

    def progress(self) -> list[float]:
        """Of all progress bars, in percent."""
        bars = self.root.get_by_role("progressbar")
        return bars.evaluate_all("bars => bars.map(bar => Number(bar.getAttribute('aria-valuenow')))")

    def _row(self, label: str) -> Locator:
        return self.root.locator("label").filter(has_text=_only(label)).locator(_ROW)


@dataclass(frozen=True)
class Folder(Controls):
    """Controls that can be folded away."""

    @property
    def is_open(self) -> bool:
        """Whether its elements can be seen."""
        return self._contents.is_visible()

    def open(self) -> Folder:
        """Unfold it if it is folded."""
        return self if self.is_open else self._toggled()

    def close(self) -> Folder:
        """Fold it if it is not."""
        return self._toggled() if self.is_open else self

    def _toggled(self) -> Folder:
        before = self.is_open
        self.root.locator(f":scope > {_FOLDER}").click()
        until(self.root.page, "a folder to open or close", lambda: self.is_open != before)
        return self

    @property
    def _contents(self) -> Locator:
        # The other one is what a closed folder shows in its place.
        return self.root.locator(":scope > [aria-hidden]").first


@dataclass(frozen=True)
class Element:
    """Something to be used."""

    locator: Locator

    @property
    def is_there(self) -> bool:
        """Whether it can be seen, which a closed folder and the viewer can prevent."""
        return self.locator.count() > 0 and self.locator.first.is_visible()

    @property
    def is_enabled(self) -> bool:
        """Whether it can be used."""
        return self.locator.is_enabled()

    def _sent(self) -> None:
        self.locator.page.wait_for_timeout(_SENT)


@dataclass(frozen=True)
class Button(Element):
    """A button."""

    def press(self) -> None:
        """Click it, once it can be used."""
        self.locator.click()
        self._sent()


@dataclass(frozen=True)
class Checkbox(Element):
    """A checkbox."""

    @property
    def is_checked(self) -> bool:
        """Whether it is."""
        return self.locator.is_checked()

    def set(self, checked: bool) -> None:
        """Check it, or not."""
        self.locator.set_checked(checked)
        self._sent()


@dataclass(frozen=True)
class Field(Element):
    """Something to write into."""

    @property
    def text(self) -> str:
        """What stands in it."""
        return self.locator.input_value()

    def write(self, text: str) -> None:
        """In the place of what stands in it."""
        self.locator.fill(text)
        # What a field has unfolded goes.
        self.locator.blur()
        self._sent()


@dataclass(frozen=True)
class TextField(Field):
    """A line of text."""


@dataclass(frozen=True)
class ColorField(Field):
    """A colour, as #rrggbb."""


@dataclass(frozen=True)
class NumberField(Field):
    """A number, with or without a slider."""

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    def set(self, value: float) -> None:
        """As if the slider had been dragged there."""
        self.write(f"{value:g}")


@dataclass(frozen=True)
class Dropdown(Field):
    """One of several."""

    def options(self) -> list[str]:
        """All that there are to choose from."""
        self.locator.click()
        options = self._list().all_inner_texts()
        self.locator.press("Escape")
        return options

    def choose(self, option: str) -> None:
        """By its words."""
        self.locator.click()
        self._list().filter(has_text=_only(option)).click()
        self._sent()

    def _list(self) -> Locator:
        """Other dropdowns of the page have lists of their own."""
        return self.locator.page.locator(f"[id='{self.locator.get_attribute('aria-controls')}']").get_by_role("option")


def escaped(text: str) -> str:
    """As a part of a regular expression for the page, to which Playwright hands it between slashes."""
    return re.escape(text).replace("/", r"\/")


def _only(text: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{escaped(text)}\s*$")
