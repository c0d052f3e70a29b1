"""One object of a scene, apart from which Gaussians it has."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from splatseg_ns.masks import Color, as_color, default_color


@dataclass(frozen=True)
class Provenance:
    """How an object came about, in plain JSON values."""

    prompts: tuple[Mapping[str, Any], ...] = ()
    """What pointed at it: clicks, boxes, texts, folders of masks."""

    solver: str = ""
    """What decided which Gaussians are its own."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Of the solver."""

    def __post_init__(self) -> None:
        # As a document read back has them, so that the two compare equal.
        object.__setattr__(self, "prompts", tuple(plain(prompt) for prompt in self.prompts))
        object.__setattr__(self, "parameters", plain(self.parameters))


@dataclass(frozen=True)
class SceneObject:
    """What an object is called, how it is shown, and how it came about."""

    id: int
    """Its label; 1 or more."""

    name: str
    color: Color
    visible: bool = True
    provenance: Provenance = field(default_factory=Provenance)
    kind: str = ""
    """Of a part what it is on any object, such as handle; objects have none."""

    def __post_init__(self) -> None:
        if type(self.id) is not int or self.id < 1:
            raise ValueError(f"the id of an object is a whole number of at least 1, got {self.id!r}")
        check_name(self.name)
        if not isinstance(self.visible, bool):
            raise ValueError(f"object {self.name}: visible is true or false, got {self.visible!r}")
        if not isinstance(self.kind, str):
            raise ValueError(f"object {self.name}: its kind is text, got {self.kind!r}")
        object.__setattr__(self, "color", as_color(self.color))

    @staticmethod
    def new(id: int, name: str, provenance: Provenance | None = None) -> SceneObject:
        """A visible object in the colour that its id gives it."""
        return SceneObject(id, name, default_color(id), provenance=provenance or Provenance())


def check_name(name: object) -> None:
    """Stop if an object cannot be called so."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"the name of an object is some visible text in one line, got {name!r}")


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same in JSON's own types; an error if JSON cannot hold it."""
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{value!r} cannot be kept in a document ({error}); give plain JSON values") from error


def free_name(taken: Collection[str]) -> str:
    """A name for an object that was given none."""
    return next(name for number in count(1) if (name := f"object_{number}") not in taken)


def unique_name(name: str, taken: set[str]) -> str:
    """The name, with the first free number after it if it is taken."""
    if name not in taken:
        return name
    number = 2
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"
