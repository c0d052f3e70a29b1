"""Pictures that have been read stay read: embeddings are kept on disk, and read ahead in the background."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from splatseg_ns.masks.segmenter import Candidates, Embedding, PictureReader, Prompts, Segmenter, reading_threads
from splatseg_ns.scene import atomic_write

CACHE_VARIABLE = "SPLATSEG_CACHE"
"""The environment variable that names the folder of everything that is kept between runs."""

_ON_DISK = 2 * 10**9
_IN_MEMORY = 10**8
_READERS = 2
"""Pictures that are read ahead at a time. Two with a thread each are about as fast as one with two threads where cores
are free, and much faster where they are not: torch's threads wait for each other at every layer."""

_LAYOUT = b"1"
"""Changes whenever files from before can no longer be used."""

_ANY = ""
"""In the place of a picture's name."""

_OURS = {".npz", ".tmp"}
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, NotImplementedError, zipfile.BadZipFile)


_Reader = TypeVar("_Reader", bound=PictureReader)


class CachedReader(Generic[_Reader]):
    """Reads no picture twice, in this run or a later one. May be asked from several threads."""

    def __init__(
        self,
        reader: _Reader,
        folder: Path | None = None,
        most_bytes: int = _ON_DISK,
    ) -> None:
        """``folder`` is by default the user's; the files that were not used for longest go beyond ``most_bytes``."""
        self.reader = reader
        self._root = folder or _user_folder()
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Embedding] = OrderedDict()
        self._in_work: set[str] = set()
        self._failures: dict[str, Exception] = {}
        """What kept readers ahead from reading a picture, by its name; without one from getting at pictures at all."""
        self._readers: list[Thread] = []
        self._changed = Condition()
        self._on_disk = True

    @property
    def name(self) -> str:
        """That of the reader within."""
        return self.reader.name

    def embed(
        self,
        image: Tensor,  # [H, W, 3] uint8
    ) -> Embedding:
        """Look the picture up, or read it; also raises what kept a reader ahead from doing so."""
        key = _picture_name(image)
        with self._changed:
            while (found := self._find(key)) is None and key in self._in_work:
                self._changed.wait()
            if found is not None:
                return found
            for failed in (key, _ANY):
                if failed in self._failures:
                    raise self._failures.pop(failed)
            self._in_work.add(key)
            others = len(self._readers)
        return self._read(key, image, at_once=max(1, others))

    @contextmanager
    def prefetch(
        self,
        images: Iterable[Tensor],  # each [H, W, 3] uint8
    ) -> Iterator[None]:
        """Read pictures in this order in the background while the block runs; what is not read by its end is left.

        The pictures are asked for one by one, in another thread.
        """
        waiting, asking = iter(images), Lock()
        leaving = False

        def next_unread() -> tuple[str, Tensor] | None:
            # One reader at a time, so that a picture is in work before what comes after it can fail.
            with asking:
                for image in waiting:
                    if leaving:
                        break
                    key = _picture_name(image)
                    if self._claim(key):
                        return key, image
            return None

        def read_on() -> None:
            key = _ANY
            try:
                while not leaving and (found := next_unread()) is not None:
                    key, image = found
                    self._read(key, image, at_once=_READERS)
                    key = _ANY
            except Exception as error:
                with self._changed:
                    self._failures[key] = error

        readers = [Thread(target=read_on, name="splatseg-reader") for _ in range(_READERS)]
        self._readers += readers
        try:
            for reader in readers:
                reader.start()
            yield
        finally:
            leaving = True
            for reader in readers:
                if reader.ident is not None:
                    reader.join()
                self._readers.remove(reader)
            self._failures.clear()

    def _claim(self, key: str) -> bool:
        """Mark a picture as in work, unless it is there or someone reads it."""
        with self._changed:
            if key in self._kept or key in self._in_work or os.path.exists(self._path(key)):
                return False
            self._in_work.add(key)
            return True

    def _read(self, key: str, image: Tensor, at_once: int) -> Embedding:
        """Read a picture that is marked as in work, and keep what comes of it."""
        try:
            with reading_threads(at_once):
                embedding = self.reader.embed(image)
            with self._changed:
                self._keep(key, embedding)
            self._write(key, embedding)
        finally:
            with self._changed:
                self._in_work.discard(key)
                self._changed.notify_all()
        return embedding

    def _find(self, key: str) -> Embedding | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key in self._in_work:
            return None
        path = self._path(key)
        try:
            embedding = _read_file(path)
        except _UNREADABLE:
            return None
        # Its time tells when it was last used. Others may have written it.
        with suppress(OSError):
            os.utime(path)
        self._keep(key, embedding)
        return embedding

    def _keep(self, key: str, embedding: Embedding) -> None:
        self._kept[key] = embedding
        most = _IN_MEMORY if self._on_disk else self._most_bytes
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > most:
            self._kept.popitem(last=False)

    def _write(self, key: str, embedding: Embedding) -> None:
        if not self._on_disk:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_file(path, embedding)
            _make_room(self._root, self._most_bytes)
        except OSError as error:
            with self._changed:
                first, self._on_disk = self._on_disk, False
            if first:
                why = (error.strerror or str(error)).lower()
                warnings.warn(
                    f"{self._root}: {why}; pictures are read again in each run, unless {CACHE_VARIABLE} names a folder "
                    "that can be written",
                    stacklevel=2,
                )

    def _path(self, key: str) -> Path:
        return self._root / re.sub(r"[^\w-]+", "-", self.name) / f"{key}.npz"


