"""What every retriever has to keep."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from irbench.config.registry import RETRIEVERS
from irbench.core.ranking import MISSING, Ranking
from irbench.protocols import Retriever, SupportsUpdates, Trainable
from irbench.runtime.machine import Runtime
from irbench.testing import toys
from irbench.testing.contracts import Check, Contract, contracts, demand, demand_description, demand_refusal
from irbench.testing.subjects import Subject, subject

_K = 10


def check_retriever(
    retriever: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> None:
    """Check every contract of a retriever, on a gallery of 40 images that it is trained on if need be, and 12 queries.

    Args:
        retriever: A registered name, a class, or an object that is trained and ready to index a gallery.
        config: What a class is built with, instead of its recipe's values.
        recipe: The recipe of methods to build a class and its components from, by default the one that is called like
            it, else that of pixels with exact search.
        runtime: Device and precision, by default a CPU in fp32; work files go to a temporary folder in any case.
        **limits: Keys of the recipes to set; those that are not given and decide how long it takes are set to little.

    Raises:
        AssertionError: A contract is broken; the message says which one, what was due and what came.
    """
    for contract in retriever_contracts(retriever, config=config, recipe=recipe, runtime=runtime, **limits):
        contract()


def retriever_contracts(
    retriever: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> Iterator[Contract[Retriever]]:
    """Yield the contracts that `check_retriever` checks, each to be called by itself."""
    return contracts(
        _CHECKS, subject(retriever, RETRIEVERS, config=config, recipe=recipe, runtime=runtime, limits=limits)
    )


def _every_query_gets_gallery_rows_best_first(made: Subject[Retriever]) -> None:
    found = _indexed(made).search(toys.benchmark().queries, _K)
    _demand_rows(found, queries=12, k=_K, size=40)
    demand((found.rows[:, 0] != MISSING).all(), due="a result for every query", came=found.rows[:, 0])


def _k_beyond_the_gallery_is_answered(made: Subject[Retriever]) -> None:
    found = _indexed(made, 5).search(toys.benchmark().queries, 20)
    _demand_rows(found, queries=12, k=20, size=5)


def _a_gallery_of_one_image_is_found(made: Subject[Retriever]) -> None:
    found = _indexed(made, 1).search(toys.benchmark().queries, 3)
    _demand_rows(found, queries=12, k=3, size=1)
    demand((found.rows[:, 0] == 0).all(), due="row 0 for every query", came=found.rows[:, 0])


def _searching_twice_gives_the_same(made: Subject[Retriever]) -> None:
    retriever, queries = _indexed(made), toys.benchmark().queries
    _demand_same(retriever.search(queries, _K), retriever.search(queries, _K))


def _a_query_alone_gets_what_it_gets_in_a_batch(made: Subject[Retriever]) -> None:
    retriever, queries = _indexed(made), toys.benchmark().queries
    together = retriever.search(queries, _K)
    for row in range(len(queries)):
        alone = retriever.search(queries.take(np.array([row])), _K)
        shared = toys.overlap(alone.rows, together.rows[row : row + 1])
        demand(shared >= 0.9, due=f"rows {together.rows[row]} for query {row}", came=alone.rows[0])


def _equal_seeds_give_equal_results(made: Subject[Retriever]) -> None:
    queries = toys.benchmark().queries
    first = _indexed(made).search(queries, _K)
    _demand_same(first, _indexed(made).search(queries, _K))
    _demand_same(first, _indexed(made, work="elsewhere").search(queries, _K))


def _indexing_again_starts_afresh(made: Subject[Retriever]) -> None:
    retriever, queries = _indexed(made, 9), toys.benchmark().queries
    retriever.index(toys.benchmark().gallery)
    again = retriever.search(queries, _K)
    _demand_same(_indexed(made).search(queries, _K), again)


def _images_stay_as_they_are(made: Subject[Retriever]) -> None:
    benchmark, fresh = toys.benchmark(), toys.benchmark()
    retriever = _trained(made)
    retriever.index(benchmark.gallery)
    retriever.search(benchmark.queries, _K)
    for split, original in ((benchmark.gallery, fresh.gallery), (benchmark.queries, fresh.queries)):
        demand(
            np.array_equal(toys.pixels(split), toys.pixels(original)),
            due="the images as they were",
            came="other pixels",
        )


def _searching_before_indexing_is_refused(made: Subject[Retriever]) -> None:
    if not made.ready:
        retriever, queries = _trained(made), toys.benchmark().queries
        demand_refusal(lambda: retriever.search(queries, 1), Exception, what="no gallery has been indexed")


def _adding_equals_indexing_all_at_once(made: Subject[Retriever]) -> None:
    gallery, queries = toys.benchmark().gallery, toys.benchmark().queries
    grown = _indexed(made, 15)
    if isinstance(grown, SupportsUpdates):
        for part in (slice(15, 16), slice(16, 40)):
            grown.add(gallery.take(part))
        found = grown.search(queries, _K)
        _demand_same(_indexed(made).search(queries, _K), found)


def _removed_rows_are_gone_and_the_others_keep_their_numbers(made: Subject[Retriever]) -> None:
    gallery, queries, gone = toys.benchmark().gallery, toys.benchmark().queries, np.r_[0, 3:9, 20, 38:40]
    left = np.setdiff1d(np.arange(40), gone)
    shrunk = _indexed(made)
    if isinstance(shrunk, SupportsUpdates):
        shrunk.remove(gone)
        found = shrunk.search(queries, _K)
        without = _trained(made)
        without.index(gallery.take(left))
        due = without.search(queries, _K)
        rows = np.where(due.rows == MISSING, MISSING, left[due.rows])
        _demand_same(Ranking(rows, due.scores), found)


def _the_retriever_describes_itself(made: Subject[Retriever]) -> None:
    demand_description(_indexed(made).describe())


_CHECKS: Sequence[Check[Retriever]] = (
    _every_query_gets_gallery_rows_best_first,
    _k_beyond_the_gallery_is_answered,
    _a_gallery_of_one_image_is_found,
    _searching_twice_gives_the_same,
    _a_query_alone_gets_what_it_gets_in_a_batch,
    _equal_seeds_give_equal_results,
    _indexing_again_starts_afresh,
    _images_stay_as_they_are,
    _searching_before_indexing_is_refused,
    _adding_equals_indexing_all_at_once,
    _removed_rows_are_gone_and_the_others_keep_their_numbers,
    _the_retriever_describes_itself,
)


def _trained(made: Subject[Retriever], *, work: str = "work") -> Retriever:
    retriever = made.make(work=work)
    if isinstance(retriever, Trainable) and not made.ready:
        retriever.train(toys.benchmark().train)
    return retriever


def _indexed(made: Subject[Retriever], size: int = 40, *, work: str = "work") -> Retriever:
    retriever = _trained(made, work=work)
    retriever.index(toys.benchmark().gallery.take(slice(size)))
    return retriever


def _demand_rows(found: Ranking, *, queries: int, k: int, size: int) -> None:
    demand(isinstance(found, Ranking), due="a Ranking, whose order is checked", came=type(found).__name__)
    rows = found.rows
    demand(len(rows) == queries and rows.shape[1] <= k, due=f"rows of shape [{queries}, {k}]", came=rows.shape)
    demand(rows.max() < size, due=f"rows of a gallery of {size}", came=rows.max())


def _demand_same(due: Ranking, came: Ranking) -> None:
    same = np.array_equal(due.rows, came.rows) and np.allclose(due.scores, came.scores, rtol=1e-5, atol=1e-5)
    shapes = due.rows.shape, came.rows.shape
    differs = (due.rows != came.rows).any(axis=1) if shapes[0] == shapes[1] else np.ones(len(due.rows), bool)
    row = int(differs.argmax())
    demand(same, due=f"rows {due.rows[row]} for query {row}", came=came.rows[row])
