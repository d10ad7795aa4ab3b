"""What all searchers do with vectors on their way in and with answers on their way out."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.ranking import MISSING, Ranking


def as_gallery(gallery: Embeddings) -> NDArray[np.float32]:
    """Return the vectors [N,D] to index; an index of nothing is an error."""
    if not len(gallery) or not gallery.dim:
        raise ContractError(f"nothing to index: the gallery's embeddings have shape {gallery.array.shape}")
    return gallery.array


def as_more(vectors: Embeddings, dim: int) -> NDArray[np.float32]:
    """Return the vectors [N,D] to add to an index of D dimensions."""
    if vectors.dim != dim:
        raise ContractError(f"the vectors to add have {vectors.dim} dimensions, the gallery has {dim}")
    return vectors.array


def as_queries(queries: Embeddings, dim: int) -> NDArray[np.float32]:
    """Return the vectors [Q,D]; queries and gallery have to come from one encoder."""
    if queries.dim != dim:
        raise ContractError(f"the queries have {queries.dim} dimensions, the gallery has {dim}: encode both alike")
    return queries.array


def as_ranking(rows: ArrayLike, distances: ArrayLike, k: int) -> Ranking:
    """Order what an index found ([Q,k'] rows, -1 for nothing, and squared distances) and bring it to `k` columns."""
    scores = 0 - np.asarray(distances, np.float32)  # not -distances, which would make a zero negative
    found = Ranking.from_topk(rows, scores).cut(k)
    blank = ((0, 0), (0, k - found.top_k))
    return Ranking(
        np.pad(found.rows, blank, constant_values=MISSING), np.pad(found.scores, blank, constant_values=-np.inf)
    )
