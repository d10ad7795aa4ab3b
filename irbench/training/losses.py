"""Losses that no library has in this form. They compute in float32, whatever the precision of the network.

Shape letters: B images of a batch, M images that they are compared with, D dimensions.
"""

import torch
from torch import Tensor


def contrastive(similarity: Tensor, positive: Tensor, counted: Tensor, margin: float) -> Tensor:
    """Draw positive pairs together, push others apart until their cosine is `margin` (arXiv 2102.05644, equation 2).

    `similarity` [B,M] holds cosines; `positive` [B,M] tells pairs of one class, `counted` [B,M] which pairs count at
    all. Each of the two parts is the mean over its pairs that are not yet where they should be.
    """
    attracted = (1 - similarity).clamp(min=0) * (positive & counted)
    repelled = (similarity - margin).clamp(min=0) * (~positive & counted)
    return _mean_of_nonzero(attracted) + _mean_of_nonzero(repelled)


def koleo(vectors: Tensor) -> Tensor:
    """Spread unit vectors [B,D] evenly: minus the mean log distance to the nearest other one (Kozachenko-Leonenko)."""
    with torch.no_grad():
        similarity = vectors @ vectors.T
        similarity.fill_diagonal_(-torch.inf)
        nearest = similarity.argmax(dim=1)
    distance = torch.linalg.vector_norm(vectors - vectors[nearest], dim=1)
    return -(distance + 1e-8).log().mean()


def _mean_of_nonzero(losses: Tensor) -> Tensor:
    return losses.sum() / (losses > 0).sum().clamp(min=1)
