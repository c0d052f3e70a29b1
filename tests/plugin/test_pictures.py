"""Pictures that are made when somebody looks at them."""

from __future__ import annotations

import threading

import pytest
import torch

from splatseg_ns.plugin.pictures import Pictures, Wish, current_wish, wishing


class Studio:
    """Makes three pictures, and remembers which it was asked for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.pictures = Pictures({name: lambda name=name: self._make(name) for name in ("a", "b", "c")})

    def _make(self, name: str) -> torch.Tensor:
        self.log.append(name)
        return torch.tensor([ord(name)])


def test_all_names_are_there_and_a_picture_is_made_once_when_it_is_read():
    studio = Studio()
    assert list(studio.pictures) == ["a", "b", "c"] and len(studio.pictures) == 3 and "b" in studio.pictures
    assert studio.log == []
    assert studio.pictures["b"] is studio.pictures["b"]
    assert studio.log == ["b"]
    assert {name: int(picture) for name, picture in dict(studio.pictures).items()} == {"a": 97, "b": 98, "c": 99}
    assert studio.log == ["b", "a", "c"]


def test_those_that_are_wished_for_are_made_at_once():
    studio = Studio()
    studio.pictures.make(("c", "b"))
    assert studio.log == ["c", "b"] and studio.pictures.made() == ["b", "c"]
    assert studio.pictures.seconds > 0.0


def test_who_has_not_chosen_yet_looks_at_the_first():
    studio = Studio()
    studio.pictures.make(("not set",))
    assert studio.log == ["a"]


def test_a_viewer_may_add_what_it_makes_of_them():
    pictures = Studio().pictures
    pictures["d"] = torch.tensor([1])
    assert list(pictures) == ["a", "b", "c", "d"] and int(pictures["d"]) == 1
    with pytest.raises(KeyError):
        pictures["e"]


def test_a_wish_is_that_of_one_thread_for_a_while():
    seen: list[Wish | None] = []
    with wishing(Wish(("a",))):
        other = threading.Thread(target=lambda: seen.append(current_wish()))
        other.start()
        other.join()
        assert current_wish() == Wish(("a",))
    assert seen == [None] and current_wish() is None
