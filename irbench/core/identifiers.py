"""What a generative retriever generates: a short sequence of codes for each image."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import ContractError


@dataclass(frozen=True, eq=False)
class Identifiers:
    """M codes for each of N images, each in 0 … `codebook_size` - 1. Several images may share one identifier.

    Raises `ContractError` for another shape or type, or a code out of range.
    """

    codes: NDArray[np.int64]  # [N,M]
    codebook_size: int  # L: stated, not inferred from the codes that occur

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or 0 in self.codes.shape or not np.issubdtype(self.codes.dtype, np.integer):
            raise ContractError(
                f"identifiers are an array of integers [N,M], not {self.codes.dtype} {self.codes.shape}",
                code="wrong-shape",
            )
        object.__setattr__(self, "codes", np.ascontiguousarray(self.codes, dtype=np.int64))
        bad = ((self.codes < 0) | (self.codes >= self.codebook_size)).any(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise ContractError(
                f"identifier of row {row} is {self.codes[row]}, outside 0…{self.codebook_size - 1}", code="out-of-range"
            )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_codebooks(self) -> int:
        """M, the number of codes in an identifier."""
        return self.codes.shape[1]

    @property
    def digest(self) -> str:
        """SHA-256 of codes and codebook size."""
        return hashlib.sha256(f"{self.codes.shape} {self.codebook_size}".encode() + self.codes.tobytes()).hexdigest()
