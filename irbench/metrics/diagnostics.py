"""Diagnostics of identifiers: before any decoder is trained on them, and of what a decoder generates.

images_each            of the identifiers in use: how many images share one (mean, maximum, histogram)
codes_used             at each position, the number of different codes that occur
entropy_bits           at each position, the entropy of the codes over the images: log2 L where all are equally frequent
cluster_purity         for prefixes of 1 … M codes: the share of images whose label is the most frequent one of their
                       prefix; where each image has a prefix of its own this is 1 and says nothing
entropy_lower_bound    nats per code: what equation 5 cannot fall below where training and gallery images are the same.
                       The target of an image is drawn from its class, so no decoder can know which of the class's
                       identifiers it is: their entropy, averaged over the images, divided by M. A decoder's training
                       loss (without label smoothing) less this bound is what training has left to gain.
oracle_precision       precision@K of a decoder that knows the labels: for each query it generates whole identifiers,
                       each once, in the order that puts most images of the query's class among the first K; the images
                       of one identifier follow each other in gallery order. No decoder is better whose scores of
                       different identifiers differ and whose results are not reordered by similarity.
valid_identifier_rate  the share of sequences, generated without a trie, that are identifiers of the gallery

Shape letters: N gallery images, M codes, L codebook size, Q queries, K answers or beams.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers

Bits = NDArray[np.bool_]
_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)  # of the histogram's classes, the last of which is open
_ASKED = 256  # queries for which a decoder writes without a trie: enough for a share to within 0.01 or so


def report(
    identifiers: Identifiers, benchmark: Benchmark, *, generated: NDArray[np.int64] | None = None
) -> dict[str, object]:
    """Return the diagnostics of the gallery's identifiers; `generated` [Q,K,M]: what a decoder gives without a trie."""
    if len(identifiers) != len(benchmark.gallery):
        raise ContractError(f"{len(identifiers)} identifiers for a gallery of {len(benchmark.gallery)} images")
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
    """Least loss where gallery row i has the identifier number `leaf[i]`; none where training has other images."""
    if benchmark.train.fingerprint != benchmark.gallery.fingerprint:
        return {}
    _, classes, sizes = np.unique(benchmark.gallery.labels, return_inverse=True, return_counts=True)
    pairs, images = np.unique(np.stack([classes, leaf]), axis=1, return_counts=True)
    return {"entropy_lower_bound": float((images * np.log(sizes[pairs[0]] / images)).sum() / len(leaf) / num_codebooks)}


def reached_loss(retriever: Mapping[str, Any]) -> float | None:
    """Return the decoder's loss in its last epoch, in nats a code, from what a stored result tells of a retriever."""
    curve = retriever.get("training", {}).get("irgen", {}).get("loss")
    return float(curve[-1]) if curve else None


def loss_gap(report: Mapping[str, Any], loss: float | None) -> float | None:
    """Return how far a decoder's `loss` is above the least one, in nats an identifier: alike for all lengths."""
    least = report.get("entropy_lower_bound")
    return None if loss is None or least is None else report["num_codebooks"] * (loss - least)


def sample(queries: ImageSet) -> ImageSet:
    """Return the queries, or as many of them, evenly spread, as the valid-identifier rate needs."""
    return queries.take(np.unique(np.linspace(0, len(queries) - 1, _ASKED).astype(np.int64)))


def valid_rate(generated: NDArray[np.int64], identifiers: Identifiers) -> float:
    """Return the share of sequences [Q,K,M] that are identifiers."""
    if generated.ndim != 3 or generated.shape[2] != identifiers.num_codebooks:
        raise ContractError(f"sequences [Q,K,{identifiers.num_codebooks}] were to be generated, not {generated.shape}")
    together = np.concatenate([identifiers.codes, generated.reshape(-1, identifiers.num_codebooks)])
    different, place = np.unique(together, axis=0, return_inverse=True)
    known = np.zeros(len(different), dtype=bool)
    known[place[: len(identifiers)]] = True
    return float(known[place[len(identifiers) :]].mean())


