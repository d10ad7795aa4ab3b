"""Every registered searcher keeps the contracts, and every contract can be broken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from engines import needs

from irbench.config import recipes
from irbench.config.recipes import SearchHead
from irbench.config.registry import SEARCHERS
from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.errors import MissingLibrary
from irbench.core.promises import Promises
from irbench.core.ranking import MISSING, Ranking
from irbench.runtime.machine import Runtime
from irbench.testing import Contract, check_searcher, searcher_contracts


def _searcher_of(recipe: str) -> str:
    return recipes.find("methods/search", recipe).head(SearchHead).searcher


@pytest.mark.parametrize(
    "contract",
    [
        pytest.param(contract, id=f"{recipe}: {contract}", marks=needs(recipe))
        for recipe in recipes.names("methods/search")
        for contract in searcher_contracts(_searcher_of(recipe), recipe=recipe)
    ],
)
def test_the_searcher_of_every_recipe_keeps(contract: Contract) -> None:
    contract()


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


class Sound:
    """Exact search, with updates of its own."""

    promises = Promises(recall=1.0, exact_scores=True)

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.runtime = runtime

    def build(self, gallery: Embeddings) -> None:
        self.vectors, self.rows = gallery.array.copy(), np.arange(len(gallery))
        self.end = len(gallery)

    def search(self, queries: Embeddings, k: int) -> Ranking:
        distances = ((queries.array[:, None] - self.vectors) ** 2).sum(-1)
        ranking = Ranking.from_topk(np.tile(self.rows, (len(queries), 1)), -distances)
        return ranking.cut(k)

    def describe(self) -> Description:
        return Description(index_bytes=self.vectors.nbytes)

    def add(self, vectors: Embeddings) -> None:
        self.vectors = np.concatenate([self.vectors, vectors.array])
        self.rows = np.concatenate([self.rows, self.end + np.arange(len(vectors))])
        self.end += len(vectors)

    def remove(self, rows: np.ndarray) -> None:
        left = ~np.isin(self.rows, rows)
        self.vectors, self.rows = self.vectors[left], self.rows[left]


class Blind(Sound):
    def search(self, queries: Embeddings, k: int) -> Ranking:
        return super().search(Embeddings(np.zeros_like(queries.array)), k)


class RootedScores(Sound):
    def search(self, queries: Embeddings, k: int) -> Ranking:
        found = super().search(queries, k)
        return Ranking(found.rows, -np.sqrt(-found.scores))


class UpperRowsFirst(Sound):
    """Of equal vectors the last ones are found."""

    def search(self, queries: Embeddings, k: int) -> Ranking:
        rows = np.argsort(-self.rows)
        distances = ((queries.array[:, None] - self.vectors[rows]) ** 2).sum(-1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return Ranking.from_topk(self.rows[rows][order], -np.take_along_axis(distances, order, 1))


class Scattering(Sound):
    """Equal vectors do not stand together: a vector's row is a part of it."""

    promises = Promises()

    def search(self, queries: Embeddings, k: int) -> Ranking:
        distances = ((queries.array[:, None] - self.vectors) ** 2).sum(-1) + self.rows
        return Ranking.from_topk(np.tile(self.rows, (len(queries), 1)), -distances).cut(k)


class Unseeded(Sound):
    """Draws from the generator that everybody draws from."""

    promises = Promises()

    def build(self, gallery: Embeddings) -> None:
        noise = np.random.normal(size=gallery.array.shape).astype(np.float32)  # noqa: NPY002
        super().build(Embeddings(gallery.array + 0.1 * noise))


class Wearing(Sound):
    """Every search wears the index down."""

    def search(self, queries: Embeddings, k: int) -> Ranking:
        found = super().search(queries, k)
        self.vectors = self.vectors + np.float32(0.01)
        return found


class Centring(Sound):
    """Queries are centred on their batch."""

    promises = Promises(recall=0)

    def search(self, queries: Embeddings, k: int) -> Ranking:
        return super().search(Embeddings(queries.array - queries.array.mean(axis=0)), k)


class Hoarding(Sound):
    """Building again keeps what was there."""

    def build(self, gallery: Embeddings) -> None:
        if hasattr(self, "vectors"):
            super().build(Embeddings(np.concatenate([self.vectors, gallery.array])))
        else:
            super().build(gallery)


