"""What an encoder returns: one vector for each image."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import ContractError


@dataclass(frozen=True, eq=False)
class Embeddings:
    """N vectors of D dimensions: float32, C-contiguous and finite, checked once on construction.

    Nearness is Euclidean distance, everywhere. An encoder whose metric is the cosine returns `unit()` vectors, on
    which both metrics order neighbours alike; so a searcher knows one metric only.
    """

    array: NDArray[np.float32]  # [N,D]

    def __post_init__(self) -> None:
        if self.array.ndim != 2:
            raise ContractError(f"embeddings are an array [N,D], not {self.array.shape}")
        object.__setattr__(self, "array", np.ascontiguousarray(self.array, dtype=np.float32))
        finite = np.isfinite(self.array).all(axis=1)
        if not finite.all():
            raise ContractError(f"embedding of row {int(finite.argmin())} holds NaN or infinity; look at that image")

    def __len__(self) -> int:
        return len(self.array)

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return self.array.shape[1]

    def unit(self) -> Self:
        """Return the vectors scaled to length one; a zero vector, which has no direction, is an error."""
        norms = np.linalg.norm(self.array, axis=1, keepdims=True)
        if not norms.all():
            raise ContractError(f"embedding of row {int(norms.argmin())} is zero and has no direction")
        return type(self)(self.array / norms)
