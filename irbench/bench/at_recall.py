"""An index as it is used for a gallery that grows, and what its queries cost at a given recall.

It is built once, and asked at settings from fast to exact until it finds the share of the exact neighbours that is
asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import isqrt, log

from irbench.bench.search import Vectors, searcher_of, sweep_of
from irbench.bench.timing import median, repeated
from irbench.core.cell import Overrides
from irbench.core.embeddings import Embeddings
from irbench.core.errors import NotApplicable
from irbench.runtime.machine import Runtime

_SINGLES = 32  # queries of a repetition that asks one at a time

# As they are used for galleries that grow. Unless candidates are scored again, what quantised vectors lose bounds the
# recall of IVF-PQ whatever the setting.
BUILT_AS = {
    "ivfpq": "sqrt(N) cells, at most N/39, and 16 bytes a vector; 200 candidates are scored again by exact distances",
    "ivf-rabitq": "sqrt(N) cells, at most N/39; 200 candidates are scored again by exact distances",
    "scann": "sqrt(N) leaves at any size",
}
_RECIPES = {"ivfpq": "ivf-rabitq"}  # whose keys are those of any index that Faiss builds from a string
_BUILT: Mapping[str, Callable[[int], Overrides]] = {
    "ivfpq": lambda size: (("factory", "IVF{cells},PQ16x8np"), ("cells", isqrt(size))),
    "ivf-rabitq": lambda size: (("cells", isqrt(size)),),
    "scann": lambda _: (("tree_from", 0),),
}
_SETTINGS: Mapping[str, tuple[Overrides, ...]] = {
    "scann": tuple((("leaves_searched", 2.0 ** (half / 2)),) for half in range(-18, 1)),  # 0.2 % to all of them
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How an index is asked, and what it has to find."""

    recall: float  # of the K exact neighbours
    k: int
    batch: int  # queries
    patience: float  # seconds after which a measurement is not repeated


@dataclass(frozen=True, kw_only=True)
class AtRecall:
    """What a query costs."""

    single_s: float  # one at a time
    batch_s: float  # its share of a batch
    recall: float
    setting: str  # or the two between which the cost is interpolated


class Index:
    """A search over a gallery, built once and asked at settings from fast to exact."""

    def __init__(self, name: str, gallery: Embeddings, runtime: Runtime) -> None:
        self.name, self.runtime = name, runtime
        self._recipe = _RECIPES.get(name, name)
        self._built = _BUILT[name](len(gallery)) if name in _BUILT else ()
        self.settings: Sequence[Overrides] = _SETTINGS.get(name) or sweep_of(self._recipe) or ((),)
        self.index = searcher_of(self._recipe, (*self._built, *self.settings[0]), runtime)
        self.index.build(gallery)

    def use(self, setting: Overrides) -> None:
        """Answer at this setting from now on."""
        if setting and not self.index.set_query_parameters(
            searcher_of(self._recipe, (*self._built, *setting), self.runtime).searcher
        ):
            raise NotApplicable(
                f"{self.name} has to be built again for {_text(setting)}, so that it has no costs at a given recall",
                code="not-applicable",
            )


def at_recall(index: Index, vectors: Vectors, asked: Asked) -> AtRecall:
    """Return what a query costs at the recall that is asked for.

    That lies between the costs of two settings, and is interpolated: the logarithm of the time along that of the
    misses. Where even the fastest setting finds more, or the most exact one less, the cost is that setting's.
    """
    around = list(_around(index, vectors, asked))
    share = _share([found for _, found in around], asked.recall, 0.5 / vectors.exact.rows.size)
    single_s, batch_s = (
        _between([_seconds(index, setting, rounds, asked) for setting, _ in around], share)
        for rounds in (_rounds(vectors.queries, 1, _SINGLES), _rounds(vectors.queries, asked.batch, 1))
    )
    return AtRecall(
        single_s=single_s,
        batch_s=batch_s,
        recall=asked.recall if len(around) > 1 else around[0][1],
        setting=" to ".join(_text(setting) for setting, _ in around),
    )


def _around(index: Index, vectors: Vectors, asked: Asked) -> Iterator[tuple[Overrides, float]]:
    """Yield the last setting that finds too little and the first that finds enough, or the one nearest to that."""
    found: list[tuple[Overrides, float]] = []
    for setting in index.settings:
        index.use(setting)
        found.append((setting, vectors.recall(index.index.search(vectors.queries, asked.k))))
        if found[-1][1] >= asked.recall:
            break
    yield from found[-2:] if found[-1][1] > asked.recall else found[-1:]


def _share(found: Sequence[float], wanted: float, least: float) -> float:
    """Return how far the wanted recall is from the first recall to the last; `least` misses where none was seen."""
    misses = [log(max(least, 1 - recall)) for recall in (*found, wanted)]
    return (misses[0] - misses[-1]) / (misses[0] - misses[1]) if len(found) > 1 else 0.0


def _between(seconds: Sequence[float], share: float) -> float:
    return float(seconds[0] ** (1 - share) * seconds[-1] ** share)


def _rounds(queries: Embeddings, size: int, count: int) -> Sequence[Sequence[Embeddings]]:
    """Return rounds of `count` batches of `size` queries, each query once at most; of fewer where there are too few."""
    batches = [Embeddings(queries.array[at : at + size]) for at in range(0, len(queries) - size + 1, size)]
    count = min(count, len(batches))
    return [batches[at : at + count] for at in range(0, len(batches) - count + 1, count)]


def _seconds(index: Index, setting: Overrides, rounds: Sequence[Sequence[Embeddings]], asked: Asked) -> float:
    """Return the median time of a query.

    Each repetition asks the next round: the caches would hold what the same queries visit again and again.
    """
    index.use(setting)
    coming = cycle(rounds)
    timers = repeated(lambda: [index.index.search(one, asked.k) for one in next(coming)], index.runtime, asked.patience)
    return median(timers, "total") / sum(map(len, rounds[0]))


def _text(setting: Overrides) -> str:
    return ",".join(str(value) if key == "query" else f"{key}={value}" for key, value in setting)
