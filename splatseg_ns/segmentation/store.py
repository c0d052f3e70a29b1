"""A document in its folder: objects.json for people to read, labels.npz and votes.npz for the numbers.

A save replaces three files, and whoever is killed meanwhile must leave the old or the new document. So objects.json
states the digests of the files that belong to it, and a save goes in three strides:

1. write labels.pending.npz, and votes.pending.npz if the votes have changed;
2. replace objects.json by the new one in a single rename: from here on the new document is the one that is read;
3. rename the pending files to labels.npz and votes.npz.

Whoever reads takes of labels.npz and labels.pending.npz the one with the digest that objects.json states. Before the
second stride that is the old labels.npz, whatever is pending; after it the pending file until it has been renamed. A
save begins by finishing the third stride of one that was killed. A lock on the folder, which the system drops when a
process ends, keeps two saves apart and readers from a set that is about to change.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.lift.votes import Votes
from splatseg_ns.masks import as_color
from splatseg_ns.scene import RenderProfile, Splats, atomic_write
from splatseg_ns.segmentation.document import HistoryEntry, Segmentation
from splatseg_ns.segmentation.scene_object import Provenance, SceneObject

SCHEMA_VERSION = 1
"""Of objects.json. A file of a higher one is refused, because its meaning is unknown."""

PARTS_FOLDER = "parts"
"""Where in the folder of a document its layer of parts is."""

_OBJECTS = "objects.json"
_PARTS = ("labels", "votes")
_HASH_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class SegmentationStore:
    """The folder of one document. Nothing outside it is read or written."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def parts(self) -> SegmentationStore:
        """Where the parts of the document's objects are kept: a document in a folder within this one."""
        return SegmentationStore(self.folder / PARTS_FOLDER)

    def exists(self) -> bool:
        """Whether a document has been saved here."""
        return (self.folder / _OBJECTS).is_file()

    def stamp(self) -> object:
        """Something that differs once another document has been saved here; None if there is none."""
        try:
            stat = (self.folder / _OBJECTS).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def load(self, splats: Splats | None = None) -> Segmentation:
        """The document, checked against its splats if they are given; its votes are read when asked for."""
        if not self.exists():
            raise FileNotFoundError(f"{self.folder}: no segmentation has been saved here; make one first")
        with _locked(self.folder, fcntl.LOCK_SH):
            content = self._read_objects()
            labels = self._read_labels(content["digests"]["labels"])
        try:
            document = _document_of(content, labels, self._votes_source(content))
            if splats is not None:
                document.check_splats(splats)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{self.folder}: {reason}") from error
        return document

    def save(self, document: Segmentation) -> Segmentation:
        """Replace what is there by this document. What comes back is the same, with votes that are known as saved."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self._votes_kept_here(document)
        # Before the lock is taken, because votes that are kept in a folder are read under its lock.
        votes = document.votes() if kept is None or kept.loaded else None
        with _locked(self.folder, fcntl.LOCK_EX):
            saved = self._settle()
            digests = {"labels": self._write_pending_labels(document), "votes": None}
            if kept is not None and kept.digest == saved.get("votes"):
                digests["votes"] = kept.digest
            elif votes is not None:
                digests["votes"] = self._write_pending_votes(votes)
            elif kept is not None:
                raise ValueError(f"{self.folder}: another process has replaced the votes of this document; load again")
            content = _content_of(document, digests)
            _sync(self.folder)
            with atomic_write(self.folder / _OBJECTS) as stream:
                stream.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
                stream.flush()
                os.fsync(stream.fileno())
            _sync(self.folder)
            self._finish(digests)
        return replace(document, votes_source=self._votes_source(content, votes))

    def _settle(self) -> Mapping[str, str | None]:
        """Finish or clear away what a killed save left, and give the digests of the document that is there."""
        for leftover in self.folder.glob(".*.tmp"):
            if leftover.name.startswith((f".{_OBJECTS}.", *(f".{part}." for part in _PARTS))):
                leftover.unlink(missing_ok=True)
        digests: Mapping[str, str | None] = self._read_objects()["digests"] if self.exists() else {}
        self._finish(digests)
        return digests

    def _finish(self, digests: Mapping[str, str | None]) -> None:
        """Bring the files to their names, and remove those that belong to no document."""
        for part in _PARTS:
            pending, final = self._pending(part), self._final(part)
            if pending.exists():
                if _digest_of(pending) == digests.get(part):
                    os.replace(pending, final)
                else:
                    pending.unlink()
            if digests.get(part) is None:
                final.unlink(missing_ok=True)
        _sync(self.folder)

    def _write_pending_labels(self, document: Segmentation) -> str:
        labels = document.labels.cpu().numpy()
        kind = next(kind for kind in (np.int16, np.int32, np.int64) if document.next_id <= np.iinfo(kind).max)
        with atomic_write(self._pending("labels")) as stream:
            np.savez_compressed(stream, labels=labels.astype(kind))
        _sync(self._pending("labels"))
        return _digest_of(self._pending("labels"))

    def _write_pending_votes(self, votes: Votes) -> str:
        votes.save(self._pending("votes"))
        _sync(self._pending("votes"))
        return _digest_of(self._pending("votes"))

    def _read_objects(self) -> dict[str, Any]:
        path = self.folder / _OBJECTS
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path}: no valid JSON ({error}); restore it, or move it away and segment again"
            ) from error
        if not isinstance(content, dict) or type(content.get("version")) is not int:
            raise ValueError(f"{path}: states no version; is it a document of splatseg_ns?")
        if content["version"] > SCHEMA_VERSION:
            raise ValueError(
                f"{path}: has version {content['version']}, this splatseg_ns knows {SCHEMA_VERSION}; "
                "install a newer one, or move the file away and segment again"
            )
        digests = content.get("digests")
        if not isinstance(digests, dict) or not isinstance(digests.get("labels"), str):
            raise ValueError(f"{path}: does not state the digests of its files; move it away and segment again")
        return content

    def _read_labels(self, digest: str) -> Tensor:  # [N] int64
        path = self._with_digest("labels", digest)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                return torch.from_numpy(archive["labels"].astype(np.int64))
        except (ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: no readable labels ({error}); segment again") from error

    def _votes_kept_here(self, document: Segmentation) -> _StoredVotes | None:
        """The votes of the document if they came out of this folder."""
        source = document.votes_source
        if isinstance(source, _StoredVotes) and source.store.folder.resolve() == self.folder.resolve():
            return source
        return None

    def _votes_source(self, content: Mapping[str, Any], votes: Votes | None = None) -> Callable[[], Votes] | None:
        """The votes that belong to objects.json, which need not be read if they are known already."""
        digest = content["digests"].get("votes")
        return _StoredVotes(self, digest, votes) if digest is not None else None

    def _with_digest(self, part: str, digest: str) -> Path:
        """The file that belongs to the document."""
        for path in (self._final(part), self._pending(part)):
            if path.exists() and _digest_of(path) == digest:
                return path
        state = "is missing" if not self._final(part).exists() else "does not belong to objects.json"
        raise ValueError(f"{self._final(part)}: {state}; it was removed or changed from outside, so segment again")

    def _final(self, part: str) -> Path:
        return self.folder / f"{part}.npz"

    def _pending(self, part: str) -> Path:
        return self.folder / f"{part}.pending.npz"


class _StoredVotes:
    """Votes on disk, read once they are needed."""

    def __init__(self, store: SegmentationStore, digest: str, votes: Votes | None = None) -> None:
        self.store = store
        self.digest = digest
        self._votes = votes

    @property
    def loaded(self) -> bool:
        return self._votes is not None

    def __call__(self) -> Votes:
        if self._votes is None:
            with _locked(self.store.folder, fcntl.LOCK_SH):
                self._votes = Votes.load(self.store._with_digest("votes", self.digest))
        return self._votes


def _content_of(document: Segmentation, digests: Mapping[str, str | None]) -> dict[str, Any]:
    """What objects.json holds."""
    counts = document.counts()
    return {
        "version": SCHEMA_VERSION,
        "splats": {
            "count": len(document),
            "fingerprint": document.fingerprint,
            "profile": asdict(document.profile),
        },
        "objects": [
            {
                "id": entry.id,
                "name": entry.name,
                "color": list(entry.color),
                "visible": entry.visible,
                "gaussians": counts[entry.id],
                "provenance": asdict(entry.provenance),
                **({"kind": entry.kind} if entry.kind else {}),
            }
            for entry in document.objects
        ],
        "next_id": document.next_id,
        "background_visible": document.background_visible,
        "digests": dict(digests),
        "history": [asdict(entry) for entry in document.history],
    }


def _document_of(content: Mapping[str, Any], labels: Tensor, votes: Callable[[], Votes] | None) -> Segmentation:
    """The document of an objects.json and its labels."""
    splats = content["splats"]
    if len(labels) != splats["count"]:
        raise ValueError(f"labels.npz has {len(labels)} labels, objects.json speaks of {splats['count']} Gaussians")
    known = {part.name for part in fields(RenderProfile)}
    if unknown := splats["profile"].keys() - known:
        raise ValueError(f"the render profile has the unknown entries {', '.join(sorted(unknown))}")
    objects = tuple(
        SceneObject(
            id=entry["id"],
            name=entry["name"],
            color=as_color(entry["color"]),
            visible=entry["visible"],
            provenance=Provenance(**entry["provenance"]),
            kind=entry.get("kind", ""),
        )
        for entry in content["objects"]
    )
    return Segmentation(
        objects=objects,
        labels=labels,
        fingerprint=splats["fingerprint"],
        profile=RenderProfile(**splats["profile"]),
        votes_source=votes,
        history=tuple(HistoryEntry(**entry) for entry in content["history"]),
        next_id=content["next_id"],
        # Documents from before there was a choice show it.
        background_visible=content.get("background_visible", True),
    )


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Hold a lock on a folder, where its file system has locks; otherwise go without."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks. A single process is as safe without.
        with suppress(OSError):
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _digest_of(path: Path) -> str:
    """BLAKE2b (128 bits) of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before anything that is written later."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
