"""A prefix tree over identifiers, as sorted arrays; of any length and codebook size.

The nodes of one depth are numbered in the order of their prefixes, so that the children of a node are consecutive and a
range describes them. Shape letters: N images, M codes, L codebook size, B queries, K beam size, k ranking depth.
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
    """From depth m to m+1: the children of node i are `first[i]` … `first[i+1]` - 1, and `code` leads to each."""

    first: NDArray[np.int32]  # [nodes of depth m, plus 1]
    code: NDArray[np.integer]  # [nodes of depth m+1], ascending among the children of a node

    @cached_property
    def width(self) -> int:
        """The largest number of children of a node."""
        return int(np.diff(self.first).max())


@dataclass(frozen=True, eq=False)
class Trie:
    """M levels of nodes, and the gallery rows of each leaf. The root is node 0 of depth 0; a leaf is an identifier."""

    levels: tuple[Level, ...]
    first_row: NDArray[np.int32]  # [leaves + 1]
    rows: NDArray[np.int32]  # [N] gallery rows, leaf by leaf, ascending within a leaf

    @classmethod
    def build(cls, identifiers: Identifiers) -> Self:
        """Sort the identifiers and read the nodes of every depth off the sorted table."""
        order = _sorted_order(identifiers)
        table = identifiers.codes[order]  # [N,M]
        # is_new[n,m]: row n is the first of its prefix of m+1 codes, because it differs from row n-1 in one of them
        is_new = np.ones(table.shape, dtype=bool)
        np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=is_new[1:])
        code_type = np.min_scalar_type(identifiers.codebook_size - 1)
        levels, parents = [], np.zeros(1, np.int64)
        for depth in range(identifiers.num_codebooks):
            starts = np.flatnonzero(is_new[:, depth])
            levels.append(Level(_ranges(starts, parents), table[starts, depth].astype(code_type)))
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
        """Return the ranking [B,k] of the images of leaves [B,K], best leaf first, each leaf's images in gallery order.

        A leaf of score -inf was not reached and contributes no images.
        """
        reached = scores > -np.inf
        start = self.first_row[leaves].astype(np.int64)
        count = np.where(reached, self.first_row[leaves + 1] - start, 0)
        end = count.cumsum(axis=1)  # [B,K] rank after the last image of each leaf
        rank = np.arange(k)
        beam = (rank[None, :, None] >= end[:, None, :]).sum(axis=2)  # [B,k] the leaf whose image stands at each rank
        filled = beam < leaves.shape[1]
        beam = np.minimum(beam, leaves.shape[1] - 1)
        row = np.take_along_axis(start + count - end, beam, 1) + rank  # the leaf's start, plus the place within it
        rows = np.where(filled, self.rows[np.where(filled, row, 0)], MISSING)
        return Ranking.from_topk(rows, np.take_along_axis(scores, beam, 1))


def _sorted_order(identifiers: Identifiers) -> NDArray[np.int64]:
    """Return the rows [N] in the order of their identifiers, equal ones in gallery order."""
    bits = max(1, (identifiers.codebook_size - 1).bit_length())
    per_key = 63 // bits  # codes packed into one integer: sorting by one key is far quicker than by several
    starts = range(0, identifiers.num_codebooks, per_key)
    keys = [_packed(identifiers.codes[:, m : m + per_key], bits) for m in starts]
    return np.lexsort(keys[::-1]) if len(keys) > 1 else np.argsort(keys[0], kind="stable")


def _packed(codes: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return integers [N] in the lexicographic order of codes [N,m]."""
    packed = np.zeros(len(codes), np.int64)
    for column in codes.T:
        packed = packed << bits | column
    return packed


def _ranges(starts: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return where each parent's children begin among `starts`; both are rows of the sorted table."""
    return np.append(np.searchsorted(starts, parents), len(starts)).astype(np.int32)