class CachedSegmenter(CachedReader[Segmenter]):
    """A segmenter that reads no picture twice, in this run or a later one. May be asked from several threads."""

    @property
    def segmenter(self) -> Segmenter:
        """The one within."""
        return self.reader

    @segmenter.setter
    def segmenter(self, other: Segmenter) -> None:
        self.reader = other

    def predict(self, embedding: Embedding, prompts: Prompts) -> Candidates:
        """Answer questions about a picture that has been read."""
        return self.reader.predict(embedding, prompts)


def _user_folder() -> Path:
    """Where the user keeps what can be made again."""
    chosen = os.environ.get(CACHE_VARIABLE)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # What XDG_CACHE_HOME says counts only if it is absolute.
    parent = Path(shared) if os.path.isabs(shared) else Path(os.path.expanduser("~")) / ".cache"
    return (Path(chosen) if chosen else parent / "splatseg_ns") / "embeddings"


def _picture_name(
    image: Tensor,  # [H, W, 3] uint8
) -> str:
    digest = hashlib.blake2b(f"{list(image.shape)}".encode(), digest_size=16, key=_LAYOUT)
    digest.update(image.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _write_file(path: Path, embedding: Embedding) -> None:
    features = {f"features_{place}": part.cpu().numpy() for place, part in enumerate(embedding.features)}
    with atomic_write(path) as stream:
        np.savez(stream, size=np.array([embedding.width, embedding.height]), **features)


def _read_file(path: Path) -> Embedding:
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise ValueError(f"{path}: damaged")
    with np.load(path, allow_pickle=False) as arrays:
        width, height = arrays["size"].tolist()
        features = tuple(torch.from_numpy(arrays[f"features_{place}"]) for place in range(len(arrays.files) - 1))
    return Embedding(features, width, height)


def _make_room(root: Path, most_bytes: int) -> None:
    """Delete the files that were not used for longest."""
    files = []
    for path in root.glob("*/*"):
        # Others may be making room too.
        with suppress(FileNotFoundError):
            if path.suffix in _OURS:
                files.append((path.stat(), path))
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if total <= most_bytes:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size


def _size(embedding: Embedding) -> int:
    return sum(part.nbytes for part in embedding.features)
