"""``splatseg objects``: the objects of a segmentation, listed and edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splatseg_ns.cli.console import output, say, table
from splatseg_ns.cli.layers import LayerInputs
from splatseg_ns.segmentation import EditingSession, ObjectRef, SceneObject, Segmentation
from splatseg_ns.segmentation.parts import owners_of


@dataclass(kw_only=True)
class Objects(LayerInputs):
    """List the objects; before that rename, show, hide, merge and delete, in this order.

    An object is named by its name or its id.
    """

    rename: tuple[str, str] | None = None
    """An object and its new name."""

    show: tuple[str, ...] = ()
    """Objects to show; 0 stands for the background."""

    hide: tuple[str, ...] = ()
    """Objects to hide; 0 stands for the background."""

    merge: tuple[str, ...] = ()
    """An object and those that become part of it."""

    delete: tuple[str, ...] = ()
    """Objects to forget; their Gaussians fall to the background."""

    def run(self) -> None:
        splats, document = self.load()
        session = EditingSession(document, splats)

        def refs(words: tuple[str, ...]) -> list[ObjectRef]:
            return [object_ref(session.document, word) for word in words]

        if self.rename is not None:
            session.rename(object_ref(session.document, self.rename[0]), self.rename[1])
        if self.show:
            session.show(*refs(self.show))
        if self.hide:
            session.hide(*refs(self.hide))
        if self.merge:
            target, *others = refs(self.merge)
            if not others:
                raise ValueError("--merge takes an object and at least one that becomes part of it")
            session.merge(target, *others)
        if self.delete:
            session.delete(*refs(self.delete))
        if session.document is not document:
            self.store().save(session.document)
        objects = self.objects_beside(splats)
        owners = {} if objects is None else owners_of(session.document, objects)
        _print(session.document, owners if self.parts else None)


def object_ref(document: Segmentation, word: str) -> ObjectRef:
    """What a word on the command line means: a name, else an id."""
    return int(word) if word not in document.names and word.isdecimal() else word


def chosen_objects(document: Segmentation, words: Sequence[str]) -> list[SceneObject]:
    """The objects that these words name, each once."""
    found = {(entry := document.object(object_ref(document, word))).id: entry for word in words}
    return list(found.values())


def _print(document: Segmentation, owners: Mapping[int, SceneObject | None] | None) -> None:
    """``owners``: of parts, the objects that they belong to."""
    counts = document.counts()
    title, columns = ("Objects", ()) if owners is None else ("Parts", ("object",))
    rows = table(title, "id", "name", "Gaussians", "visible", "colour", *columns)
    for entry in document.objects:
        color = "#{:02x}{:02x}{:02x}".format(*entry.color)
        owner = [] if owners is None else [owner.name if (owner := owners.get(entry.id)) else "-"]
        rows.add_row(str(entry.id), entry.name, str(counts[entry.id]), "yes" if entry.visible else "no", color, *owner)
    output().print(rows)
    rest = len(document) - sum(counts.values())
    hidden = "" if document.background_visible else ", and are hidden"
    say(f"{rest} of {len(document)} Gaussians belong to no {'object' if owners is None else 'part'}{hidden}")
