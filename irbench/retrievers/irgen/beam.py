"""Beam search under the trie: the K best identifiers of the gallery, by summed log-probability.

Shape letters: B queries, K beam_size, L codebook size, W slots of a level (see irbench.retrievers.irgen.branching).
"""

import torch
from torch import Tensor

from irbench.retrievers.irgen.branching import Branching, branchings
from irbench.retrievers.irgen.decoder import Decoder
from irbench.retrievers.irgen.trie import Trie
from irbench.runtime.timer import subspan

MEMORY = 2**31  # bytes of keys and values that are kept at once; more queries than that are decoded one after another


class BeamSearch:
    """A trie on the device that decodes."""

    def __init__(self, trie: Trie, device: str) -> None:
        self._levels = branchings(trie, device)

    def __call__(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        """Leaves [B,K] and scores [B,K] for image tokens [B,T,D], best first; K is at most `beam_size`.

        Where fewer identifiers were live, the rest have score -inf. No leaf stands twice for one query.
        """
        at_once = max(1, MEMORY // decoder.cache_bytes(tokens.shape[1], beam_size))
        found = [self._write(decoder, some, beam_size) for some in torch.split(tokens, at_once)]
        return torch.cat([leaves for leaves, _ in found]), torch.cat([scores for _, scores in found])

    def _write(self, decoder: Decoder, tokens: Tensor, beam_size: int) -> tuple[Tensor, Tensor]:
        scores = torch.zeros(len(tokens), 1, device=tokens.device)
        nodes, codes = torch.zeros_like(scores, dtype=torch.long), None
        with subspan("decoder"):
            cache = decoder.prefill(tokens, beam_size)
        for position, level in enumerate(self._levels):
            with subspan("decoder"):
                logits = decoder.decode_step(cache, codes, position)
            with subspan("trie"):
                scores, nodes, parents = extend(level, scores, nodes, logits.log_softmax(dim=-1), beam_size)
                codes = level.code(nodes)
            if parents is not None and position + 1 < len(self._levels):
                with subspan("decoder"):
                    cache.reorder(parents, position + 1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return nodes.gather(1, order), scores


def extend(
    level: Branching, scores: Tensor, nodes: Tensor, logp: Tensor, beam_size: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return scores, nodes and parents [B,K'] of the best children of beams [B,K].

    Where no node has a second child, a child has its parent's number, and beams stay where they are: no parents.
    """
    reached = level.logp(nodes, logp).add_(scores.unsqueeze(-1))  # [B,K,W]
    if level.slots == 1:
        return reached.squeeze(-1), nodes, None
    scores, pick = reached.flatten(1).topk(min(beam_size, reached[0].numel()), dim=1)
    parents = pick // level.slots
    return scores, level.child(nodes.gather(1, parents), pick % level.slots), parents
