"""Every registered kind of identifier keeps the contracts, and every contract can be broken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from irbench.config.registry import IDENTIFIERS
from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.identifiers import Identifiers
from irbench.protocols import Components
from irbench.runtime.machine import Runtime
from irbench.testing import Contract, check_identifier, identifier_contracts


@pytest.mark.parametrize(
    "contract", [contract for name in IDENTIFIERS for contract in identifier_contracts(name)], ids=str
)
def test_registered_identifiers_keep(contract: Contract) -> None:
    contract()


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


class Sound:
    """The mean colours of an image in 16 steps each, shifted by what training found."""

    shift: int

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.runtime = runtime

    def train(self, images: ImageSet) -> None:
        self.shift = int(images.arrays.mean()) % 16

    def encode(self, images: ImageSet) -> Identifiers:
        means = images.arrays.mean(axis=(1, 2)).astype(np.int64)
        return Identifiers((means // 16 + self.shift) % 16, 16)

    def describe(self) -> Description:
        return Description(details={"num_codebooks": 3, "codebook_size": 16})


class Bare(Sound):
    def encode(self, images: ImageSet) -> Any:
        return super().encode(images).codes


class OutOfBounds(Sound):
    def encode(self, images: ImageSet) -> Identifiers:
        return Identifiers(super().encode(images).codes + 16, 16)


class Counting(Sound):
    """Numbers the images of a batch."""

    def encode(self, images: ImageSet) -> Identifiers:
        return Identifiers(np.arange(len(images))[:, None] % 16 + np.zeros((1, 3), np.int64), 16)


class Unseeded(Sound):
    def train(self, images: ImageSet) -> None:
        self.shift = int(np.random.default_rng().integers(1 << 30))
        self.table = np.random.default_rng(self.shift).permutation(1 << 12)

    def encode(self, images: ImageSet) -> Identifiers:
        self.shift %= 16
        codes = super().encode(images).codes
        return Identifiers(self.table[codes @ [256, 16, 1]][:, None] % 16 + np.zeros((1, 3), np.int64), 16)


class Remembering(Sound):
    """Knows the images that it was trained on, and gives others shorter codes."""

    def train(self, images: ImageSet) -> None:
        super().train(images)
        self.known = set(images.ids)

    def encode(self, images: ImageSet) -> Identifiers:
        codes = super().encode(images).codes
        return Identifiers(codes if self.known >= set(images.ids) else codes[:, :2], 16)


class Darkening(Sound):
    def encode(self, images: ImageSet) -> Identifiers:
        images.arrays[:] //= 2
        return super().encode(images)


class Guessing(Sound):
    shift = 0


class Vague(Sound):
    def describe(self) -> Description:
        return Description()


FAULTS = {
    Bare: "every image gets codes within the codebook",
    OutOfBounds: "every image gets codes within the codebook",
    Counting: "codes do not depend on the batch",
    Unseeded: "equal seeds give equal codes",
    Remembering: "images that were not trained on get codes too",
    Darkening: "images stay as they are",
    Guessing: "encoding before training is refused",
    Vague: "the description holds the shape of the codes",
}


def broken(identifier: Any) -> set[str]:
    found = set()
    for contract in identifier_contracts(identifier):
        try:
            contract()
        except AssertionError:
            found.add(contract.name)
    return found


def test_a_sound_one_passes_as_a_class_and_as_an_object(runtime: Runtime, images: ImageSet) -> None:
    assert broken(Sound) == set()
    identifier = Sound(Config(), runtime, None)  # type: ignore[arg-type]
    identifier.train(images)
    check_identifier(identifier)


@pytest.mark.parametrize(("fault", "contract"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(fault: type, contract: str) -> None:
    assert contract in broken(fault)
