"""Exact search under the trie: the K best identifiers of the gallery, none missed.

Beam search first: its K-th score is one that the K-th best identifier reaches at least. Then every prefix is followed
whose own score still reaches it. Codes only take from a score, so what is left out could not have become one of the
K best. The best prefixes are followed first, a limited number at once, and what they lead to raises the bar for the
rest. On a decoder that is sure of itself this costs little more than the beam search; on one that is not, it comes to
scoring every identifier.

Shape letters: B queries, K answers, F prefixes that are followed, W slots of a level.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irbench.retrievers.irgen.beam import MEMORY, BeamSearch
from irbench.retrievers.irgen.branching import NEVER, branchings
from irbench.retrievers.irgen.decoder import Cache, Decoder
from irbench.retrievers.irgen.trie import Trie

AT_ONCE = 64  # prefixes of one query that are followed at once
SLACK = 0.05  # nats: by less than this, in bfloat16 too, a score depends on what else is in the batch


class ExactSearch:
    """A trie on the device that decodes, to be called as irbench.retrievers.irgen.beam.BeamSearch."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._levels, self._leaves = branchings(trie, device), trie.leaves
        self._beam_search = BeamSearch(trie, device)

    def __call__(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        """Leaves [B,K] and scores [B,K] for image tokens [B,T,D], best first; K is `beam_size`, or all leaves if fewer.

        Of equal scores the lower leaf stands first.
        """
        some = max(1, MEMORY // decoder.cache_bytes(tokens.shape[1], AT_ONCE))
        found = [self._search(decoder, piece, beam_size) for piece in torch.split(tokens, some)]
        return torch.cat([best.leaves for best in found]), torch.cat([best.scores for best in found])

    def _search(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> "_Best":
        scores = self._beam_search(decoder, tokens, beam_size)[1]
        K = min(beam_size, self._leaves)
        bar = scores[:, K - 1] - SLACK if scores.shape[1] >= K else torch.full_like(scores[:, 0], NEVER)
        best = _Best(
            torch.zeros(len(tokens), K, dtype=torch.long, device=tokens.device),
            torch.full((len(tokens), K), NEVER, device=tokens.device),
            bar.clamp(min=torch.finfo(bar.dtype).min),
        )
        root = torch.zeros(len(tokens), 1, device=tokens.device)
        queries = torch.arange(len(tokens), device=tokens.device)
        front = _Front(queries, root, root.long(), None, decoder.prefill(tokens, AT_ONCE))
        self._follow(decoder, front, best, 0)
        return best

    def _follow(self, decoder: Decoder, front: "_Front", best: "_Best", position: int) -> None:
        """Follow a front to the leaves; where it grows too wide, one part of it after another."""
        while position < len(self._levels):
            level = self._levels[position]
            logp = decoder.decode_step(front.cache, front.codes, position).log_softmax(dim=-1)
            reached = level.logp(front.nodes, logp).add_(front.scores.unsqueeze(-1)).flatten(1)  # [B,F·W]
            width = int((reached >= best.bar[front.queries, None]).sum(dim=1).max())
            if not width:
                return
            scores, pick = reached.topk(width, dim=1)
            parents = pick // level.slots
            nodes = level.child(front.nodes.gather(1, parents), pick % level.slots)
            wide = _Front(front.queries, scores, nodes, level.code(nodes), front.cache)
            position += 1
            if width > AT_ONCE:
                for start in range(0, width, AT_ONCE):
                    if (piece := wide.part(best, parents, start, position)) is not None:
                        self._follow(decoder, piece, best, position)
                return
            if position < len(self._levels):
                wide.cache.reorder(parents, position)
            front = wide
        best.add(front)


@dataclass
class _Front:
    """Prefixes of some queries that are followed, best first."""

    queries: Tensor  # [B] which of the queries
    scores: Tensor  # [B,F]
    nodes: Tensor  # [B,F]
    codes: Tensor | None  # [B,F] that lead to the nodes; None at the root
    cache: Cache

    def part(self, best: "_Best", parents: Tensor, start: int, generated: int) -> "_Front | None":
        """Return `AT_ONCE` prefixes of each query from `start` on, if any of these may still be among its best."""
        alive = (self.scores[:, start] >= best.bar[self.queries]).nonzero().squeeze(1)
        if self.codes is None or not len(alive):
            return None
        here = (alive, slice(start, start + AT_ONCE))
        cache = self.cache.select(alive, parents[here], generated)
        return _Front(self.queries[alive], self.scores[here], self.nodes[here], self.codes[here], cache)


@dataclass
class _Best:
    """The best K leaves so far, and the score [B] that one has to reach to become one of them."""

    leaves: Tensor
    scores: Tensor
    bar: Tensor

    def add(self, front: _Front) -> None:
        """Let the leaves that a front has come to take their places."""
        rows, K = front.queries, self.scores.shape[1]
        leaves = torch.cat([self.leaves[rows], front.nodes], dim=1)
        scores = torch.cat([self.scores[rows], front.scores], dim=1)
        leaves, order = leaves.sort(dim=1)
        scores, places = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
        self.leaves[rows], self.scores[rows] = leaves.gather(1, places)[:, :K], scores[:, :K]
        self.bar[rows] = torch.maximum(self.bar[rows], self.scores[rows, -1])


@dataclass(frozen=True, kw_only=True)
class Misses:
    """How often beam search does not find what exact search finds."""

    queries: float  # share of the queries for which it missed a leaf
    leaves: float  # share of the leaves that it missed


Found = tuple[NDArray[np.int64], NDArray[np.float32]]  # leaves [B,K] and their scores


def misses(beam: Found, exact: Found) -> Misses:
    """Compare what beam search found with the exact answer; a leaf no better than all that it found is not missed."""
    (leaves, scores), (true_leaves, true_scores) = beam, exact
    live = true_scores > NEVER
    found = (true_leaves[:, :, None] == np.where(scores > NEVER, leaves, -1)[:, None, :]).any(axis=2)
    worst = scores[:, -1] if scores.shape[1] == true_scores.shape[1] else np.full(len(scores), NEVER)
    missed = live & ~found & (true_scores > worst[:, None] + SLACK)
    return Misses(queries=float(missed.any(axis=1).mean()), leaves=float(missed.sum() / live.sum()))
