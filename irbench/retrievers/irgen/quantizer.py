"""Residual quantisation: a vector as a sum of M codebook entries (equations 1 and 2).

Shape letters: B vectors, N training vectors, D dimensions, M codebooks, L entries of a codebook.
"""

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_BATCH = 1024  # features that are quantised at a time


class ResidualQuantizer(nn.Module):
    """M codebooks of L entries; each quantises the residual of the ones before it."""

    codebooks: Tensor  # [M,L,D]

    def __init__(self, num_codebooks: int, codebook_size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(num_codebooks, codebook_size, dim))

    @torch.no_grad()
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes [B,M] of features [B,D], and the sums [B,M,D] of the entries up to each code."""
        residual, codes, sums = features.float(), [], []
        for codebook in self.codebooks:
            nearest = torch.cdist(residual, codebook, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
            residual = residual - codebook[nearest]
            codes.append(nearest)
            sums.append(features - residual)
        return torch.stack(codes, dim=1), torch.stack(sums, dim=1)

    def codes(self, features: Tensor) -> Tensor:
        """Return codes [N,M] of features [N,D], batch by batch: distances take batch * L * D floats."""
        batches = torch.split(features, _BATCH)
        return torch.cat([self(batch.to(self.codebooks.device))[0] for batch in batches])

    @torch.no_grad()
    def sums(self, codes: Tensor) -> Tensor:
        """Return the sums [B,M,D] of the entries up to each of codes [B,M]."""
        levels = torch.arange(codes.shape[1], device=codes.device)
        return self.codebooks[levels, codes].cumsum(dim=1)

    @torch.no_grad()
    def fit(self, features: Tensor, seed: int) -> None:
        """Set the codebooks by k-means on features [N,D], each on the residuals of the ones before it (equation 2)."""
        residual = features.detach().float().cpu().numpy()
        for level in range(len(self.codebooks)):
            centroids, residual = _kmeans(residual, self.codebooks.shape[1], seed + level)
            self.codebooks[level] = torch.from_numpy(centroids)


def _kmeans(
    vectors: NDArray[np.float32], codebook_size: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return centroids [L,D] and the residual of each vector [N,D].

    With fewer vectors than entries, the spare entries lie too far away to be the nearest one of any vector.
    """
    k = min(codebook_size, len(vectors))
    vectors = np.ascontiguousarray(vectors)
    clustering = faiss.Kmeans(vectors.shape[1], k, niter=25, seed=seed, min_points_per_centroid=1)
    clustering.train(vectors)
    centroids = np.asarray(clustering.centroids)
    _, nearest = clustering.index.search(vectors, 1)
    spare = np.full((codebook_size - k, vectors.shape[1]), 10 * np.abs(vectors).max() + 1, np.float32)
    return np.concatenate([centroids, spare]), vectors - centroids[nearest[:, 0]]
