"""The output of an encoder: one vector for each image."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import ContractError


@dataclass(frozen=True, eq=False)
class Embeddings:
    """N vectors of D dimensions: float32, C-contiguous and finite, checked once on construction.

    The metric is the Euclidean distance throughout. An encoder whose metric is the cosine returns `unit()` vectors, for
    which both metrics give the same order of neighbours; so a searcher needs one metric only.

    Raises `ContractError` for an array of another shape, NaN or infinity.
    """

    array: NDArray[np.float32]  # [N,D]

    def __post_init__(self) -> None:
        if self.array.ndim != 2:
            raise ContractError(f"embeddings are an array [N,D], not {self.array.shape}", code="wrong-shape")
        object.__setattr__(self, "array", np.ascontiguousarray(self.array, dtype=np.float32))
        # of each row, without an array of as many elements; NaN is the least and the largest of what it is among
        least, largest = self.array.min(axis=1, initial=0), self.array.max(axis=1, initial=0)
        finite = np.isfinite(least) & np.isfinite(largest)
        if not finite.all():
            raise ContractError(
                f"embedding of row {int(finite.argmin())} contains NaN or infinity; check that image", code="not-finite"
            )

    def __len__(self) -> int:
        return len(self.array)

    @property
    def dim(self) -> int:
        """D, the number of dimensions."""
        return self.array.shape[1]

    def unit(self) -> Self:
        """Return the vectors scaled to length one; a zero vector raises `ContractError`."""
        norms = np.linalg.norm(self.array, axis=1, keepdims=True)
        if not norms.all():
            raise ContractError(
                f"embedding of row {int(norms.argmin())} is zero and cannot be scaled to length one",
                code="no-direction",
            )
        return type(self)(self.array / norms)
