"""From which size of the gallery on generating costs less than searching, at equal precision.

Searching is an index at the setting with which it finds a given share of the exact neighbours; generating is beam
search over a trie of as many random identifiers, by an encoder and a decoder with random weights of a recipe's sizes.
Both have the same encoder before them, so that the crossover does not depend on it. That what is generated is as good
as what an exact search finds is taken for granted here: stored results say how far it is so.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from irbench.bench import beam, laws
from irbench.bench.at_recall import BUILT_AS, Asked, Index, at_recall
from irbench.bench.search import EXACT, Vectors, searcher_of
from irbench.bench.timing import median, repeated
from irbench.config import recipes
from irbench.config.registry import RETRIEVERS
from irbench.core.embeddings import Embeddings
from irbench.core.errors import DataError, IrbenchError, UsageError, check_choice
from irbench.data.arrays import read_vectors
from irbench.experiments.plan import search_named
from irbench.experiments.processes import Ended, apart, each_apart
from irbench.retrievers.irgen.beam import BeamSearch
from irbench.runtime.conditions import processor_and_steering
from irbench.runtime.environment import total_memory
from irbench.runtime.machine import Runtime, use_threads

ASKED = ("single", "batch")
# In which random vectors differ, about as many as for embeddings: in 128, neighbours would be ever harder to tell from
# all others as the gallery grows.
_DIRECTIONS = 12
_RECALL_OF = 1024  # queries
_SLOW = "spann"
_ENCODES, GENERATES = "encoder", "irgen"
FEWEST = 5  # sizes that a law is fitted to
_COPIES = 5  # of a gallery's vectors that are in memory together, at most
_SCANS = {EXACT, "sq8", "fp16", "binary"}  # that compare every vector
# How others grow at a given recall: a graph is left after log N steps (Malkov and Yashunin 2018); of sqrt(N) cells all
# centres are compared, and the vectors of a few.
_GROWTH = dict.fromkeys(("hnsw", "nsg", "usearch", "vamana"), laws.LOGARITHMIC) | dict.fromkeys(BUILT_AS, laws.ROOT)
_BEYOND = 100  # times the largest measured size: so far a law is believed


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured."""

    # of the gallery, in ascending order
    sizes: tuple[int, ...] = (1_000, 2_000, 4_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    searches: tuple[str, ...] = (EXACT, "hnsw", "ivfpq", "scann", _SLOW)
    scales: tuple[str, ...] = ("paper", "tiny")  # of the model that generates
    recall: float = 0.95  # of the k exact neighbours that an index must find
    k: int = 10
    beam_size: int | None = None  # None: k, the fewest that give k results
    dim: int = 128
    vectors: Path | None = None  # .npy [N,D], in place of random vectors
    batch: int = 32
    spann_up_to: int = 30_000  # vectors
    patience: float = 1.0  # seconds after which a measurement is not repeated

    def __post_init__(self) -> None:
        for name in self.searches:
            search_named(name)
        for scale in self.scales:
            check_choice("--scale", scale, recipes.SCALES)
        if len(set(self.sizes)) < FEWEST:
            raise UsageError(f"--sizes: {FEWEST} different ones are needed, for costs to be fitted", code="bad-number")
        if self.k > min(self.sizes):
            raise UsageError(f"-k {self.k}: more results than the smallest gallery has images", code="bad-number")
        if self.vectors is None:
            self._check_memory(self.dim)

    @property
    def asked(self) -> Asked:
        """How indexes are asked."""
        return Asked(recall=self.recall, k=self.k, batch=self.batch, patience=self.patience)

    @property
    def queries(self) -> int:
        """How many queries there are, those of a batch among them."""
        return max(_RECALL_OF, self.batch)

    def _check_memory(self, dim: int) -> None:
        needed, there = _COPIES * 4 * dim * max(self.sizes), total_memory()
        if needed > there:
            raise UsageError(
                f"--sizes {max(self.sizes)}: vectors and an index take about {needed / 1e9:,.0f} GB, there are "
                f"{there / 1e9:,.0f}",
                code="bad-number",
            )

    def check_vectors(self) -> None:
        """Raise `DataError` where the file of vectors cannot be read, or has too few for the largest gallery."""
        if self.vectors is None:
            return
        (count, dim), wanted = read_vectors(self.vectors).shape, max(self.sizes) + self.queries
        self._check_memory(dim)
        if count < wanted:
            raise DataError(
                f"{self.vectors}: {count:,} vectors are too few for a gallery of {max(self.sizes):,} and "
                f"{self.queries} queries",
                code="bad-vectors",
            )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a query costs one method at one size; without numbers but with a reason where it was not measured."""

    method: str  # a search, "irgen", or "encoder"
    asked: str = ""  # one of ASKED
    scale: str = ""  # of a network
    size: int | None = None  # of the gallery, where that matters
    seconds: float | None = None
    recall: float | None = None  # of the exact neighbours
    setting: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """From which size on generating costs less than one search, in one way of asking."""

    scale: str
    asked: str
    search: str
    size: float | None  # None: at none that was looked at
    low: float | None
    high: float | None
    looked_to: float
    measured_from: int  # the smallest and …
    measured_to: int  # … the largest size of the search
    generate_s: float  # a query at that size, the encoder included
    search_s: float
    held_out: float | None  # the search there as predicted from smaller sizes, relative to the measured one
    recall: float  # the least that the search has at any size


def measure(plan: Plan, runtime: Runtime) -> Iterator[Cost]:
    """Measure networks first, then each search at each size, in processes of their own.

    A file of vectors has to have passed `Plan.check_vectors`.
    """
    for scale in plan.scales:
        try:
            with closing(each_apart(_generating, scale, plan, runtime, timeout=None)) as costs:
                yield from costs
        except Ended as ended:
            yield Cost(method=GENERATES, scale=scale, reason=str(ended))
    for size in plan.sizes:
        for name in plan.searches:
            if name == _SLOW and size > plan.spann_up_to:
                yield Cost(method=name, size=size, reason=f"not built above {plan.spann_up_to:,} vectors")
                continue
            try:
                yield from apart(_searching, name, size, plan, runtime, timeout=None)
            except Ended as ended:
                yield Cost(method=name, size=size, reason=str(ended))


def crossovers(costs: Sequence[Cost]) -> Iterator[Crossover]:
    """Yield, for each model, way of asking and search, from which size on generating costs less."""
    scales = dict.fromkeys(cost.scale for cost in costs if cost.scale)
    searches = dict.fromkeys(cost.method for cost in costs if not cost.scale)
    for scale, asked, name in product(scales, ASKED, searches):
        generating, searched = measured(costs, GENERATES, asked, scale), measured(costs, name, asked)
        if generating and searched:
            yield _crossover(costs, scale, asked, name, generating, searched)


def _crossover(
    costs: Sequence[Cost], scale: str, asked: str, name: str, generating: laws.Measured, searched: laws.Measured
) -> Crossover:
    largest = searched.sizes[-1:]
    looked_to = _BEYOND * float(largest[0])
    found = laws.crossing_of(generating, searched, looked_to)
    encoder_s = next(
        one.seconds for one in costs if one.seconds and (one.method, one.scale, one.asked) == (_ENCODES, scale, asked)
    )
    return Crossover(
        scale=scale,
        asked=asked,
        search=name,
        size=found.size,
        low=found.low,
        high=found.high,
        looked_to=looked_to,
        measured_from=int(searched.sizes[0]),
        measured_to=int(largest[0]),
        generate_s=encoder_s + float(laws.curve(generating)(largest)[0]),
        search_s=encoder_s + float(searched.costs[-1]),
        held_out=laws.held_out(searched),
        recall=min(one.recall for one in costs if (one.method, one.asked) == (name, asked) and one.recall is not None),
    )


def notes(plan: Plan, runtime: Runtime, costs: Sequence[Cost]) -> list[str]:
    """Return what has to be said beside the crossovers, under which conditions first."""
    threads = "1 thread" if runtime.threads == 1 else f"{runtime.threads or 'all'} threads"
    vectors = f"vectors of {plan.vectors}" if plan.vectors else f"random vectors of {plan.dim} dimensions"
    beams = plan.beam_size or plan.k
    searched = [cost for cost in costs if not cost.scale and cost.seconds is not None]
    short = dict.fromkeys(cost.method for cost in searched if (cost.recall or 0) < plan.recall)
    over = {cost.method: 1 for cost in searched if (cost.recall or 0) > plan.recall}.keys() - _SCANS
    seen = dict.fromkeys(cost.method for cost in searched)
    found = [f"{threads} of {processor_and_steering()}, networks on {runtime.device} in {runtime.precision}; {vectors}"]
    if any(cost.method == GENERATES and cost.seconds for cost in costs):
        found += [
            f"IRGen decodes with {beams} beams and is taken to be as precise as exact search: not measured here",
            *([f"with {beams} beams it finds {beams} of the {plan.k} results at most"] if beams < plan.k else []),
            "sizes beyond the largest that was measured are extrapolated",
            "predicted: the cost at the largest size by the law of the smaller ones, relative to the measured one",
            "recall: the least at any size",
        ]
    return [
        *found,
        *([f"below recall {plan.recall:g} at the most exact setting: {', '.join(short)}"] if short else []),
        *([f"above recall {plan.recall:g} even at the fastest setting: {', '.join(sorted(over))}"] if over else []),
        *(f"{name}: fewer than {FEWEST} sizes were measured, too few for a crossover"
          for name in seen if measured(costs, name, ASKED[0]) is None),
        *(f"{GENERATES} {scale}: fewer than {FEWEST} sizes were measured, too few for a crossover"
          for scale in plan.scales if measured(costs, GENERATES, ASKED[0], scale) is None),
        *(f"{name} is built with {BUILT_AS[name]}" for name in seen if name in BUILT_AS),
        *(f"{_who(cost)}: {cost.reason}" for cost in costs if cost.reason),
    ]  # fmt: skip


def _who(cost: Cost) -> str:
    return " ".join(filter(None, (cost.method, cost.scale))) + (f", N = {cost.size:,}" if cost.size else "")


def measured(costs: Sequence[Cost], method: str, asked: str, scale: str = "") -> laws.Measured | None:
    """Return what a query of a method costs at each size, in seconds; None where too few were measured.

    Generating grows with the logarithm of N at most: a step looks the children of its beams up in sorted arrays. A scan
    grows with N; how other indexes grow is known of some, and fitted for others.
    """
    found = sorted(
        (cost.size, cost.seconds)
        for cost in costs
        if (cost.method, cost.asked, cost.scale) == (method, asked, scale) and cost.size and cost.seconds
    )
    if len(found) < FEWEST:
        return None
    sizes, seconds = zip(*found, strict=True)
    known = laws.Measured(sizes=np.array(sizes, float), costs=np.array(seconds, float))
    if method == GENERATES:
        return replace(known, exponents=laws.LOGARITHMIC, steady=True)
    growth = laws.PROPORTIONAL if method in _SCANS else _GROWTH.get(method, laws.ANY)
    return replace(known, exponents=growth)


def network_plan(scale: str) -> beam.Plan:
    """Return the sizes of IRGen's networks at a scale; identifiers are the paper's, four codes of 256."""
    schema = RETRIEVERS.schema(GENERATES)
    config = recipes.find("methods", GENERATES).config(schema, scale=scale, dataset="")
    return beam.Plan(
        backbone=config.backbone.partition(".")[0],  # without the tag of its weights
        image_size=config.image_size,
        num_layers=config.num_layers,
        width=config.width,
        num_heads=config.num_heads,
        compared=(),
    )


def _generating(scale: str, plan: Plan, runtime: Runtime) -> Iterator[Cost]:
    """Yield the cost of the encoder, and of generating at every size."""
    use_threads(runtime.threads)
    sizes = replace(network_plan(scale), batches=(1, plan.batch))
    model, beam_size = beam.Model(sizes, runtime), plan.beam_size or plan.k
    batches = {"single": model.images[:1], "batch": model.images}

    def seconds(work: Callable[[Tensor], object], images: Tensor) -> float:
        with torch.inference_mode(), runtime.autocast():  # not around a yield: a generator does not keep them
            return median(repeated(partial(work, images), runtime, plan.patience), "total") / len(images)

    for asked, images in batches.items():
        yield Cost(method=_ENCODES, scale=scale, asked=asked, seconds=seconds(model.encode, images))
    with torch.inference_mode(), runtime.autocast():
        tokens = {asked: model.encode(images) for asked, images in batches.items()}
    for size in plan.sizes:
        trie = beam.random_trie(size, sizes.num_codebooks, sizes.codebook_size)
        search = partial(BeamSearch(trie, runtime.device), model.decoder, beam_size=beam_size)
        for asked, images in tokens.items():
            spent = seconds(search, images)
            yield Cost(
                method=GENERATES, scale=scale, asked=asked, size=size, seconds=spent, setting=f"{beam_size} beams"
            )


def _searching(name: str, size: int, plan: Plan, runtime: Runtime) -> list[Cost]:
    """Return what a search costs at one size, asked in both ways, at the recall that is asked for."""
    use_threads(runtime.threads)
    try:
        with threadpool_limits(runtime.threads):
            vectors = _vectors(size, plan, runtime)
            index = Index(name, vectors.gallery, runtime)
            found = at_recall(index, vectors, plan.asked)
    except IrbenchError as error:
        return [Cost(method=name, size=size, reason=str(error))]
    known = partial(Cost, method=name, size=size, recall=found.recall, setting=found.setting)
    return [known(asked="single", seconds=found.single_s), known(asked="batch", seconds=found.batch_s)]


def _vectors(size: int, plan: Plan, runtime: Runtime) -> Vectors:
    """Return a gallery of this size, queries, and their exact neighbours."""
    if plan.vectors is None:
        gallery, queries = _drawn(size, plan.queries, plan.dim)
    else:
        gallery, queries = _sampled(size, plan.queries, plan.vectors)
    exact = searcher_of(EXACT, (), runtime)
    exact.build(gallery)
    return Vectors(gallery, queries, exact.search(queries, plan.k))


def _drawn(size: int, queries: int, dim: int) -> tuple[Embeddings, Embeddings]:
    """Return random unit vectors that differ in a few directions."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((min(_DIRECTIONS, dim), dim), np.float32)

    def draw(count: int) -> Embeddings:
        return Embeddings(rng.standard_normal((count, len(directions)), np.float32) @ directions).unit()

    return draw(size), draw(queries)


def _sampled(size: int, queries: int, path: Path) -> tuple[Embeddings, Embeddings]:
    """Return so many of the vectors of a file, and others as queries, at random."""
    vectors = read_vectors(path)
    rows = np.random.default_rng(0).permutation(len(vectors))
    gallery = np.sort(rows[queries : queries + size])
    return Embeddings(vectors[gallery]), Embeddings(vectors[rows[:queries]])
