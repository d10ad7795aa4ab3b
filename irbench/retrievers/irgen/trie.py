"""A prefix tree over identifiers, as sorted arrays: any length, any vocabulary.

The nodes of one depth are numbered in the order of their prefixes, so the children of a node are consecutive and a
range says all. Shape letters: N images, M codes in an identifier, L codebook size.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from irbench.core.identifiers import Identifiers
from irbench.core.ranking import MISSING, Ranking


@dataclass(frozen=True, eq=False)
class Level:
    """The nodes below depth m: children of node i are `first[i]` … `first[i+1]` - 1, and `code` leads to each."""

    first: NDArray[np.int32]  # [nodes of depth m, plus 1]
    code: NDArray[np.integer]  # [nodes of depth m+1], ascending among the children of one node

    @cached_property
    def width(self) -> int:
        """The largest number of children."""
        return int(np.diff(self.first).max())


@dataclass(frozen=True, eq=False)
class Trie:
    """M levels of nodes, and the gallery rows of each leaf. The root is node 0 of depth 0; a leaf is an identifier."""

    levels: tuple[Level, ...]
    first_row: NDArray[np.int32]  # [leaves + 1]
    rows: NDArray[np.int32]  # [N] gallery rows, leaf by leaf, ascending within a leaf

    @classmethod
    def build(cls, identifiers: Identifiers) -> Self:
        """Sort the identifiers and read every depth off the sorted table."""
        order = _sorted_order(identifiers)
        table = identifiers.codes[order]  # [N,M]
        # new[n,m]: row n of the sorted table starts a new prefix of m+1 codes
        new = np.ones(table.shape, dtype=bool)
        np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=new[1:])
        small = np.min_scalar_type(identifiers.codebook_size - 1)
        levels, parents = [], np.zeros(1, np.int64)
        for depth in range(identifiers.num_codebooks):
            starts = np.flatnonzero(new[:, depth])
            levels.append(Level(_ranges(starts, parents), table[starts, depth].astype(small)))
            parents = starts
        return cls(tuple(levels), np.append(parents, len(order)).astype(np.int32), order.astype(np.int32))

    @property
    def leaves(self) -> int:
        """Number of distinct identifiers."""
        return len(self.first_row) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.first_row.nbytes + self.rows.nbytes + sum(v.first.nbytes + v.code.nbytes for v in self.levels)

    def ranking(self, leaves: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Ranking:
        """Answer with the images of leaves [B,K], best leaf first, each leaf's images in gallery order.

        A leaf with score -inf was not found and has no images.
        """
        found = scores > -np.inf
        start = self.first_row[leaves].astype(np.int64)
        count = np.where(found, self.first_row[leaves + 1] - start, 0)
        end = count.cumsum(axis=1)  # [B,K] answers given once this leaf is through
        place = np.arange(k)
        beam = (place[None, :, None] >= end[:, None, :]).sum(axis=2)  # [B,k] which leaf fills this place
        given = beam < leaves.shape[1]
        beam = np.minimum(beam, leaves.shape[1] - 1)
        row = np.take_along_axis(start + count - end, beam, 1) + place  # the leaf's start, plus the place within it
        rows = np.where(given, self.rows[np.where(given, row, 0)], MISSING)
        return Ranking.from_topk(rows, np.take_along_axis(scores, beam, 1))


def _sorted_order(identifiers: Identifiers) -> NDArray[np.int64]:
    """Return the rows in the order of their identifiers, equal ones in gallery order."""
    bits = max(1, (identifiers.codebook_size - 1).bit_length())
    together = 63 // bits  # codes that fit into one number: sorting by one key is far quicker than by several
    keys = [
        _packed(identifiers.codes[:, m : m + together], bits) for m in range(0, identifiers.num_codebooks, together)
    ]
    return np.lexsort(keys[::-1]) if len(keys) > 1 else np.argsort(keys[0], kind="stable")


def _packed(codes: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return for codes [N,m] numbers [N] of the same order."""
    packed = np.zeros(len(codes), np.int64)
    for column in codes.T:
        packed = packed << bits | column
    return packed


def _ranges(starts: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where each parent's children begin among `starts`; both are rows of the sorted table."""
    return np.append(np.searchsorted(starts, parents), len(starts)).astype(np.int32)
