"""What every searcher has to keep, as the harness uses it: within a `SearchIndex`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.config.registry import SEARCHERS
from irbench.core.embeddings import Embeddings
from irbench.core.errors import ContractError
from irbench.core.promises import Promises
from irbench.core.ranking import MISSING, Ranking
from irbench.protocols import Searcher, TunableSearcher, UpdatableSearcher
from irbench.retrievers.search_index import SearchIndex
from irbench.runtime.machine import Runtime
from irbench.testing import toys
from irbench.testing.contracts import Check, Contract, contracts, demand, demand_description, demand_refusal
from irbench.testing.subjects import Subject, subject

Vectors = NDArray[np.float32]
_NEARLY = 0.9


def check_searcher(
    searcher: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> None:
    """Check every contract of a searcher.

    Args:
        searcher: A registered name, a class, or an object with `build` and `search`.
        config: What a class is built with, instead of its recipe's values.
        recipe: The recipe of methods/search to build a class from, by default the one that is called like it.
        runtime: Device and precision, by default a CPU in fp32; work files go to a temporary folder in any case.
        **limits: Keys of the recipe to set.

    Raises:
        AssertionError: A contract is broken; the message says which one, what was due and what came.
    """
    for contract in searcher_contracts(searcher, config=config, recipe=recipe, runtime=runtime, **limits):
        contract()


def searcher_contracts(
    searcher: Any, *, config: Any = None, recipe: str | None = None, runtime: Runtime | None = None, **limits: Any
) -> Iterator[Contract[Searcher]]:
    """Yield the contracts that `check_searcher` checks, each to be called by itself."""
    return contracts(
        _CHECKS, subject(searcher, SEARCHERS, config=config, recipe=recipe, runtime=runtime, limits=limits)
    )


def _finds_as_many_true_neighbours_as_promised(made: Subject[Searcher]) -> None:
    gallery, queries = toys.vectors(2000, seed=1), toys.vectors(60, seed=2)
    found = _search(_built(made, gallery), queries, 10)
    _demand_shape(found, 60, 10)
    _demand_recall(found.rows, toys.nearest(queries, gallery, 10), _promises(made).recall)


def _exact_scores_are_minus_squared_distances(made: Subject[Searcher]) -> None:
    gallery, queries = toys.vectors(600, seed=1), toys.vectors(20, seed=2)
    found = _search(_built(made, gallery), queries, 5)
    answered = found.rows != MISSING
    demand(np.isfinite(found.scores[answered]).all(), due="finite scores", came=found.scores[answered].min())
    if _promises(made).exact_scores:
        _demand_exact_scores(found, queries, gallery)


def _an_exact_search_equals_the_slow_one_ties_by_lower_row(made: Subject[Searcher]) -> None:
    if _promises(made) != Promises(recall=1.0, exact_scores=True):
        return
    rng = np.random.default_rng(0)  # whole numbers, whose distances have no rounding and many ties
    gallery, queries = (rng.integers(-2, 3, (size, 4)).astype(np.float32) for size in (300, 40))
    for vectors in (gallery, gallery[:3], np.full((400, toys.DIM), 0.1, np.float32)):
        asked = queries if vectors.shape[1] == 4 else vectors[:2]
        found = _search(_built(made, vectors), asked, 9)
        true = toys.nearest(asked, vectors, 9)
        demand(np.array_equal(found.rows[:, : true.shape[1]], true), due=f"{true[0]}", came=found.rows[0])


def _equal_vectors_are_found_together(made: Subject[Searcher]) -> None:
    single = toys.vectors(150, seed=1)
    found = _search(_built(made, np.tile(single, (3, 1))), single, 3)
    own = np.sort(found.rows, axis=1) == np.arange(150)[:, None] + [0, 150, 300]
    nearest = found.rows % 150
    together = (nearest == nearest[:, :1]).all(axis=1)
    demand(together.mean() >= _NEARLY, due=f"three equal vectors side by side in {_NEARLY:.0%}", came=together.mean())
    if _promises(made).exact_scores:
        ordered = own.all(axis=1) & (np.diff(found.rows, axis=1) > 0).all(axis=1)
        demand(ordered.mean() >= _NEARLY, due="equal vectors by lower row", came=found.rows[~ordered][:1])


def _equal_seeds_give_equal_results(made: Subject[Searcher]) -> None:
    gallery, queries = toys.vectors(900, seed=1), toys.vectors(40, seed=2)
    first = _search(_built(made, gallery, seed=1), queries, 30)
    np.random.seed(5)  # noqa: NPY002 -- whatever the caller has drawn before
    _demand_same(first, _search(_built(made, gallery, seed=1), queries, 30))


def _searching_twice_gives_the_same(made: Subject[Searcher]) -> None:
    index, queries = _built(made, toys.vectors(600, seed=1)), toys.vectors(40, seed=2)
    _demand_same(_search(index, queries, 20), _search(index, queries, 20))


def _a_query_alone_gets_what_it_gets_in_a_batch(made: Subject[Searcher]) -> None:
    index, queries = _built(made, toys.vectors(600, seed=1)), toys.vectors(40, seed=2)
    together = _search(index, queries, 10)
    largest = float(np.abs(together.scores[together.rows != MISSING]).max())
    for row in range(len(queries)):
        alone = _search(index, queries[row : row + 1], 10)
        close = np.allclose(alone.scores[0], together.scores[row], rtol=1e-5, atol=1e-5 * largest)
        demand(close, due=f"scores {together.scores[row]} for query {row}", came=alone.scores[0])
        shared = toys.overlap(alone.rows, together.rows[row : row + 1])
        demand(shared >= _NEARLY, due=f"rows {together.rows[row]} for query {row}", came=alone.rows[0])


def _building_again_starts_afresh(made: Subject[Searcher]) -> None:
    index, queries = _built(made, toys.vectors(700, seed=1)), toys.vectors(10, seed=2)
    index.build(Embeddings(toys.vectors(500, seed=3)))
    again = _search(index, queries, 20)
    _demand_same(_search(_built(made, toys.vectors(500, seed=3)), queries, 20), again)


def _a_gallery_of_one_image_is_found(made: Subject[Searcher]) -> None:
    found = _search(_built(made, toys.vectors(1, seed=1)), toys.vectors(3, seed=2), 2)
    _demand_shape(found, 3, 2)
    demand((found.rows == [0, MISSING]).all(), due="row 0 and nothing else", came=found.rows[0])


def _small_galleries_and_k_beyond_them_are_answered(made: Subject[Searcher]) -> None:
    for size in (5, 15, 16, 300):
        gallery = np.random.default_rng(0).normal(size=(size, 5)).astype(np.float32)
        index = _built(made, gallery)
        found = _search(index, gallery[:3], size + 4)
        _demand_shape(found, 3, size + 4)
        answered = (found.rows != MISSING).sum(axis=1)
        demand((answered >= 5).all(), due=f"at least 5 of a gallery of {size}", came=answered.min())
        demand(index.describe().index_bytes >= 0, due="bytes of the index", came=index.describe().index_bytes)


def _any_number_of_dimensions_will_do(made: Subject[Searcher]) -> None:
    for dim in (1, 7):
        gallery = toys.vectors(400, seed=1, dim=dim)
        found = _search(_built(made, gallery), gallery[:50], 10)
        _demand_recall(found.rows, toys.nearest(gallery[:50], gallery, 10), _floor(made))


def _input_arrays_stay_as_they_are(made: Subject[Searcher]) -> None:
    given = [Embeddings(toys.vectors(600, seed=1)), Embeddings(toys.vectors(20, seed=2))]
    before = [vectors.array.copy() for vectors in given]
    for vectors in given:
        vectors.array.flags.writeable = False
    index = SearchIndex(made.make())
    index.build(given[0])
    index.search(given[1], 7)
    same = all(np.array_equal(vectors.array, original) for vectors, original in zip(given, before, strict=True))
    demand(same, due="the vectors as they were", came="other values in the same array")


def _wrong_dimensions_and_empty_galleries_are_refused(made: Subject[Searcher]) -> None:
    index, narrow = _built(made, toys.vectors(300, seed=1)), Embeddings(np.ones((2, 7), np.float32))
    demand_refusal(lambda: index.search(narrow, 3), ContractError, what="queries have other dimensions")
    empty = Embeddings(np.empty((0, toys.DIM), np.float32))
    demand_refusal(lambda: index.build(empty), ContractError, what="there is nothing to index")


def _searching_before_building_is_refused(made: Subject[Searcher]) -> None:
    index = SearchIndex(made.make())
    queries = Embeddings(toys.vectors(2, seed=2))
    demand_refusal(lambda: index.search(queries, 1), ContractError, what="no gallery has been indexed")


def _the_index_describes_itself(made: Subject[Searcher]) -> None:
    demand_description(_built(made, toys.vectors(300, seed=1)).describe())


def _adding_equals_building_anew(made: Subject[Searcher]) -> None:
    if not isinstance(made.make(), UpdatableSearcher):
        return  # the harness builds it again
    gallery, queries = toys.vectors(1500, seed=1), toys.vectors(60, seed=2)
    index = _built(made, gallery[:700])
    for part in (gallery[700:701], gallery[701:]):
        index.add(Embeddings(part))
    found, true = _search(index, queries, 10), toys.nearest(queries, gallery, 10)
    _demand_recall(found.rows, true, _floor(made))
    added, due = (found.rows >= 700).mean(), (true >= 700).mean()
    demand(abs(added - due) <= 0.1, due=f"{due:.2f} of the results among added rows", came=f"{added:.2f}")
    if _promises(made).exact_scores:
        _demand_same(_search(_built(made, gallery), queries, 10), found)


def _removed_rows_are_gone_and_the_others_keep_their_numbers(made: Subject[Searcher]) -> None:
    if not isinstance(made.make(), UpdatableSearcher):
        return
    gallery, queries, gone = toys.vectors(900, seed=1), toys.vectors(60, seed=2), np.r_[0, 17:200, 499:520, 699]
    index = _built(made, gallery[:700])
    index.remove(np.random.default_rng(0).permutation(gone))
    index.add(Embeddings(gallery[700:]))
    index.remove(np.array([700, 899]))
    left = np.setdiff1d(np.arange(900), np.r_[gone, 700, 899])
    found = _search(index, queries, 10)
    strangers = np.setdiff1d(found.rows, np.r_[left, MISSING])
    demand(not strangers.size, due="rows that are left", came=strangers)
    _demand_recall(found.rows, left[toys.nearest(queries, gallery[left], 10)], _floor(made))
    if _promises(made).exact_scores:
        _demand_exact_scores(found, queries, gallery)


def _query_parameters_need_no_other_index(made: Subject[Searcher]) -> None:
    searcher = made.make()
    if not isinstance(searcher, TunableSearcher):
        return  # the harness builds it again
    gallery, queries = toys.vectors(2000, seed=1), toys.vectors(60, seed=2)
    index = _built(made, gallery)
    points = tuple(getattr(searcher.config, "sweep", ()))
    for point in (*points[:1], *points[-2:]):  # the last two of ScaNN's are of another index than its first
        other, anew = _at(made, point), SearchIndex(_at(made, point))
        if not index.set_query_parameters(other):
            keys = {key for key, _ in point}
            demand(not keys <= searcher.config.query_keys, due=f"{keys} set without building", came="a refusal")
            index = SearchIndex(other)
            index.build(Embeddings(gallery))
        anew.build(Embeddings(gallery))
        _demand_same(_search(anew, queries, 10), _search(index, queries, 10))
        described, due = index.describe().details, anew.describe().details
        demand(described == due, due=f"the description {due}", came=described)


def _at(made: Subject[Searcher], point: Iterable[tuple[str, Any]]) -> Any:
    """Return a searcher whose recipe says what a point of its sweep does."""
    searcher: Any = made.make()
    searcher.config = replace(searcher.config, **dict(point))
    return searcher


_CHECKS: Sequence[Check[Searcher]] = (
    _finds_as_many_true_neighbours_as_promised,
    _exact_scores_are_minus_squared_distances,
    _an_exact_search_equals_the_slow_one_ties_by_lower_row,
    _equal_vectors_are_found_together,
    _equal_seeds_give_equal_results,
    _searching_twice_gives_the_same,
    _a_query_alone_gets_what_it_gets_in_a_batch,
    _building_again_starts_afresh,
    _a_gallery_of_one_image_is_found,
    _small_galleries_and_k_beyond_them_are_answered,
    _any_number_of_dimensions_will_do,
    _input_arrays_stay_as_they_are,
    _wrong_dimensions_and_empty_galleries_are_refused,
    _searching_before_building_is_refused,
    _the_index_describes_itself,
    _adding_equals_building_anew,
    _removed_rows_are_gone_and_the_others_keep_their_numbers,
    _query_parameters_need_no_other_index,
)


def _promises(made: Subject[Searcher]) -> Promises:
    promised: Promises = getattr(made.make(), "promises", Promises())
    return promised


def _floor(made: Subject[Searcher]) -> float:
    """Return the least recall on vectors other than those for which it is promised; an exact search stays exact."""
    promised = _promises(made).recall
    return promised if promised == 1 else _NEARLY * promised


def _built(made: Subject[Searcher], gallery: Vectors, *, seed: int = 0) -> SearchIndex:
    index = SearchIndex(made.make(seed=seed))
    index.build(Embeddings(gallery))
    return index


def _search(index: SearchIndex, queries: Vectors, k: int) -> Ranking:
    return index.search(Embeddings(queries), k)


def _demand_shape(found: Ranking, queries: int, k: int) -> None:
    demand(found.rows.shape == (queries, k), due=f"rows of shape [{queries}, {k}]", came=found.rows.shape)
    types = [str(found.rows.dtype), str(found.scores.dtype)]
    demand(types == ["int64", "float32"], due="rows in int64 and scores in float32", came=types)


def _demand_recall(found: NDArray[np.int64], true: NDArray[np.int64], floor: float) -> None:
    recall = toys.overlap(found, true)
    demand(recall >= floor, due=f"a recall of at least {floor:.3f}", came=f"{recall:.3f}")


def _demand_same(due: Ranking, came: Ranking) -> None:
    differs = ((due.rows != came.rows) | (due.scores != came.scores)).any(axis=1)
    row = int(differs.argmax())
    demand(not differs.any(), due=f"rows {due.rows[row]} for query {row}", came=came.rows[row])


def _demand_exact_scores(found: Ranking, queries: Vectors, gallery: Vectors) -> None:
    true = np.take_along_axis(toys.squared_distances(queries, gallery), np.maximum(found.rows, 0), 1)
    off = np.where(found.rows == MISSING, 0, np.abs(found.scores + true) - 1e-4 * (true + 1))
    worst = np.unravel_index(int(off.argmax()), off.shape)
    demand((off <= 0).all(), due=f"score {-true[worst]:.5f} for row {found.rows[worst]}", came=found.scores[worst])
