"""Exact search over the trie: the K most probable identifiers of the gallery, with none missed.

Branch and bound. Beam search comes first: its K-th score is a lower bound of the K-th best identifier's score. Then
every prefix whose own score reaches the bound is expanded. A code only lowers a score, so that a prefix below the bound
leads to none of the K best. The best prefixes are expanded first, a limited number at a time, and the leaves that they
reach raise the bound for the rest. On a decoder that is certain of its output this costs little more than the beam
search; on one that is not, it comes to scoring every identifier.

Shape letters: B queries, T image tokens, K leaves of a query, F prefixes, W slots of a level.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irbench.retrievers.irgen.beam import MEMORY, BeamSearch
from irbench.retrievers.irgen.branching import NEVER, branchings
from irbench.retrievers.irgen.decoder import Decoder, KVCache
from irbench.retrievers.irgen.trie import Trie

AT_ONCE = 64  # prefixes of one query that are expanded at a time
SLACK = 0.05  # nats: scores vary by less than this with the rest of the batch, in bfloat16 too


class ExactSearch:
    """Exact search over a trie that lies on the device; called like irbench.retrievers.irgen.beam.BeamSearch."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._levels, self._leaves = branchings(trie, device), trie.leaves
        self._beam_search = BeamSearch(trie, device)

    @property
    def nbytes(self) -> int:
        """Bytes of the trie's two copies on the device."""
        return sum(level.nbytes for level in self._levels) + self._beam_search.nbytes

    def __call__(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        """Return leaves [B,K] and scores [B,K] for image tokens [B,T,memory_dim], best first, ties by lower leaf.

        K is `beam_size`, or the number of leaves if that is smaller.
        """
        piece_size = max(1, MEMORY // decoder.cache_bytes(tokens.shape[1], AT_ONCE))
        found = [self._search(decoder, piece, beam_size) for piece in torch.split(tokens, piece_size)]
        return torch.cat([best.leaves for best in found]), torch.cat([best.scores for best in found])

    def _search(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> "_Best":
        scores = self._beam_search(decoder, tokens, beam_size)[1]
        K = min(beam_size, self._leaves)
        bound = scores[:, K - 1] - SLACK if scores.shape[1] >= K else torch.full_like(scores[:, 0], NEVER)
        best = _Best(
            torch.zeros(len(tokens), K, dtype=torch.long, device=tokens.device),
            torch.full((len(tokens), K), NEVER, device=tokens.device),
            bound.clamp(min=torch.finfo(bound.dtype).min),  # above -inf: empty slots are never expanded
        )
        root = torch.zeros(len(tokens), 1, device=tokens.device)
        queries = torch.arange(len(tokens), device=tokens.device)
        frontier = _Frontier(queries, root, root.long(), None, decoder.prefill(tokens, AT_ONCE))
        self._expand(decoder, frontier, best, 0)
        return best

    def _expand(self, decoder: Decoder, frontier: "_Frontier", best: "_Best", position: int) -> None:
        """Expand a frontier down to the leaves; where it grows too wide, depth first, piece by piece."""
        while position < len(self._levels):
            level = self._levels[position]
            logp = decoder.decode_step(frontier.cache, frontier.codes, position).log_softmax(dim=-1)
            reached = level.logp(frontier.nodes, logp).add_(frontier.scores.unsqueeze(-1)).flatten(1)  # [B,F·W]
            width = int((reached >= best.bound[frontier.queries, None]).sum(dim=1).max())
            if not width:
                return
            scores, pick = reached.topk(width, dim=1)
            parents = pick // level.slots
            nodes = level.child(frontier.nodes.gather(1, parents), pick % level.slots)
            children = _Frontier(frontier.queries, scores, nodes, level.code(nodes), frontier.cache)
            position += 1
            if width > AT_ONCE:
                for start in range(0, width, AT_ONCE):
                    if (piece := children.piece(best, parents, start, position)) is not None:
                        self._expand(decoder, piece, best, position)
                return
            if position < len(self._levels):
                children.cache.reorder(parents, position)
            frontier = children
        best.add(frontier)


@dataclass
class _Frontier:
    """Prefixes of some queries, all of one length, best first."""

    queries: Tensor  # [B] rows of the batch
    scores: Tensor  # [B,F]
    nodes: Tensor  # [B,F]
    codes: Tensor | None  # [B,F] that lead to the nodes; None at the root
    cache: KVCache

    def piece(self, best: "_Best", parents: Tensor, start: int, length: int) -> "_Frontier | None":
        """Return `AT_ONCE` prefixes of each query from `start` on; None if all of them are below the bound."""
        alive = (self.scores[:, start] >= best.bound[self.queries]).nonzero().squeeze(1)
        if self.codes is None or not len(alive):
            return None
        here = (alive, slice(start, start + AT_ONCE))
        cache = self.cache.select(alive, parents[here], length)
        return _Frontier(self.queries[alive], self.scores[here], self.nodes[here], self.codes[here], cache)


@dataclass
class _Best:
    """The best K leaves so far, and the score that a leaf has to reach to become one of them."""

    leaves: Tensor  # [B,K]
    scores: Tensor  # [B,K]
    bound: Tensor  # [B]

    def add(self, frontier: _Frontier) -> None:
        """Merge the leaves of a frontier, and raise the bound."""
        rows, K = frontier.queries, self.scores.shape[1]
        leaves = torch.cat([self.leaves[rows], frontier.nodes], dim=1)
        scores = torch.cat([self.scores[rows], frontier.scores], dim=1)
        leaves, order = leaves.sort(dim=1)
        scores, places = scores.gather(1, order).sort(dim=1, descending=True, stable=True)  # ties by lower leaf
        self.leaves[rows], self.scores[rows] = leaves.gather(1, places)[:, :K], scores[:, :K]
        self.bound[rows] = torch.maximum(self.bound[rows], self.scores[rows, -1])


@dataclass(frozen=True, kw_only=True)
class Misses:
    """How often beam search misses what exact search finds."""

    queries: float  # share of the queries with at least one missed leaf
    leaves: float  # share of all leaves


Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # leaves [B,K] and their scores


def misses(beam: Found, exact: Found) -> Misses:
    """Compare the leaves of beam search with the exact ones.

    A leaf whose score is within `SLACK` of the worst one that beam search found does not count as missed.
    """
    (leaves, scores), (true_leaves, true_scores) = beam, exact
    live = true_scores > NEVER
    found = (true_leaves[:, :, None] == np.where(scores > NEVER, leaves, -1)[:, None, :]).any(axis=2)
    worst = scores[:, -1] if scores.shape[1] == true_scores.shape[1] else np.full(len(scores), NEVER)
    missed = live & ~found & (true_scores > worst[:, None] + SLACK)
    return Misses(queries=float(missed.any(axis=1).mean()), leaves=float(missed.sum() / live.sum()))
