"""Random identifiers, the baseline of the paper's Table 3. Recipe: methods/identifier/random.toml.

The codes of an image are a hash of the run's seed and the image's id alone: an image has the same identifier in
training, in the gallery and when it is added later, without any stored state. Two images may share an identifier by
chance. At most N²/2Lᴹ pairs of N images are expected to: 0.2 of In-shop's 38,494 with 4 codes of 256, 0.4 of the
digits' 899 with 4 of 32.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.identifiers import Identifiers
from irbench.protocols import Components
from irbench.runtime.machine import Runtime

_BYTES = 8  # of the hash for each code: its remainder by L is then uniform to within L/2⁶⁴


@dataclass(frozen=True, kw_only=True)
class Config:
    """Schema of methods/identifier/random.toml."""

    num_codebooks: PositiveInt = 4  # M
    codebook_size: PositiveInt = 256  # L


class RandomIdentifier:
    """Codes that are independent of the image's content."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:  # noqa: ARG002 -- needs no components
        self.config, self.runtime = config, runtime

    def encode(self, images: ImageSet) -> Identifiers:
        """Return the codes [N,M], which depend on the seed and the ids only."""
        hashes = b"".join(map(self._hash, images.ids))
        numbers = np.frombuffer(hashes, "<u8").reshape(len(images), self.config.num_codebooks)
        return Identifiers((numbers % self.config.codebook_size).astype(np.int64), self.config.codebook_size)

    def describe(self) -> Description:
        """Describe the codes; there is no network."""
        return Description(
            details={"num_codebooks": self.config.num_codebooks, "codebook_size": self.config.codebook_size}
        )

    def _hash(self, id_: str) -> bytes:
        text = f"{self.runtime.seed} {id_}".encode("utf-8", "surrogateescape")
        return hashlib.shake_256(text).digest(_BYTES * self.config.num_codebooks)
