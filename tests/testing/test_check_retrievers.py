"""Every registered retriever keeps the contracts, and every contract can be broken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from irbench.config.registry import RETRIEVERS
from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.ranking import MISSING, Ranking
from irbench.protocols import Components
from irbench.runtime.machine import Runtime
from irbench.testing import Contract, check_retriever, retriever_contracts


@pytest.mark.parametrize(
    "contract", [contract for name in RETRIEVERS for contract in retriever_contracts(name)], ids=str
)
def test_registered_retrievers_keep(contract: Contract) -> None:
    contract()


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


class Sound:
    """Nearest mean colours."""

    def __init__(self, config: Config, runtime: Runtime, components: Components) -> None:
        self.runtime = runtime

    def index(self, gallery: ImageSet) -> None:
        self.colours, self.rows = self.mean(gallery), np.arange(len(gallery))
        self.end = len(gallery)

    def mean(self, images: ImageSet) -> Any:
        return images.arrays.mean(axis=(1, 2))

    def search(self, queries: ImageSet, k: int) -> Ranking:
        distances = ((self.mean(queries)[:, None] - self.colours) ** 2).sum(-1)
        return Ranking.from_topk(np.tile(self.rows, (len(queries), 1)), -distances).cut(k)

    def describe(self) -> Description:
        return Description()

    def add(self, images: ImageSet) -> None:
        self.colours = np.concatenate([self.colours, self.mean(images)])
        self.rows = np.concatenate([self.rows, self.end + np.arange(len(images))])
        self.end += len(images)

    def remove(self, rows: np.ndarray) -> None:
        left = ~np.isin(self.rows, rows)
        self.colours, self.rows = self.colours[left], self.rows[left]


class Wide(Sound):
    """Returns everything, whatever k is."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        return super().search(queries, 1000)


class OutOfRange(Sound):
    def search(self, queries: ImageSet, k: int) -> Ranking:
        found = super().search(queries, k)
        return Ranking(found.rows + self.end, found.scores)


class Filling(Sound):
    """Answers k rows, whether there are so many or not."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        rows = np.tile(np.arange(k), (len(queries), 1))
        return Ranking.from_topk(rows, -rows.astype(np.float32))


class Choosy(Sound):
    """Finds nothing where there is one image only."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        found = super().search(queries, k)
        gone = found.rows < 0 if len(self.rows) > 1 else np.ones_like(found.rows, bool)
        return Ranking.from_topk(np.where(gone, MISSING, found.rows), found.scores)


class Wearing(Sound):
    def search(self, queries: ImageSet, k: int) -> Ranking:
        found = super().search(queries, k)
        self.colours = np.roll(self.colours, 1, axis=0)
        return found


class Centring(Sound):
    """Queries are centred on their batch."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        asked = 128 + self.mean(queries) - self.mean(queries).mean(axis=0)
        distances = ((asked[:, None] - self.colours) ** 2).sum(-1)
        return Ranking.from_topk(np.tile(self.rows, (len(queries), 1)), -distances).cut(k)


class Unseeded(Sound):
    def index(self, gallery: ImageSet) -> None:
        super().index(gallery)
        self.colours = np.random.default_rng().permutation(self.colours)


class Hoarding(Sound):
    def index(self, gallery: ImageSet) -> None:
        if hasattr(self, "rows"):
            self.add(gallery)
        else:
            super().index(gallery)


class Darkening(Sound):
    def mean(self, images: ImageSet) -> Any:
        images.arrays[:] //= 2
        return super().mean(images)


class Eager(Sound):
    """Searches before there is a gallery."""

    def search(self, queries: ImageSet, k: int) -> Ranking:
        if not hasattr(self, "rows"):
            self.index(queries)
        return super().search(queries, k)


class Forgetful(Sound):
    def add(self, images: ImageSet) -> None:
        pass


class Renumbering(Sound):
    def remove(self, rows: np.ndarray) -> None:
        super().remove(rows)
        self.rows = np.arange(len(self.rows))


class Silent(Sound):
    def describe(self) -> Any:
        return None


FAULTS = {
    Wide: "every query gets gallery rows best first",
    OutOfRange: "every query gets gallery rows best first",
    Filling: "k beyond the gallery is answered",
    Choosy: "a gallery of one image is found",
    Wearing: "searching twice gives the same",
    Centring: "a query alone gets what it gets in a batch",
    Unseeded: "equal seeds give equal results",
    Hoarding: "indexing again starts afresh",
    Darkening: "images stay as they are",
    Eager: "searching before indexing is refused",
    Forgetful: "adding equals indexing all at once",
    Renumbering: "removed rows are gone and the others keep their numbers",
    Silent: "the retriever describes itself",
}


def broken(retriever: Any) -> set[str]:
    found = set()
    for contract in retriever_contracts(retriever):
        try:
            contract()
        except AssertionError:
            found.add(contract.name)
    return found


def test_a_sound_one_passes_as_a_class_and_as_an_object(runtime: Runtime) -> None:
    assert broken(Sound) == set()
    check_retriever(Sound(Config(), runtime, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(("fault", "contract"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(fault: type, contract: str) -> None:
    assert contract in broken(fault)
