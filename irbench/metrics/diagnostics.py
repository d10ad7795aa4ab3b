"""Diagnostics of identifiers: before any decoder is trained on them, and of what a decoder generates.

images_each            images per identifier, of the identifiers in use (mean, maximum, histogram)
codes_used             at each position, the number of different codes that occur
entropy_bits           at each position, the entropy of the codes over the images: log2 L where all are equally frequent
cluster_purity         for prefixes of 1 … M codes: the share of images whose label is the most frequent one of their
                       prefix; trivially 1 where each image has a prefix of its own
entropy_lower_bound    nats per code: the lower bound of equation 5 where training and gallery images are the same. The
                       target of an image is drawn at random from its class, so that no decoder can predict which of
                       the class's identifiers it is: their entropy, averaged over the images, divided by M. The gap
                       of a decoder's training loss (without label smoothing) to it is what training can still gain.
oracle_precision       precision@K of a decoder that knows the labels: for each query it generates every identifier
                       once, in the order that puts most images of the query's class among the first K; the images of
                       an identifier follow each other in gallery order. An upper bound for all decoders whose scores
                       of different identifiers differ and whose results are not reordered by similarity.
valid_identifier_rate  share of the sequences generated without a trie that are identifiers of the gallery

Shape letters: N gallery images, M codes, L codebook size, Q queries, K results or beams.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.core.judgements import JUNK

Bits = NDArray[np.bool_]
_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)  # of the histogram's bins, the last of which is open
_SAMPLED = 256  # queries for which a decoder generates without a trie: the rate is then certain to about 0.01


def report(
    identifiers: Identifiers, benchmark: Benchmark, *, generated: NDArray[np.int64] | None = None
) -> dict[str, object]:
    """Return the diagnostics of the gallery's identifiers; `generated` [Q,K,M] are sequences without a trie, if any."""
    if len(identifiers) != len(benchmark.gallery):
        raise ContractError(
            f"{len(identifiers)} identifiers for a gallery of {len(benchmark.gallery)} images", code="wrong-shape"
        )
    prefixes = _prefixes(identifiers)
    each = np.bincount(prefixes[:, -1])
    counts = [np.bincount(column) for column in identifiers.codes.T]
    after = (
        {}
        if generated is None
        else {"valid_identifier_rate": valid_rate(generated, identifiers), "generated": len(generated)}
    )
    return {
        "images": len(identifiers),
        "num_codebooks": identifiers.num_codebooks,
        "codebook_size": identifiers.codebook_size,
        "in_use": len(each),
        "images_each": {"mean": float(each.mean()), "max": int(each.max()), "histogram": _histogram(each)},
        "codes_used": [int((count > 0).sum()) for count in counts],
        "entropy_bits": [_entropy(count) for count in counts],
        "cluster_purity": [_purity(column, benchmark.gallery.labels) for column in prefixes.T],
        **_entropy_lower_bound(prefixes[:, -1], benchmark, identifiers.num_codebooks),
        "oracle_precision": {
            f"precision@{k}": best for k, best in oracle_precision(prefixes[:, -1], benchmark).items()
        },
        **after,
    }


def _entropy_lower_bound(leaf: NDArray[np.int64], benchmark: Benchmark, num_codebooks: int) -> dict[str, float]:
    """Return the bound where gallery row i has identifier number `leaf[i]`; empty if training has other images."""
    if benchmark.train.fingerprint != benchmark.gallery.fingerprint:
        return {}
    _, classes, sizes = np.unique(benchmark.gallery.labels, return_inverse=True, return_counts=True)
    pairs, images = np.unique(np.stack([classes, leaf]), axis=1, return_counts=True)
    return {"entropy_lower_bound": float((images * np.log(sizes[pairs[0]] / images)).sum() / len(leaf) / num_codebooks)}


def losses(retriever: Mapping[str, Any]) -> list[float]:
    """Return the decoder's loss in each epoch, in nats per code, from the stored description of a retriever."""
    trainings = retriever.get("training")
    curves = trainings.get("irgen") if isinstance(trainings, dict) else None
    return list(curves.get("loss") or ()) if isinstance(curves, dict) else []


def reached_loss(retriever: Mapping[str, Any]) -> float | None:
    """Return the decoder's loss in its last epoch, in nats per code, from the stored description of a retriever."""
    curve = losses(retriever)
    return curve[-1] if curve else None


def least_loss(retriever: Mapping[str, Any]) -> float | None:
    """Return the entropy lower bound, in nats per code, from the stored description of a retriever."""
    report = retriever.get("identifiers")
    return report.get("entropy_lower_bound") if isinstance(report, dict) else None


def left_to_learn(retriever: Mapping[str, Any]) -> float | None:
    """Return the gap of a decoder's loss to the bound, in nats per identifier, from the description of a retriever."""
    report = retriever.get("identifiers")
    return loss_gap(report, reached_loss(retriever)) if isinstance(report, dict) else None


def loss_gap(report: Mapping[str, Any], loss: float | None) -> float | None:
    """Return the gap of a decoder's `loss` to the entropy lower bound, in nats per identifier for all lengths."""
    bound = report.get("entropy_lower_bound")
    codes = report.get("num_codebooks")
    return None if loss is None or bound is None or codes is None else codes * (loss - bound)


def sample(queries: ImageSet) -> ImageSet:
    """Return an even sample of the queries, large enough for the valid-identifier rate."""
    return queries.take(np.unique(np.linspace(0, len(queries) - 1, _SAMPLED).astype(np.int64)))


