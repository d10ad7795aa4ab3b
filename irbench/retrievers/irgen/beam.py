"""Beam search by summed log-probability: over the identifiers of a trie, or over all sequences of codes.

Shape letters: B queries, T image tokens, K beam size, M codes, L codebook size, W slots of a level (see
irbench.retrievers.irgen.branching).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from irbench.retrievers.irgen.branching import Branching, UnconstrainedBranching, branchings
from irbench.retrievers.irgen.decoder import Decoder
from irbench.retrievers.irgen.trie import Trie
from irbench.runtime.timer import subspan

MEMORY = 2**31  # bytes of keys and values at a time; a larger batch of queries is decoded in pieces


class Beams(NamedTuple):
    """The best prefixes of one length."""

    scores: Tensor  # [B,K] summed log-probabilities
    nodes: Tensor  # [B,K] of the level below
    parents: Tensor | None  # [B,K] beam of the previous length that each continues; None: each continues its own


class BeamSearch:
    """Beam search over a trie that lies on the device."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._levels = branchings(trie, device)

    @property
    def nbytes(self) -> int:
        """Bytes of the trie's copy on the device."""
        return sum(level.nbytes for level in self._levels)

    def __call__(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        """Return leaves [B,K] and scores [B,K] for image tokens [B,T,memory_dim], best first; K <= `beam_size`.

        Where fewer than K leaves were reached, the rest have score -inf. No leaf is found twice for one query.
        """
        found = [self._search(decoder, piece, beam_size) for piece in _pieces(decoder, tokens, beam_size)]
        return torch.cat([leaves for leaves, _ in found]), torch.cat([scores for _, scores in found])

    def _search(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        *_, last = _decode(self._levels, decoder, tokens, beam_size)
        scores, order = last.scores.sort(dim=1, descending=True, stable=True)
        return last.nodes.gather(1, order), scores


def generate(decoder: Decoder, tokens: Tensor, beam_size: int) -> Tensor:
    """Return codes [B,K,M] of the most probable sequences without a trie, best first; K <= `beam_size`.

    `tokens` [B,T,memory_dim] are those of B images.
    """
    levels = [UnconstrainedBranching(decoder.config.codebook_size)] * decoder.config.num_codebooks
    pieces = _pieces(decoder, tokens, beam_size)
    return torch.cat([_backtrack(levels, [*_decode(levels, decoder, piece, beam_size)]) for piece in pieces])


def extend(level: Branching, scores: Tensor, nodes: Tensor, logp: Tensor, beam_size: int) -> Beams:
    """Return the best children of beams [B,K], from log-probabilities [B,K,L] of the next code."""
    reached = level.logp(nodes, logp).add_(scores.unsqueeze(-1))  # [B,K,W]
    if level.slots == 1:  # nothing to choose: a child has its parent's number, and beams stay where they are
        return Beams(reached.squeeze(-1), nodes, None)
    scores, pick = reached.flatten(1).topk(min(beam_size, reached[0].numel()), dim=1)
    parents = pick // level.slots
    return Beams(scores, level.child(nodes.gather(1, parents), pick % level.slots), parents)


def _decode(levels: Sequence[Branching], decoder: Decoder, tokens: Tensor, beam_size: int) -> Iterator[Beams]:
    """Yield the beams after each code."""
    scores = torch.zeros(len(tokens), 1, device=tokens.device)
    nodes, codes = torch.zeros_like(scores, dtype=torch.long), None
    with subspan("decoder"):
        cache = decoder.prefill(tokens, beam_size)
    for position, level in enumerate(levels):
        with subspan("decoder"):
            logits = decoder.decode_step(cache, codes, position)  # [B,K,L]
        with subspan("trie"):
            beams = extend(level, scores, nodes, logits.log_softmax(dim=-1), beam_size)
            scores, nodes, parents = beams
            codes = level.code(nodes)
        if parents is not None and position + 1 < len(levels):  # after the last code the cache is not read again
            with subspan("decoder"):
                cache.reorder(parents, position + 1)
        yield beams


def _backtrack(levels: Sequence[Branching], steps: Sequence[Beams]) -> Tensor:
    """Return the codes [B,K,M] of the last beams, found by following their parents back to the first code."""
    codes: list[Tensor] = []  # from the last to the first
    beams = torch.arange(steps[-1].nodes.shape[1], device=steps[-1].nodes.device).expand_as(steps[-1].nodes)
    for level, step in zip(reversed(levels), reversed(steps), strict=True):
        codes.append(level.code(step.nodes).gather(1, beams))
        beams = beams if step.parents is None else step.parents.gather(1, beams)
    return torch.stack(codes[::-1], dim=-1)


def _pieces(decoder: Decoder, tokens: Tensor, beam_size: int) -> Sequence[Tensor]:
    """Split a batch of tokens [B,T,memory_dim] so that the cache of each piece fits into `MEMORY`."""
    return torch.split(tokens, max(1, MEMORY // decoder.cache_bytes(tokens.shape[1], beam_size)))
