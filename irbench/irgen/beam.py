"""Beam search under the trie: the K best identifiers of the gallery, by summed log-probability.

The trie is asked for children, not for a mask: each beam's children are a range of nodes, at most W of them, so every
step has a fixed shape and no value returns to the host before the end. Shape letters: B queries, K beams, L codebook
size, W widest branching of a level.
"""

import torch
from torch import Tensor

from irbench.irgen.decoder import Decoder
from irbench.irgen.trie import Trie

NEVER = -torch.inf  # the score of a beam that leads nowhere


class BeamSearch:
    """A trie on the device that decodes."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._levels = [
            (torch.from_numpy(v.first).to(device).long(), torch.from_numpy(v.code).to(device).long(), v.width)
            for v in trie.levels
        ]

    def __call__(self, decoder: Decoder, tokens: Tensor, beams: int) -> tuple[Tensor, Tensor]:
        """Leaves [B,K] and scores [B,K] for image tokens [B,T,D], best first; K is at most `beams`.

        Where fewer identifiers were live, the rest have score -inf. No leaf stands twice for one query.
        """
        caches = decoder.look(tokens)
        scores = tokens.new_zeros((len(tokens), 1), dtype=torch.float32)
        nodes = torch.zeros_like(scores, dtype=torch.long)
        codes = None
        for position, level in enumerate(self._levels):
            logits = decoder.step(caches, codes, position)
            scores, nodes, codes, parents = _extend(scores, nodes, logits.log_softmax(dim=-1), level, beams)
            for cache in caches:
                cache.follow(parents)
        return nodes, scores


def _extend(
    scores: Tensor, nodes: Tensor, logp: Tensor, level: tuple[Tensor, Tensor, int], beams: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores, nodes, codes and parents [B,K'] of the best children of beams [B,K]."""
    first, code, W = level
    child = first[nodes].unsqueeze(-1) + torch.arange(W, device=nodes.device)  # [B,K,W]
    live = child < first[nodes + 1].unsqueeze(-1)
    child = child.clamp(max=len(code) - 1)
    reached = scores.unsqueeze(-1) + logp.gather(-1, code[child])
    reached = torch.where(live, reached, NEVER).flatten(1)  # [B,K·W]
    best, pick = reached.topk(min(beams, reached.shape[1]), dim=1)
    nodes = child.flatten(1).gather(1, pick)
    return best, nodes, code[nodes], pick // W