def valid_rate(generated: NDArray[np.int64], identifiers: Identifiers) -> float:
    """Return the share of sequences [Q,K,M] that are identifiers; `ContractError` for another shape."""
    if generated.ndim != 3 or generated.shape[2] != identifiers.num_codebooks:
        raise ContractError(
            f"generated sequences have shape {generated.shape}, not [Q,K,{identifiers.num_codebooks}]",
            code="wrong-shape",
        )
    together = np.concatenate([identifiers.codes, generated.reshape(-1, identifiers.num_codebooks)])
    different, place = np.unique(together, axis=0, return_inverse=True)
    known = np.zeros(len(different), dtype=bool)
    known[place[: len(identifiers)]] = True
    return float(known[place[len(identifiers) :]].mean())


def oracle_precision(leaf: NDArray[np.int64], benchmark: Benchmark) -> dict[int, float]:
    """Return the oracle precision at each K of the benchmark, where gallery row i has identifier number `leaf[i]`."""
    own_rows, max_k = benchmark.own_rows, max(benchmark.ks)
    by_leaf = np.split(np.argsort(leaf, kind="stable"), np.bincount(leaf).cumsum()[:-1])

    marks = np.zeros(len(leaf), np.int8)  # grades of one query

    def most(query: int) -> NDArray[np.int64]:
        """Return the most hits [1+K] for a query; its own image and junk do not count."""
        judged, grades = benchmark.relevance.of_query(query)
        itself = own_rows[query : query + 1]
        marks[judged] = grades
        marks[itself[itself >= 0]] = JUNK
        useful = np.unique(leaf[judged[marks[judged] > 0]])
        found = most_hits((_counted(marks[by_leaf[number]]) for number in useful), max_k)
        marks[judged] = 0
        marks[itself[itself >= 0]] = 0
        return found

    scored = np.flatnonzero(benchmark.positives > 0)
    found = _of_each(most, scored, benchmark)
    return {k: float(np.mean([one[k] for one in found])) / k for k in benchmark.ks} if found else {}


def _counted(grades: NDArray[np.int8]) -> Bits:
    return grades[grades != JUNK] > 0


def _of_each(
    most: Callable[[int], NDArray[np.int64]], queries: NDArray[np.int64], benchmark: Benchmark
) -> list[NDArray[np.int64]]:
    """Return what `most` is for each query; queries of one class that are not in the gallery have the same."""
    known: dict[tuple[int, int], NDArray[np.int64]] = {}
    found = []
    for query in queries.tolist():
        key = (int(benchmark.queries.labels[query]), int(benchmark.own_rows[query]))
        if benchmark.judgements is not None:
            key = (-1, query)
        if key not in known:
            known[key] = most(query)
        found.append(known[key])
    return found


def most_hits(groups: Iterable[Bits], max_k: int) -> NDArray[np.int64]:
    """Return the most hits among the first 0, 1 … `max_k` results, over all orders of the groups.

    The results of a group follow each other; its array marks hits. The first K results are some whole groups and the
    beginning of one more. This is a knapsack problem of K places, in which at most one group is cut.
    """
    listed = list(groups)
    if sum(len(group) for group in listed if group.all()) >= max_k:
        return np.arange(max_k + 1)
    whole = np.zeros(max_k + 1, np.int64)  # most hits in 0, 1 … places, with no group cut
    cut = whole.copy()  # with at most one group cut
    for group in listed:
        found = np.append(0, group.cumsum())
        with_start = whole.copy()  # and the beginning of this group
        for end in np.flatnonzero(group[:max_k]) + 1:
            with_start[end:] = np.maximum(with_start[end:], whole[:-end] + found[end])
        cut = np.maximum(with_start, _with(cut, len(group), found[-1]))
        whole = _with(whole, len(group), found[-1])
    return cut


def _with(most: NDArray[np.int64], size: int, hits: int) -> NDArray[np.int64]:
    """Return the most hits where a group of this size and so many hits may be taken whole."""
    best = most.copy()
    if 0 < size < len(most):
        best[size:] = np.maximum(most[size:], most[:-size] + hits)
    return best


def _prefixes(identifiers: Identifiers) -> NDArray[np.int64]:
    """Return the numbers [N,M] of each image's prefixes of 1 … M codes, in lexicographic order."""
    order = np.lexsort(identifiers.codes.T[::-1])
    table = identifiers.codes[order]
    is_new = np.zeros(table.shape, dtype=bool)  # the first row of a prefix
    np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=is_new[1:])
    numbers = np.empty(table.shape, np.int64)
    numbers[order] = is_new.cumsum(axis=0)
    return numbers


def _purity(group: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the share of images whose label is the most frequent one of their group."""
    pairs, counts = np.unique(np.stack([group, labels]), axis=1, return_counts=True)
    most_frequent = np.zeros(group.max() + 1, np.int64)
    np.maximum.at(most_frequent, pairs[0], counts)
    return float(most_frequent.sum() / len(group))


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(abs((share * np.log2(share)).sum()))


def _histogram(each: NDArray[np.int64]) -> Mapping[str, int]:
    """Return how many identifiers have 1, 2, 3-4, 5-8 … images."""
    bins = np.searchsorted(_BOUNDS, each)
    names = ["1", "2", *(f"{low + 1}-{high}" for low, high in pairwise(_BOUNDS[1:]))]
    names.append(f"over {_BOUNDS[-1]}")
    return {names[number]: int(count) for number, count in enumerate(np.bincount(bins)) if count}