def oracle_precision(leaf: NDArray[np.int64], benchmark: Benchmark) -> dict[int, float]:
    """Return the best precision at each K of the benchmark, where gallery row i has the identifier number `leaf[i]`."""
    labels, own_rows, deepest = benchmark.gallery.labels, benchmark.own_rows, max(benchmark.ks)
    by_leaf = np.split(np.argsort(leaf, kind="stable"), np.bincount(leaf).cumsum()[:-1])

    @cache
    def hits(label: int, own: int) -> NDArray[np.int64]:
        """Most hits [1+K] for a query of this label whose own photograph, if any, is this row."""
        worth = np.unique(leaf[labels == label])
        shared = (by_leaf[number] for number in worth)
        return most_hits((labels[rows[rows != own]] == label for rows in shared), deepest)

    asked = np.flatnonzero(benchmark.positives > 0)
    most = [hits(int(benchmark.queries.labels[query]), int(own_rows[query])) for query in asked]
    return {k: float(np.mean([found[k] for found in most])) / k for k in benchmark.ks} if most else {}


def most_hits(groups: Iterable[Bits], deepest: int) -> NDArray[np.int64]:
    """Return the most hits among the first 0, 1 … `deepest` answers, over all orders of the groups.

    A group's answers follow each other; of each the array says hit or miss. The first K answers are some whole groups
    and the beginning of one more, so this is a knapsack of K places: a group is taken whole, left, or cut, and at most
    one is cut.
    """
    known = list(groups)
    places = np.arange(deepest + 1)
    if sum(len(group) for group in known if group.all()) >= deepest:
        return places
    whole = np.zeros(deepest + 1, np.int64)  # most hits in so many places, with no group cut
    cut = whole.copy()  # with one group cut, or none
    for group in known:
        found = np.append(0, group.cumsum())
        begun = whole.copy()
        for end in np.flatnonzero(group[:deepest]) + 1:
            begun[end:] = np.maximum(begun[end:], whole[:-end] + found[end])
        cut = np.maximum(begun, _with(cut, len(group), found[-1]))
        whole = _with(whole, len(group), found[-1])
    return cut


def _with(most: NDArray[np.int64], size: int, hits: int) -> NDArray[np.int64]:
    """Most hits where a group of this size may be taken whole."""
    taken = most.copy()
    if 0 < size < len(most):
        taken[size:] = np.maximum(most[size:], most[:-size] + hits)
    return taken


def _prefixes(identifiers: Identifiers) -> NDArray[np.int64]:
    """Number [N,M] of each image's prefix of 1 … M codes, counted in the order of the codes."""
    order = np.lexsort(identifiers.codes.T[::-1])
    table = identifiers.codes[order]
    new = np.zeros(table.shape, dtype=bool)
    np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=new[1:])
    numbers = np.empty(table.shape, np.int64)
    numbers[order] = new.cumsum(axis=0)
    return numbers


def _purity(group: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of images whose label is the commonest of their group."""
    pairs, times = np.unique(np.stack([group, labels]), axis=1, return_counts=True)
    commonest = np.zeros(group.max() + 1, np.int64)
    np.maximum.at(commonest, pairs[0], times)
    return float(commonest.sum() / len(group))


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(abs((share * np.log2(share)).sum()))


def _histogram(each: NDArray[np.int64]) -> Mapping[str, int]:
    """How many identifiers have 1, 2, 3-4, 5-8 … images."""
    place = np.searchsorted(_BOUNDS, each)
    names = ["1", "2", *(f"{low + 1}-{high}" for low, high in pairwise(_BOUNDS[1:]))]
    names.append(f"over {_BOUNDS[-1]}")
    return {names[number]: int(times) for number, times in enumerate(np.bincount(place)) if times}
