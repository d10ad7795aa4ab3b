"""Beam search with no trie to hold the decoder: what it writes when it may write anything.

Shape letters as in irbench.retrievers.irgen.beam; m is the number of codes generated so far.
"""

import torch
from torch import Tensor

from irbench.retrievers.irgen.decoder import Decoder


def generate_unconstrained(decoder: Decoder, tokens: Tensor, beam_size: int) -> Tensor:
    """Codes [B,K,M] of the most probable sequences for image tokens [B,T,D], best first; K is at most `beam_size`."""
    L = decoder.config.codebook_size
    cache = decoder.prefill(tokens, beam_size)
    scores = tokens.new_zeros((len(tokens), 1), dtype=torch.float32)
    generated = torch.zeros((len(tokens), 1, 0), dtype=torch.long, device=tokens.device)  # [B,K,m]
    for position in range(decoder.config.num_codebooks):
        latest = generated[..., -1] if position else None
        logp = decoder.decode_step(cache, latest, position).log_softmax(dim=-1)  # [B,K,L]
        reached = (scores.unsqueeze(-1) + logp).flatten(1)
        scores, pick = reached.topk(min(beam_size, reached.shape[1]), dim=1)
        parents = pick // L
        kept = generated.gather(1, parents.unsqueeze(-1).expand(-1, -1, position))
        generated = torch.cat([kept, (pick % L).unsqueeze(-1)], dim=-1)
        cache.reorder(parents, position + 1)
    return generated
