"""The columns of tables: a metric at each K, query times, or the memory that retrieval takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from irbench.core.errors import check_choice
from irbench.metrics.diagnostics import least_loss, left_to_learn, losses, reached_loss
from irbench.metrics.own import COSTS
from irbench.metrics.retrieval import METRICS, Measure, parse
from irbench.results.schema import LoadPoint, QueryTimes, Result, TimingSession

TWINS = {"precision": "precision_irgen", "precision_irgen": "precision"}  # two definitions of one word
_USUAL_K = 10
_FULL = 0.95  # of the highest throughput under load
_SHORT = {"precision": "Σh/K", "precision_irgen": "Σh/r"}


@dataclass(frozen=True)
class Reading:
    """One result's value of a quantity, in the unit that is printed; `reason` where it has none."""

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str = ""
    short: float | None = 0.0  # see report.panel.Cell
    rounds: tuple[float, ...] = ()  # of a time that was taken in rounds together with others: what each round gave
    session: str = ""  # equal for times that were taken together


@dataclass(frozen=True)
class Quantity:
    """A column. `better` is 1 where more is better, -1 where less is, 0 where neither."""

    key: str  # "precision@10", "p50_ms"
    label: str
    read: Callable[[Result], Reading]
    digits: int = 1
    better: int = 1
    timed: bool = False  # a time of queries, which compares only with those that were taken together with it


@dataclass(frozen=True)
class Subject:
    """What a table is about, in words."""

    title: str
    caption: str


def subject(metric: str) -> Subject:
    """Return title and caption for a metric or a cost; an unknown one is the user's error."""
    check_choice("--metric", metric, (*METRICS, *COSTS))
    if metric in COSTS:
        return _SUBJECTS[metric]
    known = METRICS[metric]
    return Subject(f"{known.label}, percent", f"{known.name} = {known.formula}, mean over the queries")


_SUBJECTS = {
    "cost": Subject(
        "Cost",
        "ms of one query at a time (encode includes reading the file, search includes the lookup); batched: a query's "
        "share of a batch; index s: encoding the gallery and building the index; bytes/image: of the gallery; peak "
        "memory",
    ),
    "latency": Subject(
        "Query latency",
        "one query at a time; queries/s in batches; encode and search: shares of the median time; fewer ms are better",
    ),
    "search": Subject(
        "Search among vectors",
        "recall of the exact neighbours, percent, whatever their labels, among embeddings as they are searched; "
        "distances that are computed for a query, to vectors, codes and centres, where the library counts them; the "
        "search alone, without the encoder: queries/s in batches, ms of one query. Graphs keep at least as many "
        "candidates as results are asked for, whatever their setting",
    ),
    "components": Subject(
        "Query time by component",
        "ms, medians over single queries; encode includes reading the file, search includes decoder, trie and lookup, "
        "all timed separately; batched: a query's share of a batch",
    ),
    "setup": Subject(
        "Time until the first query", "training, encoding the gallery, building the index, adding images later; seconds"
    ),
    "training": Subject(
        "Training",
        "seconds of all networks; of IRGen's decoder the epochs, the loss in the last one, the least loss that any "
        "decoder could have (nats per code), and the gap between them in nats per identifier, which label smoothing "
        "alone keeps above 0",
    ),
    "footprint": Subject(
        "Footprint",
        "MB = 10⁶ bytes; bytes/image: index size per gallery image, and with the model; peak memory; less is better",
    ),
}


def can_say(result: Result, metric: str) -> bool:
    """Tell whether a result can have `metric`: an incremental gallery for old and new images, vectors to search."""
    if metric == "search":
        return result.search is not None
    return metric in COSTS or not METRICS[metric].part or result.dataset.incremental > 0


def quantities(
    metric: str, results: Sequence[Result], ks: Sequence[int] = (), twin_ks: Sequence[int] = ()
) -> tuple[Quantity, ...]:
    """Return the columns for `metric`: every K of a result or of the paper (`ks`), or the cost's own.

    Precision has two definitions (`TWINS`). Where they differ for any of the results, and where the paper's number is
    of the other one (`twin_ks`), a column of the other definition follows.
    """
    if metric in COSTS:
        if metric == "footprint":
            return (*_quality(results), *_COLUMNS[metric])
        loaded = metric in {"cost", "latency"} and any(result.cost.load for result in results)
        return (*_COLUMNS[metric], *_LOAD) if loaded else _COLUMNS[metric]
    measured = {parse(name) for result in results for name in result.metrics if name.partition("@")[0] == metric}
    own = {measure.k for measure in measured} | set(ks) | ({1} & set(twin_ks))  # at K = 1 both are the same
    other = (set(twin_ks) - {1}) | {k for k in own if any(_differ(result, metric, k) for result in results)}
    columns = [(k, False) for k in own] + [(k, True) for k in other if metric in TWINS]
    return tuple(_twin(metric, k) if twin else _at(Measure(METRICS[metric], k)) for k, twin in sorted(columns))


