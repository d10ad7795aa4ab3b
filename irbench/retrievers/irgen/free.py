"""Beam search with no trie to hold the decoder: what it writes when it may write anything.

Shape letters as in irbench.retrievers.irgen.beam; m is the number of codes written so far.
"""

import torch
from torch import Tensor

from irbench.retrievers.irgen.decoder import Decoder


def write_freely(decoder: Decoder, tokens: Tensor, beams: int) -> Tensor:
    """Codes [B,K,M] of the most probable sequences for image tokens [B,T,D], best first; K is at most `beams`."""
    L = decoder.shape.codes
    cache = decoder.look(tokens, beams)
    scores = tokens.new_zeros((len(tokens), 1), dtype=torch.float32)
    written = torch.zeros((len(tokens), 1, 0), dtype=torch.long, device=tokens.device)  # [B,K,m]
    for position in range(decoder.shape.length):
        latest = written[..., -1] if position else None
        logp = decoder.step(cache, latest, position).log_softmax(dim=-1)  # [B,K,L]
        reached = (scores.unsqueeze(-1) + logp).flatten(1)
        scores, pick = reached.topk(min(beams, reached.shape[1]), dim=1)
        parents = pick // L
        kept = written.gather(1, parents.unsqueeze(-1).expand(-1, -1, position))
        written = torch.cat([kept, (pick % L).unsqueeze(-1)], dim=-1)
        cache.follow(parents, position + 1)
    return written
