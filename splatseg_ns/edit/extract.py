"""Objects that leave the scene: which Gaussians go with them, and the files they are written to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.lift import (
    BACKGROUND,
    FlashSplat,
    Gradient,
    Labels,
    Progress,
    Robust,
    Solver,
    Votes,
    isolated_labels,
    solver_named,
)
from splatseg_ns.raster import Rasterizer
from splatseg_ns.scene import Splats, View, atomic_write, write_ply
from splatseg_ns.segmentation import SceneObject, Segmentation

REMAINDER = "remainder"
"""The file of all Gaussians that go with no exported object."""

_LONGEST_STEM = 100
"""Bytes. File systems take names of 255, and some more is to be added to these."""

LEAST_INSIDE = 0.5
"""A Gaussian goes with its object if this much of its mass is inside the object's masks."""


class NoVotesError(ValueError):
    """There are neither masks nor votes by which objects could vote again."""


@dataclass(frozen=True, eq=False)
class ExportedObject:
    """A file that was written; none for an object without Gaussians."""

    object: SceneObject | None
    """None for the remainder."""

    count: int
    path: Path | None


def decided_labels(document: Segmentation) -> Tensor | None:  # [N] int64
    """What the solver decided from the votes that are kept, before anything was edited; none if no votes are kept."""
    votes, solver = document.votes(), _solver_of(document)
    return None if votes is None or solver is None else _decided(solver, votes)


def with_gamma(document: Segmentation, gamma: float) -> Segmentation:
    """The document as the votes decide it with another bias to the background; what was edited stays as it is."""
    votes, solver = document.votes(), _solver_of(document)
    if votes is None or solver is None:
        raise ValueError("the segmentation keeps no votes to decide by another gamma; label again with --gamma")
    biased = with_bias(solver, gamma)
    before, after = _decided(solver, votes), _decided(biased, votes)
    successors = _successors(document, before)
    moved = (before != after) & (document.labels == _mapped(before, successors))
    changed = replace(document, labels=torch.where(moved, _mapped(after, successors), document.labels))
    made = last_labelling(document)
    assert made is not None
    return changed.with_entry("label", **{**made, "settled": vars(biased)})


def gamma_of(document: Segmentation) -> float | None:
    """The bias to the background that the document was decided by; None if it cannot be decided by another one."""
    solver = None if document.votes_source is None else _solver_of(document)
    if isinstance(solver, Gradient):
        weight = solver.background_weight
        return (weight - 1.0) / (weight + 1.0)
    return float(solver.gamma) if isinstance(solver, FlashSplat | Robust) else None


def with_bias(solver: Solver, gamma: float) -> Solver:
    """The same solver with a bias to the background; the gradient voter states it as the weight of votes against."""
    if isinstance(solver, FlashSplat | Robust):
        return replace(solver, gamma=gamma)
    if isinstance(solver, Gradient):
        if not -1.0 <= gamma < 1.0:
            raise ValueError(f"gamma is a number from -1 to below 1 for the gradient solver, got {gamma}")
        return replace(solver, background_weight=(1.0 + gamma) / (1.0 - gamma))
    raise ValueError(f"the solver {type(solver).__name__} has no gamma; leave it out")


def chosen_solver(name: str, gamma: float | Literal["auto"] | None, option: str = "gamma") -> Solver:
    """A solver by its name and a bias, as options state them; ``option`` is what messages call the bias."""
    solver = solver_named(name)
    if gamma is None:
        return solver
    if gamma != "auto":
        return with_bias(solver, gamma)
    if isinstance(solver, Gradient):
        raise ValueError(f"the gradient solver has no {option} auto; give a number, or take another solver")
    return solver_named(name, gamma="auto")


def isolate_by_masks(
    rasterizer: Rasterizer,
    splats: Splats,
    views: Iterable[View],  # with the label maps that the document was made from
    document: Segmentation,
    objects: Sequence[int],
    progress: Progress | None = None,
) -> Segmentation:
    """The document without what its objects should not take along: what lies outside their masks once they are alone.

    Masks count for the objects that their labels have become, and what was edited by hand stays.
    """
    decided = decided_labels(document)
    if decided is None:
        decided = document.labels
    successors = _successors(document, decided)
    relabelled = [
        replace(view, label_source=_RelabelledMap(view, successors)) for view in views if view.label_source is not None
    ]
    labels = Labels(document.labels, torch.zeros(len(document), dtype=torch.float64))
    isolated = isolated_labels(
        rasterizer, splats, relabelled, labels, objects=objects, least_inside=LEAST_INSIDE, progress=progress
    )
    edited = document.labels != _mapped(decided, successors)
    return replace(document, labels=torch.where(edited, document.labels, isolated.ids))


def isolate_by_votes(document: Segmentation, objects: Sequence[int]) -> Segmentation:
    """The document without the Gaussians of its objects of which more than half belongs to other things.

    This needs no masks, but does not see what is hidden inside an object.
    """
    votes, decided = document.votes(), decided_labels(document)
    if votes is None or decided is None:
        raise NoVotesError("the segmentation keeps no votes, so nothing can vote again; export with --no-revote")
    successors = _successors(document, decided)
    edited = document.labels != _mapped(decided, successors)
    labels = document.labels.clone()
    for id in objects:
        sources = [label for label in votes.ids.tolist() if successors.get(label, label) == id]
        inside = _mass_of(votes, sources)
        labels[(document.labels == id) & ~edited & (inside < LEAST_INSIDE * votes.seen)] = BACKGROUND
    return replace(document, labels=labels)


