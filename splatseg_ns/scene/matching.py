"""Which file belongs to which view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import TypeVar

_Found = TypeVar("_Found")

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")


def match_names(
    views: Iterable[str],
    candidates: Mapping[str, _Found],  # by path relative to where they were found, without their own suffix
) -> dict[str, _Found]:
    """The candidate of each view that has one.

    A candidate belongs to the view of its path (a picture's suffix in it, as in ``a.jpg.png``, is of no account), else
    to the view of the same last part, if only one view and one candidate end so.
    """
    views = list(views)
    by_path = {without_picture_suffix(path): path for path in sorted(candidates)} | {path: path for path in candidates}
    by_stem, views_by_stem = _by_last_part(by_path), _by_last_part(views)
    found = {}
    for view in views:
        stem = _last_part(view)
        if view in by_path:
            found[view] = candidates[by_path[view]]
        elif len(views_by_stem[stem]) == 1 and len(by_stem.get(stem, [])) == 1:
            found[view] = candidates[by_path[by_stem[stem][0]]]
    return found


def without_picture_suffix(path: str) -> str:
    """The path without ``.jpg`` and the like at its end."""
    pure = PurePosixPath(path)
    return pure.with_suffix("").as_posix() if pure.suffix.lower() in _PICTURE_SUFFIXES else path


def nearest_names(views: Iterable[str], candidates: Iterable[str], limit: int = 3) -> list[tuple[str, str]]:
    """Views and the candidates that are called almost like them."""
    stems = {_last_part(path): path for path in candidates}
    pairs = []
    for view in views:
        if close := get_close_matches(_last_part(view), stems, n=1):
            pairs.append((view, stems[close[0]]))
        if len(pairs) == limit:
            break
    return pairs


def no_view(name: str, views: Iterable[str]) -> str:
    """What is said where there is no view of a name."""
    known = list(views)
    close = get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
    return f"no view {name!r}; the nearest names are {', '.join(close)}"


def _last_part(path: str) -> str:
    return path.rpartition("/")[2]


def _by_last_part(paths: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(_last_part(path), []).append(path)
    return groups