class Fussy(Sound):
    """Finds nothing in a gallery that is small."""

    def search(self, queries: Embeddings, k: int) -> Ranking:
        found = super().search(queries, k)
        if len(self.rows) > 15:
            return found
        return Ranking(np.full_like(found.rows, MISSING), np.full_like(found.scores, -np.inf))


class Even(Sound):
    """Reads vectors in pairs."""

    promises = Promises(recall=0.9)

    def build(self, gallery: Embeddings) -> None:
        super().build(Embeddings(gallery.array.reshape(len(gallery), -1, 2).reshape(len(gallery), -1)))


class Scribbling(Sound):
    """Normalises its input in place."""

    def build(self, gallery: Embeddings) -> None:
        gallery.array.flags.writeable = True
        gallery.array[:] -= gallery.array.mean()
        super().build(gallery)


class Silent(Sound):
    def describe(self) -> Any:
        return None


class Unstorable(Sound):
    def describe(self) -> Description:
        return Description(details={"loss": float("nan")})


class Forgetful(Sound):
    def add(self, vectors: Embeddings) -> None:
        pass


class Renumbering(Sound):
    def remove(self, rows: np.ndarray) -> None:
        super().remove(rows)
        self.rows = np.arange(len(self.rows))


class Keeping(Sound):
    def remove(self, rows: np.ndarray) -> None:
        pass


class OutOfRange(Sound):
    def search(self, queries: Embeddings, k: int) -> Ranking:
        found = super().search(queries, k)
        return Ranking(found.rows + self.end, found.scores)


FAULTS = {
    Blind: "finds as many true neighbours as promised",
    RootedScores: "exact scores are minus squared distances",
    UpperRowsFirst: "an exact search equals the slow one ties by lower row",
    Scattering: "equal vectors are found together",
    Unseeded: "equal seeds give equal results",
    Wearing: "searching twice gives the same",
    Centring: "a query alone gets what it gets in a batch",
    Hoarding: "building again starts afresh",
    Fussy: "a gallery of one image is found",
    Even: "any number of dimensions will do",
    Scribbling: "input arrays stay as they are",
    Silent: "the index describes itself",
    Unstorable: "the index describes itself",
    Forgetful: "adding equals building anew",
    Renumbering: "removed rows are gone and the others keep their numbers",
    Keeping: "removed rows are gone and the others keep their numbers",
    OutOfRange: "small galleries and k beyond them are answered",
}


def broken(searcher: Any) -> set[str]:
    found = set()
    for contract in searcher_contracts(searcher):
        try:
            contract()
        except AssertionError:
            found.add(contract.name)
    return found


def test_a_sound_one_passes_as_a_class_and_as_an_object(runtime: Runtime) -> None:
    assert broken(Sound) == set()
    check_searcher(Sound(Config(), runtime))


@pytest.mark.parametrize(("fault", "contract"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(fault: type, contract: str) -> None:
    assert contract in broken(fault)


def test_the_message_says_what_was_due_and_what_came() -> None:
    with pytest.raises(AssertionError) as error:
        check_searcher(Blind)
    assert "Blind breaks the contract 'finds as many true neighbours as promised'" in str(error.value)
    assert "due: a recall of at least 1.000; came: 0." in str(error.value)


def test_a_missing_library_is_no_broken_contract() -> None:
    class Unavailable(Sound):
        def build(self, gallery: Embeddings) -> None:
            raise MissingLibrary("pip install it")

    with pytest.raises(MissingLibrary):
        check_searcher(Unavailable)


def test_limits_and_configurations_reach_the_class() -> None:
    """A quantiser of one bit breaks the promise that it keeps with 12 bytes."""
    schema = SEARCHERS.schema("ivfpq")
    config = schema(nlist=51, nprobe=51, subspaces=12, bits=8)
    first = next(iter(searcher_contracts(SEARCHERS.load("ivfpq"), config=config)))
    first()
    with pytest.raises(AssertionError, match="recall"):
        next(iter(searcher_contracts("ivfpq", subspaces=1, bits=1)))()