def _quality(results: Sequence[Result]) -> Iterator[Quantity]:
    """Yield the column of what bytes are paid for: precision at 10, or at the largest K below that all results have."""
    known = [{parse(name).k for name in result.metrics if name.startswith("precision@")} for result in results]
    common = set.intersection(*(ks for ks in known if ks)) if any(known) else set()
    if usual := [k for k in common if k <= _USUAL_K]:
        name = f"precision@{max(usual)}"
        yield _cost(name.replace("@", "_at_"), name, partial(_percent, name), digits=1, better=0)


def _percent(name: str, result: Result) -> float | None:
    estimate = result.metrics.get(name)
    return None if estimate is None or estimate.mean is None else 100 * estimate.mean


def headline(metric: str, columns: Sequence[Quantity]) -> str:
    """Return the key of the column that a table is read by: the paper's second K (10 or 2), and for MAP its last."""
    if metric in COSTS or not columns:
        return ""
    return columns[-1 if metric == "map" or len(columns) == 1 else 1].key


def _differ(result: Result, metric: str, k: int) -> bool:
    mine, other = (result.metrics.get(f"{name}@{k}") for name in (metric, TWINS.get(metric)))
    return mine is not None and other is not None and mine.mean != other.mean


def _twin(metric: str, k: int) -> Quantity:
    twin = METRICS[TWINS[metric]]
    return replace(_at(Measure(twin, k)), label=f"@{k} {_SHORT[twin.name]}")


def _at(measure: Measure) -> Quantity:
    name = str(measure)
    label = f"@{measure.k}" if measure.metric.at_k else measure.metric.label
    better = 1 if measure.metric.higher_is_better else -1
    return Quantity(name, label, partial(_estimate, name), better=better)  # not a closure: tables are pickled


def _estimate(name: str, result: Result) -> Reading:
    estimate = result.metrics.get(name)
    if estimate is None:
        return Reading(None)
    if estimate.mean is None:
        return Reading(None, reason=estimate.reason or "")
    low, high = estimate.ci95 or (None, None)
    interval = None if low is None or high is None else (100 * low, 100 * high)
    return Reading(100 * estimate.mean, interval, short=estimate.short)


def _cost(key: str, label: str, value: Callable[[Result], float | None], *, digits: int, better: int) -> Quantity:
    return Quantity(key, label, lambda result: Reading(value(result)), digits, better)


def _time(
    key: str,
    label: str,
    value: Callable[[Result], float | None],
    rounds: Callable[[TimingSession], Sequence[float]] = lambda _: (),
    *,
    digits: int = 2,
    better: int = -1,
) -> Quantity:
    """Return a column of query times; those that were taken in `rounds` have the spread of these."""

    def read(result: Result) -> Reading:
        session = result.cost.session
        if session is None:
            return Reading(value(result))
        taken = tuple(rounds(session))
        bounds = (min(taken), max(taken)) if taken else None
        return Reading(value(result), bounds, rounds=taken, session=session.id)

    return Quantity(key, label, read, digits, better, timed=True)


def _singles(session: TimingSession) -> Sequence[float]:
    return session.single_ms


def _rates(session: TimingSession) -> Sequence[float]:
    return [1000 / each for each in session.batched_ms]


def _times(result: Result) -> QueryTimes:
    return result.cost.query_ms or QueryTimes(batch=0)


def _shares(result: Result) -> QueryTimes:
    return result.cost.batched_ms or QueryTimes(batch=0)


def _ratio(part: float | None, whole: float | None, scale: float = 1) -> float | None:
    return None if part is None or not whole else scale * part / whole


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _neighbours(result: Result) -> dict[str, Any]:
    return cast("dict[str, Any]", result.retriever.get("neighbours", {}))


def _neighbour_recall(k: int, result: Result) -> float | None:
    share = _neighbours(result).get("recall", {}).get(str(k))
    return None if share is None else 100 * share


def _in_batches(result: Result) -> float | None:
    """Return the ms of a query's share of a batch; older results only have the rate."""
    return _shares(result).total_p50 or _ratio(1000, result.cost.queries_per_s)


def at_full_load(result: Result) -> LoadPoint | None:
    """Return the load by the fewest clients who get nearly the highest throughput; None where none was measured."""
    points = result.cost.load or ()
    highest = max((point.queries_per_s for point in points), default=0.0)
    full = [point for point in points if point.queries_per_s >= _FULL * highest]
    return min(full, key=lambda point: point.clients, default=None)


def _of_load(what: str, result: Result) -> float | None:
    load = at_full_load(result)
    return None if load is None else float(getattr(load, what))


