"""Embeddings of fewer dimensions: the first ones alone, or principal components, whitened.

Vectors of length one have length one again afterwards, so that distances order as cosines do.
Shape letters: N vectors, D dimensions before, d after.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable

_FITTED = 100_000  # vectors that components are computed from, at most
_UNIT = 1e-3  # how far a length may be from one


class Reduction:
    """Reduces vectors as it was fitted to a gallery."""

    def __init__(self, *, dims: int = 0, components: int = 0, seed: int = 0) -> None:
        self._dims, self._components, self._seed = dims, components, seed
        self._unit = False
        self._fitted: PCA | None = None

    @property
    def details(self) -> dict[str, object]:
        """What was done to the embeddings, in words; empty where nothing was."""
        if self._dims:
            return {"embedding": f"its first {self._dims} dimensions"}
        return {"embedding": f"its first {self._components} components, whitened"} if self._components else {}

    def fit(self, gallery: Embeddings) -> Self:
        """Fit to the gallery; `NotApplicable` where its dimensions or vectors are too few."""
        wanted = self._dims or self._components
        if not wanted:
            return self
        if wanted > gallery.dim:
            raise NotApplicable(
                f"{wanted} dimensions are more than the {gallery.dim} that these embeddings have", code="not-applicable"
            )
        if self._components > len(gallery):
            raise NotApplicable(
                f"{wanted} principal components need as many vectors, and the gallery has {len(gallery)}",
                code="not-applicable",
            )
        lengths = np.linalg.norm(gallery.array[:_FITTED], axis=1)
        self._unit = bool((np.abs(lengths - 1) < _UNIT).all())
        if self._components:
            count = min(len(gallery), _FITTED)
            rows = np.arange(count) * len(gallery) // count
            components = PCA(self._components, whiten=True, random_state=self._seed % 2**32)
            self._fitted = components.fit(gallery.array[rows])
        return self

    def apply(self, vectors: Embeddings) -> Embeddings:
        """Return the reduced vectors [N,d]."""
        if self._dims:
            return self._scaled(vectors.array[:, : self._dims])
        if self._fitted is not None:
            return self._scaled(self._fitted.transform(vectors.array).astype(np.float32))
        return vectors

    def _scaled(self, reduced: NDArray[np.float32]) -> Embeddings:
        """Return vectors of length one where they were so before; one without any direction left stays as it is."""
        if not self._unit:
            return Embeddings(reduced)
        lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
        return Embeddings((reduced / np.where(lengths > 0, lengths, 1)).astype(np.float32))