def export_objects(
    folder: str | Path,
    splats: Splats,
    document: Segmentation,
    objects: Sequence[SceneObject],
    to_frame: Tensor | None = None,  # [4, 4] from the frame of the splats
) -> list[ExportedObject]:
    """A .ply for each object and for all other Gaussians, in the order of the scene, and labels.npz for its rows.

    labels.npz holds the label of each Gaussian of the scene (``labels``), and for each object of the document ``ids``,
    ``names`` and ``files`` (empty if it was not written).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    moved = splats if to_frame is None else splats.transform(to_frame)
    remaining = torch.ones(len(document), dtype=torch.bool)
    written: list[ExportedObject] = []
    for object, stem in zip(objects, _file_stems(objects), strict=True):
        rows = document.rows(object.id)
        remaining &= ~rows
        path = folder / f"{stem}.ply"
        written.append(ExportedObject(object, *_write_rows(path, moved, rows)))
    written.append(ExportedObject(None, *_write_rows(folder / f"{REMAINDER}.ply", moved, remaining)))
    files = {entry.object.id: entry.path.name for entry in written if entry.object is not None and entry.path}
    with atomic_write(folder / "labels.npz") as stream:
        np.savez_compressed(
            stream,
            labels=document.labels.cpu().numpy(),
            ids=np.array(document.ids, np.int64),
            names=np.array(document.names, dtype=np.str_),
            files=np.array([files.get(id, "") for id in document.ids], dtype=np.str_),
        )
    return written


@dataclass(frozen=True, eq=False)
class _RelabelledMap:
    """The label map of a view with the ids of the objects that its labels have become."""

    view: View
    successors: dict[int, int]

    def __call__(self) -> Tensor:  # [H, W] int64
        assert self.view.label_source is not None
        return _mapped(self.view.label_source().long(), self.successors)


def last_labelling(document: Segmentation) -> Mapping[str, Any] | None:
    """How the labels were made from masks, as ``splatseg label`` noted it in the history."""
    made = (entry.parameters for entry in reversed(document.history) if entry.operation == "label")
    return next((parameters for parameters in made if {"solver", "settled"} <= parameters.keys()), None)


def _solver_of(document: Segmentation) -> Solver | None:
    """What decided the labels, with everything settled."""
    made = last_labelling(document)
    return None if made is None else solver_named(made["solver"], **made["settled"])


@lru_cache(maxsize=2)
def _decided(solver: Solver, votes: Votes) -> Tensor:  # [N] int64
    """Remembered, because a slider asks again and again what is decided without it; never to be changed."""
    return solver.decide(votes).ids


def _successors(
    document: Segmentation,
    decided: Tensor,  # [N] int64
) -> dict[int, int]:
    """The object that each label has become: itself, or what has most of its Gaussians now if it is no object any more.

    That is another object after a merge, and the background after a deletion.
    """
    alive = set(document.ids)
    votes = document.votes()
    known = decided if votes is None else torch.cat([decided, votes.ids])
    successors = {}
    for label in known[known > BACKGROUND].unique().tolist():
        if label not in alive:
            now = document.labels[decided == label]
            successors[label] = int(now[now >= BACKGROUND].mode().values) if bool((now >= BACKGROUND).any()) else 0
    return successors


def _mapped(labels: Tensor, successors: dict[int, int]) -> Tensor:  # shape of labels
    result = labels.clone()
    for label, now in successors.items():
        result[labels == label] = now
    return result


def _mass_of(votes: Votes, ids: Sequence[int]) -> Tensor:  # [N] float64
    return votes.shares_of(ids, of_seen=False).sum(dim=1)


def _write_rows(path: Path, splats: Splats, rows: Tensor) -> tuple[int, Path | None]:
    count = int(rows.sum())
    if count == 0:
        # Many viewers refuse a file without Gaussians. One of an earlier export would be mistaken for this one's.
        path.unlink(missing_ok=True)
        return 0, None
    write_ply(path, splats.subset(rows.to(splats.device)))
    return count, path


def file_stem(object: SceneObject) -> str:
    """The name of an object as a harmless name of a file."""
    harmless = re.sub(r"[^\w.-]+", "_", object.name).encode()
    return harmless[:_LONGEST_STEM].decode(errors="ignore").strip("._") or "object"


def name_of_objects(objects: Sequence[SceneObject]) -> str:
    """For a folder or a file of them all."""
    stems = [file_stem(entry) for entry in objects]
    together = "-".join(stems)
    return together if len(together.encode()) <= _LONGEST_STEM else f"{stems[0]}-and-{len(stems) - 1}-more"


def _file_stems(objects: Sequence[SceneObject]) -> list[str]:
    """Names of objects as names of files: harmless, and different also where the case of letters does not count."""
    taken, stems = {REMAINDER}, []
    for object in objects:
        stem = file_stem(object)
        while stem.lower() in taken:
            stem = f"{stem}_{object.id}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems
