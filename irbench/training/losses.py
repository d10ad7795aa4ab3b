"""Losses over the vectors of a batch. They compute in float32, whatever the precision of the network.

Shape letters: B images of a batch, M images that they are compared with, D dimensions.
"""

import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import ContrastiveLoss
from torch import Tensor, nn


class PairLoss(nn.Module):
    """Contrastive loss (arXiv 2102.05644, equation 2): pull positive pairs together, push others below a margin.

    The mean of 1 - cosine over the positive pairs, plus the mean of cosine - `margin` over the negative ones; pairs
    that already are as they should be, whose loss is 0, do not count in the means.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        # the vectors are unit vectors already: dot products are cosines
        cosine = DotProductSimilarity(normalize_embeddings=False)
        self.loss = ContrastiveLoss(pos_margin=1.0, neg_margin=margin, distance=cosine)

    def forward(self, vectors: Tensor, others: Tensor, *, positive: Tensor, counted: Tensor) -> Tensor:
        """Return the loss of unit vectors [B,D] and [M,D].

        `positive` [B,M] marks the pairs of one class, `counted` [B,M] the pairs to use. Without any the loss is 0.
        """
        pairs = (*torch.where(positive & counted), *torch.where(~positive & counted))
        loss: Tensor = self.loss(vectors, indices_tuple=pairs, ref_emb=others)
        return loss


def koleo(vectors: Tensor) -> Tensor:
    """Return the Kozachenko-Leonenko loss of unit vectors [B,D], which spreads them evenly (arXiv 1806.03198).

    It is minus the mean log distance to the nearest other vector. pytorch-metric-learning has no such loss.
    """
    with torch.no_grad():
        similarity = vectors @ vectors.T
        similarity.fill_diagonal_(-torch.inf)
        nearest = similarity.argmax(dim=1)
    distance = torch.linalg.vector_norm(vectors - vectors[nearest], dim=1)
    return -(distance + 1e-8).log().mean()
