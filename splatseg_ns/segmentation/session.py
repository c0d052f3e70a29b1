"""Editing a document step by step, with undo and redo."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from splatseg_ns.lift.labels import BACKGROUND
from splatseg_ns.masks import Color
from splatseg_ns.scene import Splats
from splatseg_ns.segmentation import operations
from splatseg_ns.segmentation.document import BACKGROUND_NAME, HistoryEntry, ObjectRef, Segmentation
from splatseg_ns.segmentation.neighbours import Neighbourhood
from splatseg_ns.segmentation.operations import Selection
from splatseg_ns.segmentation.scene_object import Provenance


@dataclass(frozen=True, eq=False)
class _Step:
    """What an operation changed: of the labels only those rows, for a scene has millions."""

    operation: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    rows: Tensor  # [M] int64
    labels_before: Tensor  # [M] int64
    labels_after: Tensor  # [M] int64

    @staticmethod
    def between(operation: str, before: Segmentation, after: Segmentation) -> _Step:
        rows = (before.labels != after.labels).nonzero().flatten()
        return _Step(operation, _apart(before), _apart(after), rows, before.labels[rows], after.labels[rows])

    def undone(self, document: Segmentation) -> Segmentation:
        return self._moved(document, self.before, self.labels_before)

    def redone(self, document: Segmentation) -> Segmentation:
        return self._moved(document, self.after, self.labels_after)

    def _moved(self, document: Segmentation, to: Mapping[str, Any], labels: Tensor) -> Segmentation:
        return replace(document, **to, labels=document.labels.index_copy(0, self.rows, labels))


class EditingSession:
    """A document that is being edited. Each operation says how many Gaussians it relabelled.

    An operation that fails, or that changes nothing, leaves no trace. Undo gives back the document of before, its
    history included.
    """

    def __init__(self, document: Segmentation, splats: Splats, undo_limit: int = 200) -> None:
        document.check_splats(splats)
        self._document = document
        self._means = splats.means
        self._done: deque[_Step] = deque(maxlen=undo_limit)
        self._undone: list[_Step] = []

    @property
    def document(self) -> Segmentation:
        """As it is now."""
        return self._document

    @property
    def undo_name(self) -> str | None:
        """The operation that ``undo`` would take back, if there is one."""
        return self._done[-1].operation if self._done else None

    @property
    def redo_name(self) -> str | None:
        """The operation that ``redo`` would do again, if there is one."""
        return self._undone[-1].operation if self._undone else None

    def undo(self) -> str:
        """Take the last operation back, and name it."""
        if not self._done:
            raise LookupError("there is nothing to undo")
        step = self._done.pop()
        self._document = step.undone(self._document)
        self._undone.append(step)
        return step.operation

    def redo(self) -> str:
        """Do again what was undone last, and name it."""
        if not self._undone:
            raise LookupError("there is nothing to redo")
        step = self._undone.pop()
        self._document = step.redone(self._document)
        self._done.append(step)
        return step.operation

    def commit(self, operation: str, changed: Segmentation, **parameters: Any) -> int:
        """Make a document of the same splats the current one, as one operation of this name."""
        current = self._document
        if (len(changed), changed.fingerprint) != (len(current), current.fingerprint):
            raise ValueError(f"{operation}: the changed document belongs to other splats")
        step = _Step.between(operation, current, changed)
        if len(step.rows) == 0 and step.before == step.after:
            return 0
        # The history is the session's own, whatever the changed document says.
        entry = HistoryEntry.now(operation, {**parameters, "gaussians": len(step.rows)})
        return self._done_by(step, replace(changed, history=(*current.history, entry)))

    def adopt(self, operation: str, changed: Segmentation) -> int:
        """Make a document that was made elsewhere the current one, with its own history, as one operation."""
        current = self._document
        if (len(changed), changed.fingerprint) != (len(current), current.fingerprint):
            raise ValueError(f"{operation}: the changed document belongs to other splats")
        # Once the new document is saved, votes that are still on disk can no longer be read.
        try:
            current.votes()
        except (ValueError, OSError):
            # They are gone, as those are that another program has replaced.
            current = current.with_votes(None)
        return self._done_by(_Step.between(operation, current, changed), changed)

    def saved(self, document: Segmentation) -> None:
        """Take over from a store where the votes of the current document are kept."""
        self._document = replace(self._document, votes_source=document.votes_source)

    def _done_by(self, step: _Step, changed: Segmentation) -> int:
        self._done.append(replace(step, after=_apart(changed)))
        self._undone.clear()
        self._document = changed
        return len(step.rows)

    def create(self, name: str, selection: Selection | None = None, provenance: Provenance | None = None) -> int:
        """A new object of these Gaussians, empty by default."""
        changed = operations.create(self._document, name, selection, provenance)
        return self.commit("create", changed, object=name, selection=self._described(selection))

    def add(self, target: ObjectRef, selection: Selection) -> int:
        """The Gaussians become the object's; an object they are taken from stays, even if it has none left."""
        changed = operations.add(self._document, target, selection)
        return self.commit("add", changed, object=self._name(target), selection=self._described(selection))

    def subtract(self, target: ObjectRef, selection: Selection) -> int:
        """The object loses these Gaussians to the background."""
        changed = operations.subtract(self._document, target, selection)
        return self.commit("subtract", changed, object=self._name(target), selection=self._described(selection))

    def intersect(self, target: ObjectRef, selection: Selection) -> int:
        """The object loses all others than these Gaussians to the background."""
        changed = operations.intersect(self._document, target, selection)
        return self.commit("intersect", changed, object=self._name(target), selection=self._described(selection))

    def rename(self, target: ObjectRef, name: str) -> int:
        """Call the object by another name, which no other has."""
        changed = operations.rename(self._document, target, name)
        return self.commit("rename", changed, object=self._name(target), name=name)

    def recolor(self, target: ObjectRef, color: Color) -> int:
        """Show the object in another colour."""
        changed = operations.recolor(self._document, target, color)
        return self.commit("recolor", changed, object=self._name(target), color=list(color))

    def show(self, *targets: ObjectRef) -> int:
        """Show objects; 0 stands for the background."""
        changed = operations.set_visible(self._document, targets, True)
        return self.commit("show", changed, objects=self._names(targets))

    def hide(self, *targets: ObjectRef) -> int:
        """Hide objects; 0 stands for the background."""
        changed = operations.set_visible(self._document, targets, False)
        return self.commit("hide", changed, objects=self._names(targets))

    def show_only(self, *targets: ObjectRef) -> int:
        """Show these objects and hide all else; 0 stands for the background."""
        changed = operations.show_only(self._document, targets)
        return self.commit("show only", changed, objects=self._names(targets))

    def invert_visible(self) -> int:
        """Show the objects that are hidden and hide the others."""
        return self.commit("invert visible", operations.invert_visible(self._document))

    def delete(self, *targets: ObjectRef) -> int:
        """Forget objects; their Gaussians fall to the background."""
        changed = operations.delete(self._document, targets)
        return self.commit("delete", changed, objects=self._names(targets))

    def merge(self, target: ObjectRef, *others: ObjectRef) -> int:
        """All Gaussians of the others become the object's, and the others are forgotten."""
        changed = operations.merge(self._document, target, others)
        return self.commit("merge", changed, object=self._name(target), others=self._names(others))

    def grow(self, target: ObjectRef, steps: int = 1, from_objects: bool = False) -> int:
        """The object gains the nearest neighbours of its Gaussians; see ``operations.grow``."""
        changed = operations.grow(self._document, target, self._neighbourhood, steps, from_objects)
        return self.commit("grow", changed, object=self._name(target), steps=steps, from_objects=from_objects)

    def shrink(self, target: ObjectRef, steps: int = 1) -> int:
        """The object loses its Gaussians that have neighbours outside it."""
        changed = operations.shrink(self._document, target, self._neighbourhood, steps)
        return self.commit("shrink", changed, object=self._name(target), steps=steps)

    def largest_component(self, target: ObjectRef) -> int:
        """The object loses what does not hang together with its largest part."""
        changed = operations.largest_component(self._document, target, self._neighbourhood)
        return self.commit("largest component", changed, object=self._name(target))

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self._means)

    def _name(self, ref: ObjectRef) -> str:
        return BACKGROUND_NAME if ref == BACKGROUND else self._document.object(ref).name

    def _names(self, refs: tuple[ObjectRef, ...]) -> list[str]:
        return [self._name(ref) for ref in refs]

    def _described(self, selection: Selection | None) -> str | int | None:
        """What the history says of a selection: the object's name, or how many Gaussians it had."""
        if selection is None:
            return None
        if isinstance(selection, int | str):
            return self._name(selection)
        return int(torch.as_tensor(selection).sum())


def _apart(document: Segmentation) -> dict[str, Any]:
    """All of a document but its labels."""
    return {part.name: getattr(document, part.name) for part in fields(document) if part.name != "labels"}
