"""A result: what one cell of the grid (a method, a data set, a seed) measured, as a file that a person can read.

A file says which schema it follows. One from a newer irbench is refused by name, and never written over; one that is
damaged is named, and the others are read all the same. The rankings behind the numbers are stored beside the work
files, so that a metric invented later needs no new run; the hits are stored beside the result itself.
"""

import re
from collections.abc import Iterable
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, JsonValue
from pydantic.dataclasses import dataclass

from irbench.config import recipes
from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell, Origin, Value
from irbench.core.description import Backbone
from irbench.core.errors import UsageError
from irbench.core.text import as_text
from irbench.metrics.own import BUILT_IN
from irbench.results.reported import check_reported

SCHEMA: Final = 2
Status = Literal["ok", "failed", "timeout", "out_of_memory", "skipped"]

# with one other process on two cores the median time of an unchanged query varied by a factor of 4, with three by 8.7
_CONCURRENT = 0.1  # share of the cores that other processes computed on
_LOAD = 1.5  # for each core, where no more is known; a cell that computes on all of them makes 1
_MORE_CORES = 1.1  # for each thread

# strict: no text where a number belongs; NaN and infinity are errors where the result is made, not where it is written
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_LEGAL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._=,-]*[A-Za-z0-9])?")


Facts = dict[str, JsonValue]
Rounds = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # never a path
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*(@[1-9][0-9]{0,8})?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Dataset:
    """The benchmark: which images, under which protocol."""

    name: str
    protocol: str
    crop: str
    fingerprint: str  # Benchmark.fingerprint: only equal ones compare
    manifest: str = ""  # Benchmark.manifest: what can be told where the images are not at hand
    collection: str | None = None  # of anyone's own images, see Benchmark
    path: str | None = None  # of anyone's own images: where they were, as seen from the folder of results
    train: Count
    gallery: Count
    queries: Count
    classes: Count
    without_positives: Count = 0  # queries without a relevant image in the gallery, left out of every mean
    bad_images: Count = 0  # images that are unreadable or no files, and were skipped on request …
    left_out: tuple[str, ...] = ()  # … and their ids
    remarks: tuple[str, ...] = ()  # see Benchmark
    incremental: Count = (
        0  # of the gallery, images that were not trained on and were added after the others were indexed
    )
    judged: bool = False  # was it judged image by image what is relevant, and not by class?

    @classmethod
    def of(cls, benchmark: Benchmark, *, left_out: Iterable[str] = (), path: str | None = None) -> Self:
        """Return what a result reports of the benchmark, which images were `left_out` of."""
        return cls(
            name=benchmark.name,
            protocol=benchmark.protocol,
            crop=benchmark.crop,
            fingerprint=benchmark.fingerprint,
            manifest=benchmark.manifest,
            collection=benchmark.collection,
            path=path,
            train=len(benchmark.train),
            gallery=len(benchmark.gallery),
            queries=len(benchmark.queries),
            classes=benchmark.classes,
            without_positives=int((benchmark.positives == 0).sum()),
            bad_images=len(ids := sorted(map(as_text, left_out))),
            left_out=tuple(ids),
            remarks=benchmark.remarks,
            incremental=benchmark.incremental,
            judged=benchmark.judgements is not None,
        )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RecipeUsed:
    """The recipe files behind the cell, one after the other, and the hash of that text."""

    text: str
    hash: str


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Estimate:
    """A metric's mean over the queries with its 95 % interval, or the reason why there is none."""

    mean: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None
    short: float | None = None  # share of the queries with fewer results than are scored; None: not known

    def __post_init__(self) -> None:
        if (self.mean is None) == (self.reason is None):
            raise ValueError("a metric has either a mean or a reason why it has none")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StoredRanking:
    """Where the ranking is stored: a file name within the folder of rankings, its hash, and the results per query."""

    file: FileName
    sha256: Sha256
    k: Count


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StoredHits:
    """Where the hits are stored: a file beside the result (see `hits`), its hash, and the results per query."""

    file: FileName
    sha256: Sha256
    k: Count


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class QueryTimes:
    """Milliseconds that a query takes, by the harness's timer; of a batch, each query's share.

    A span consists of its subspans and of what lies between them; subspans are timed apart from the spans.
    """

    batch: Count  # queries sent together
    encode_p50: float | None = None
    search_p50: float | None = None
    read_p50: float | None = None  # of the encoding: from the image file to its pixels; None where there are no files
    decoder_p50: float | None = None  # of the search, where identifiers are generated: the network …
    trie_p50: float | None = None  # … the choice among the identifiers that exist …
    lookup_p50: float | None = None  # … and the images that have them; an index returns these at once
    total_p50: float | None = None
    total_p95: float | None = None
    total_p99: float | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TimingSession:
    """How times were taken that compare with those of the same session: round by round, beside a reference operation.

    Each time is multiplied by `reference_ms` over what the reference took just then, so that drift is divided out.
    """

    id: str  # equal for the cells that were timed together
    reference_ms: float  # median over the session, beside single queries …
    reference_batched_ms: float  # … and beside batches, where means count
    drift: tuple[float, float]  # smallest and largest time of the reference, as shares of its median
    single_ms: Rounds  # of each round: the median of single queries
    batched_ms: Rounds  # of each round: a query's share of batches

    def __post_init__(self) -> None:
        if len(self.single_ms) != len(self.batched_ms):
            raise ValueError(f"{len(self.single_ms)} rounds of single queries, {len(self.batched_ms)} of batches")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LoadPoint:
    """What some clients got that sent single queries at once, each its next one when the last was answered."""

    way: Literal["threads", "processes"]  # of clients
    clients: Count
    queries_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    steady: bool  # the two halves of the measured time agree within 10 %, or within chance

    @property
    def mean_ms(self) -> float:
        """Mean time of a query by Little's law: also of those that wait longer than was measured."""
        return 1000 * self.clients / self.queries_per_s


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Conditions:
    """Where work was done, and beside what: that of a remembered model may have been done on another machine."""

    processors: tuple[str, ...]  # empty: not recorded
    load: float | None = None  # cores that other processes computed on meanwhile, on average; None: not recorded


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Cost:
    """What the numbers cost; None where it was not, or could not be, measured."""

    train_s: float | None = None
    training: Conditions | None = None
    encode_gallery_s: float | None = None
    build_s: float | None = None
    add_s: float | None = None  # for all images that came after the others were indexed
    index_bytes: Count | None = None
    model_bytes: Count | None = None
    peak_host_bytes: Count | None = None
    peak_device_bytes: Count | None = None
    query_ms: QueryTimes | None = None  # one query at a time
    batched_ms: QueryTimes | None = None  # in batches: medians over rounds of all of them
    queries_per_s: float | None = None  # in batches
    session: TimingSession | None = None  # of the query times, where they were taken together with other cells'
    load: tuple[LoadPoint, ...] | None = None  # where several clients asked at once (irbench time --clients)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Result:
    """One cell's result. `metrics` keeps the order in which they were computed."""

    schema: Literal[2] = SCHEMA
    status: Status
    reason: str | None = None  # why the status is not "ok"
    dataset: Dataset
    method: str
    search: str | None = None
    identifier: str | None = None
    scale: str
    seed: Count
    overrides: dict[str, Value] = field(default_factory=dict)  # recipe keys with another value than the recipe's
    default_identifier: str | None = None  # the recipe's own choice
    default_scale: str | None = None  # the data set's own
    origin: Origin = "recipe"
    inputs: str  # hash of recipe, data, scale, seed, options and code: equal for cells with the same ranking
    shortened: dict[str, int] = field(default_factory=dict)  # {"max_queries": 100, "epochs": 3}
    backbone: Backbone | None = None
    recipe: RecipeUsed
    retriever: Facts = field(default_factory=dict)  # what it reports of itself
    metrics: dict[MetricName, Estimate] = field(default_factory=dict)
    scoring: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None  # version of the code that computed them
    ranking: StoredRanking | None = None
    hits: StoredHits | None = None
    cost: Cost = field(default_factory=Cost)
    environment: Facts = field(default_factory=dict)
    invariance: Facts | None = None  # what `irbench certify` found: how results depend on batch, threads, precision
    created: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.reason is None):
            raise ValueError(f"status '{self.status}' {'has no' if self.status == 'ok' else 'needs a'} reason")
        check_reported(self.retriever, self.invariance)
        for name, one in self.metrics.items():
            if name.partition("@")[0] in BUILT_IN and one.mean is not None and not 0 <= one.mean <= 1:
                raise ValueError(f"metrics.{name}: {one.mean} is not between 0 and 1")

    @cached_property
    def spec(self) -> Cell:
        """The cell that was run, its data set by name."""
        return Cell(
            method=self.method,
            search=self.search,
            identifier=self.identifier,
            dataset=self.dataset.name,
            scale=self.scale,
            seed=self.seed,
            crop=self.dataset.crop,
            protocol=self.dataset.protocol,
            epochs=self.shortened.get("epochs"),
            max_queries=self.shortened.get("max_queries"),
            incremental=bool(self.dataset.incremental),
            overrides=tuple(self.overrides.items()),
            default_identifier=self.default_identifier,
            default_scale=self.default_scale,
            origin=self.origin,
        )

    @cached_property
    def recipe_in_force(self) -> tuple[tuple[str, str], ...]:
        """What its recipes say at its scale on its data set, by RECIPE.KEY: equal for results of one recipe."""
        return recipes.in_force(
            self.recipe.text,
            scale=self.scale,
            dataset=self.dataset.name,
            usual=self.scale == self.default_scale,
        )

    @property
    def variant(self) -> str | None:
        """Everything that differs from the default run of the method on the data set: "hkm", "beam_size-10"."""
        return self.spec.variant

    @property
    def cell(self) -> str:
        """The cell's name without its seed: "ft-clip+scann", "irgen@num_codebooks-2"."""
        return self.spec.label

    @property
    def under_concurrent_load(self) -> bool:
        """Were its times measured while other processes used the machine? Then they say little."""
        others, load, cores = (self.environment.get(key) for key in ("concurrent_load", "load", "cores"))
        if not isinstance(cores, int):
            return False
        if isinstance(others, int | float):
            return others > _CONCURRENT * cores
        return isinstance(load, int | float) and load > _LOAD * cores

    @property
    def on_more_cores(self) -> bool:
        """Did queries compute on more cores than on the threads that the result states, while they were timed?"""
        used, threads = self.environment.get("timing_cores"), self.environment.get("threads")
        if not isinstance(used, int | float) or not isinstance(threads, int):
            return False
        return used > _MORE_CORES * threads

    @property
    def trained_under_concurrent_load(self) -> bool:
        """Were its networks trained while other processes used the machine? False where that was not recorded."""
        cores, training = self.environment.get("cores"), self.cost.training
        return bool(training and training.load and isinstance(cores, int) and training.load > _CONCURRENT * cores)

    def path(self, root: Path) -> Path:
        """Return where this result belongs below `root`."""
        for what in ("method", "search", "variant"):
            _check_name(what, getattr(self, what))
        _check_name("data set", self.dataset.name)
        return root.joinpath(self.dataset.name, self.cell, f"seed{self.seed}.json")


def of_cell(cell: Cell) -> dict[str, Any]:
    """Return the fields of a result that tell which cell it is of."""
    names = ("method", "search", "identifier", "scale", "seed", "default_identifier", "default_scale", "origin")
    return {name: getattr(cell, name) for name in names} | {"overrides": dict(cell.overrides)}


def _check_name(what: str, name: str | None) -> None:
    if name is not None and not _LEGAL.fullmatch(name):
        raise UsageError(
            f"{what} '{name}' cannot be part of a file name: use letters, digits and - _ . = , and begin and end with "
            "a letter or digit",
            code="bad-file-name",
        )