_LATENCY = (
    _time("p50_ms", "p50 ms", lambda r: _times(r).total_p50, _singles),
    _time("p95_ms", "p95 ms", lambda r: _times(r).total_p95),
    _time("p99_ms", "p99 ms", lambda r: _times(r).total_p99),
    _time("queries_per_s", "queries/s", lambda r: r.cost.queries_per_s, _rates, digits=0, better=1),
    _cost("encode_percent", "encode %", lambda r: _ratio(_times(r).encode_p50, _times(r).total_p50, 100),
           digits=0, better=0),
    _cost("search_percent", "search %", lambda r: _ratio(_times(r).search_p50, _times(r).total_p50, 100),
           digits=0, better=0),
)  # fmt: skip
_SEARCH_ALONE = (
    *(_cost(f"neighbours@{k}", f"recall@{k}", partial(_neighbour_recall, k), digits=1, better=1) for k in (1, 10, 100)),
    _cost("distances", "distances", lambda r: _neighbours(r).get("distances"), digits=0, better=-1),
    _time("search_per_s", "queries/s", lambda r: _ratio(1000, _shares(r).search_p50), digits=0, better=1),
    _time("search_alone_ms", "ms", lambda r: _times(r).search_p50, digits=3),
    _cost("build_s", "build s", lambda r: r.cost.build_s, digits=2, better=-1),
    _cost("index_mb", "index MB", lambda r: _ratio(r.cost.index_bytes, 1e6), digits=2, better=-1),
)
_LOAD = (
    _cost("load_per_s", "loaded queries/s", partial(_of_load, "queries_per_s"), digits=0, better=0),
    _cost("load_clients", "clients", partial(_of_load, "clients"), digits=0, better=0),
    _cost("load_p99_ms", "loaded p99 ms", partial(_of_load, "p99_ms"), digits=2, better=0),  # of other loads each
)
_TOTAL = _time("total_ms", "total ms", lambda r: _times(r).total_p50, _singles)
_READ = _time("read_ms", "read", lambda r: _times(r).read_p50)
_ENCODE = _time("encode_ms", "encode", lambda r: _times(r).encode_p50)
_SEARCH = _time("search_ms", "search", lambda r: _times(r).search_p50)
_LOOKUP = _time("lookup_ms", "lookup", lambda r: _times(r).lookup_p50)
_TRAIN = _cost("train_s", "train s", lambda r: r.cost.train_s, digits=1, better=-1)
_BATCHED = _time("batched_ms", "batched", _in_batches, lambda session: session.batched_ms)
_ALL_BYTES = _cost(
    "all_bytes_per_image",
    "bytes/image incl. model",
    lambda r: _ratio(_sum(r.cost.index_bytes, r.cost.model_bytes), r.dataset.gallery),
    digits=0,
    better=-1,
)
_PEAK = (
    _cost("peak_host_mb", "host MB", lambda r: _ratio(r.cost.peak_host_bytes, 1e6), digits=0, better=-1),
    _cost("peak_device_mb", "GPU MB", lambda r: _ratio(r.cost.peak_device_bytes, 1e6), digits=0, better=-1),
)
_COMPONENTS = (
    _TOTAL,
    _READ,
    _ENCODE,
    _SEARCH,
    _time("decoder_ms", "decoder ms", lambda r: _times(r).decoder_p50),
    _time("trie_ms", "trie", lambda r: _times(r).trie_p50),
    _LOOKUP,
    _BATCHED,
    _time("batched_encode_ms", "· encode", lambda r: _shares(r).encode_p50),
    _time("batched_search_ms", "· search", lambda r: _shares(r).search_p50),
)
_COST = (
    _READ,
    _ENCODE,
    _SEARCH,
    _LOOKUP,
    _TOTAL,
    _BATCHED,
    _TRAIN,
    _cost("index_s", "index s", lambda r: _sum(r.cost.encode_gallery_s, r.cost.build_s), digits=1, better=-1),
    _ALL_BYTES,
    *_PEAK,
)
_SETUP = (
    _TRAIN,
    _cost("encode_s", "encode s", lambda r: r.cost.encode_gallery_s, digits=1, better=-1),
    _cost("build_s", "build s", lambda r: r.cost.build_s, digits=2, better=-1),
    _cost("add_s", "add s", lambda r: r.cost.add_s, digits=2, better=-1),
)
_TRAINING = (
    _TRAIN,
    _cost("decoder_epochs", "epochs", lambda r: len(losses(r.retriever)) or None, digits=0, better=0),
    _cost("loss", "loss", lambda r: reached_loss(r.retriever), digits=3, better=0),
    _cost("least_loss", "least", lambda r: least_loss(r.retriever), digits=3, better=0),
    _cost("loss_gap", "gap", lambda r: left_to_learn(r.retriever), digits=2, better=0),
)
_FOOTPRINT = (
    _cost("model_mb", "model MB", lambda r: _ratio(r.cost.model_bytes, 1e6), digits=2, better=-1),
    _cost("index_mb", "index MB", lambda r: _ratio(r.cost.index_bytes, 1e6), digits=2, better=-1),
    _cost(
        "bytes_per_image", "bytes/image", lambda r: _ratio(r.cost.index_bytes, r.dataset.gallery), digits=0, better=-1
    ),
    _ALL_BYTES,
    *_PEAK,
)
_COLUMNS = {
    "cost": _COST,
    "latency": _LATENCY,
    "search": _SEARCH_ALONE,
    "components": _COMPONENTS,
    "setup": _SETUP,
    "training": _TRAINING,
    "footprint": _FOOTPRINT,
}
