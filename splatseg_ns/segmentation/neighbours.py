"""Which Gaussians lie next to each other."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

_LINKS = 16
"""Neighbours within an object that a Gaussian may hang together with."""

_REACH = 3.0
"""How far links reach, as a multiple of the median distance to the last of these neighbours.

On the tabletop capture, with 16 links, this keeps 99.8 % of every object and drops stray Gaussians. Links of any length
drop none, and links that have to be mutual lose an eighth of the scissors.
"""


class Neighbourhood:
    """The ``count`` nearest neighbours of every Gaussian by their centres; those without a finite centre have none.

    Growing takes in the neighbours of members, and shrinking keeps the members whose neighbours are all members. The
    two are adjoint, as dilation and erosion of pictures are: to shrink what has grown never loses a Gaussian, and to
    grow what has shrunk never gains one.
    """

    def __init__(
        self,
        means: Tensor,  # [N, 3]
        count: int = 8,
    ) -> None:
        if count < 1:
            raise ValueError(f"at least one neighbour is needed, got {count}")
        self.count = count
        self._means = means.detach().cpu().double().numpy()

    def grown(
        self,
        members: Tensor,  # [N] bool
    ) -> Tensor:  # [N] bool
        """The members and their neighbours."""
        _, neighbours = self._of(members)
        grown = members.cpu().clone()
        grown[torch.from_numpy(neighbours.ravel())] = True
        return grown.to(members.device)

    def shrunk(
        self,
        members: Tensor,  # [N] bool
    ) -> Tensor:  # [N] bool
        """The members whose neighbours are all members."""
        rows, neighbours = self._of(members)
        shrunk = members.cpu().numpy().copy()
        shrunk[rows] = shrunk[neighbours].all(axis=1)
        return torch.from_numpy(shrunk).to(members.device)

    def largest_component(
        self,
        members: Tensor,  # [N] bool
    ) -> Tensor:  # [N] bool
        """The largest set of members that hang together by links to near members; of equals the first."""
        rows = np.flatnonzero(members.cpu().numpy() & self._finite)
        largest = torch.zeros(len(members), dtype=torch.bool)
        links = min(_LINKS, len(rows) - 1)
        if links < 1:
            largest[torch.from_numpy(rows)] = True
            return largest.to(members.device)
        points = self._means[rows]
        found = KDTree(points, balanced_tree=False).query(points, links + 1, workers=-1)
        distances, neighbours = (np.asarray(part) for part in found)
        near = distances <= _REACH * np.median(distances[:, -1])
        starts = np.repeat(np.arange(len(rows)), near.sum(axis=1))
        edges = coo_array((np.ones(len(starts), bool), (starts, neighbours[near])), shape=(len(rows), len(rows)))
        _, components = connected_components(edges, directed=False)
        largest[torch.from_numpy(rows[components == np.bincount(components).argmax()])] = True
        return largest.to(members.device)

    @cached_property
    def _finite(self) -> np.ndarray:  # [N] bool
        return np.isfinite(self._means).all(axis=1)

    @cached_property
    def _finite_rows(self) -> np.ndarray:  # [M] int64
        return np.flatnonzero(self._finite)

    @cached_property
    def _tree(self) -> KDTree:
        # Splitting at the middle builds several times faster than at the median, and asks no slower.
        return KDTree(self._means[self._finite], balanced_tree=False)

    def _of(self, members: Tensor) -> tuple[np.ndarray, np.ndarray]:  # [M] and [M, K] int64
        """The members that have neighbours, and those neighbours; a Gaussian may stand among its own."""
        rows = np.flatnonzero(members.cpu().numpy() & self._finite)
        count = min(self.count + 1, len(self._finite_rows))
        if len(rows) == 0:
            return rows, np.zeros((0, count), np.int64)
        _, found = self._tree.query(self._means[rows], count, workers=-1)
        return rows, self._finite_rows[np.asarray(found).reshape(len(rows), count)]
