"""Small helpers around viser's elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import viser

from splatseg_ns.plugin.panel.desk import Desk

Callback = Callable[[Any], None]

_NONE_PRESSED = ""


def guarded(desk: Desk, action: Callable[[], None]) -> Callback:
    """What an element calls: errors go to the browser that it was used in."""

    def callback(event: Any) -> None:
        if event.client is None:
            # Nobody has used it: the panel itself shows another value.
            return
        try:
            action()
        # People can ask for anything; viser would print a traceback and go on.
        except Exception as error:
            desk.failed(error, event.client)

    return callback


def add_button(desk: Desk, gui: viser.GuiApi, label: str, action: Callable[[], None], **options: Any) -> Any:
    """A button that does something."""
    button = gui.add_button(label, **options)
    button.on_click(guarded(desk, action))
    return button


def add_buttons(
    desk: Desk, gui: viser.GuiApi, label: str, actions: dict[str, Callable[[], None]], **options: Any
) -> Any:
    """Buttons in a row, by what is written on them."""
    group = gui.add_button_group(label, tuple(actions), **options)

    def press() -> None:
        pressed = actions[group.value]
        # viser does not tell of a button that is pressed twice, nor of the first one at first.
        group.value = _NONE_PRESSED
        pressed()

    group.value = _NONE_PRESSED
    group.on_click(guarded(desk, press))
    return group


def as_markdown_text(text: str) -> str:
    """Text that means nothing to Markdown or HTML."""
    return "".join(f"&#{ord(letter)};" if letter in _SPECIAL else letter for letter in text)


_SPECIAL = frozenset("\\`*_{}[]()<>#+-.!|&~$@:/\"'^=")
