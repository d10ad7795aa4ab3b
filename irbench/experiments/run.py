"""One cell of the grid, from images to a result. It knows `Retriever`, and no method by name."""

import hashlib
import json
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import ValidationError

from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell
from irbench.core.description import Description
from irbench.core.errors import ContractError, NotApplicable, StoreError, Unavailable, UsageError
from irbench.core.filestate import state_of
from irbench.core.ranking import MISSING, Ranking
from irbench.data import datasets
from irbench.data.relevance import demand_positives
from irbench.experiments import latency, neighbours
from irbench.experiments.build import Builder
from irbench.experiments.images import listing, readable
from irbench.experiments.objects import MARKS, ObjectBuilder, Objects
from irbench.experiments.settings import Settings
from irbench.metrics import diagnostics, retrieval
from irbench.metrics.retrieval import Scope
from irbench.protocols import (
    Generative,
    Preparable,
    Retriever,
    SearchesVectors,
    SupportsQueryParameters,
    SupportsUpdates,
    Trainable,
)
from irbench.results import files, hits, own, rankings
from irbench.results.artefacts import Artefacts
from irbench.results.rescore import rescored, scored, with_hits
from irbench.results.schema import Conditions, Cost, Dataset, Facts, RecipeUsed, Result, Status, of_cell
from irbench.retrievers.checked import as_ranking, described
from irbench.runtime import batches
from irbench.runtime.cache import Store, sha256
from irbench.runtime.code import code_digest
from irbench.runtime.conditions import (
    ConcurrentLoad,
    Work,
    average_load,
    decoded_again,
    forget_decoded_again,
    processor_and_steering,
    significant,
)
from irbench.runtime.environment import environment, peak_memory, reset_peak_memory, resident_memory
from irbench.runtime.machine import (
    Runtime,
    choose_device,
    choose_precision,
    choose_threads,
    seed_everything,
    use_threads,
)
from irbench.runtime.timer import Timer

_NO_RECIPE = "### a Python object\n# no recipe stands behind this method\n"


@dataclass(frozen=True, eq=False, kw_only=True)
class Indexed:
    """A trained retriever with the gallery in its index, and what that took."""

    retriever: Retriever
    cost: Cost
    benchmark: Benchmark
    load: float | None  # cores that other processes computed on meanwhile
    held: int  # bytes of the host that it takes, networks included
    peaks: tuple[int, int | None]  # most bytes of the host meanwhile, and of the device

    @cached_property
    def neighbours(self) -> neighbours.Neighbours | None:
        """The exact neighbours of some queries, where vectors are searched."""
        retriever = self.retriever
        return neighbours.neighbours(retriever, self.benchmark) if isinstance(retriever, SearchesVectors) else None


@dataclass(frozen=True)
class Experiment:
    """A cell and its settings, made definite: which images, which recipes, which machine."""

    cell: Cell
    settings: Settings
    objects: Objects | None = None  # in place of recipes
    listed: str | None = None  # the digest of the list of its images, where another process has loaded them

    @property
    def portable(self) -> bool:
        """Can it be run in another process? Live objects cannot."""
        return self.objects is None or self.objects.portable

    @cached_property
    def runtime(self) -> Runtime:
        """Where the components compute."""
        device = choose_device(self.settings.device)
        return Runtime(
            store=Store(self.settings.work, waits=self.settings.waits),
            seed=self.cell.seed,
            device=device,
            precision=choose_precision(self.settings.precision, device),
            threads=choose_threads(self.cell.scale) or self.settings.cores,
            weights=self.settings.weight_files,
            pixel_bytes=None if self.settings.pixel_cache is None else int(1e9 * self.settings.pixel_cache),
        )

    @cached_property
    def benchmark(self) -> Benchmark:
        """The images that can be read, under the cell's protocol."""
        return self._readable[0]

    @cached_property
    def builder(self) -> Builder:
        """What builds the cell's components."""
        processes = self.settings.together.world
        if self.objects is None:
            return Builder(self.cell, self.runtime, processes=processes)
        return ObjectBuilder(self.cell, self.runtime, self.objects, self.benchmark, processes=processes)

    @cached_property
    def inputs(self) -> str:
        """SHA-256 of everything that decides the ranking: a stored result with the same one need not be made again."""
        cell = {name: value for name, value in asdict(self.cell).items() if name != "dataset"}  # its images count
        facts: dict[str, object] = {
            "cell": cell,
            "recipes": self._recipe.hash,
            "images": self.benchmark.fingerprint,
            "scope": [self.benchmark.ks, self.benchmark.top_k, self.benchmark.queries.mirror],
            "device": self.runtime.device,
            "precision": self.runtime.precision,
            "weights": [_hash_of(file, state_of(file)) for file in self.settings.weight_files],
            "code": [code_digest(*self.builder.classes()), *(self.objects.identity if self.objects else ())],
        }
        if self.settings.together.world > 1:  # batch norms and dropout may depend on it, see `training.parallel`
            facts["processes"] = self.settings.together.world
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def runs_code_of_the_user(self) -> bool:
        """Do its recipes name classes that are not irbench's own? Importing them may do anything."""
        return self.cell.origin == "recipe" and self.builder.names_code_of_the_user()

    def adopt(self, inputs: str) -> None:
        """Take over `inputs` from a process that imported what this one does not."""
        self.__dict__["inputs"] = inputs or hashlib.sha256(f"not imported: {self._recipe.hash}".encode()).hexdigest()

    def anchored(self) -> "Experiment":
        """Return the experiment with absolute paths: another process may change its folder."""
        settings = self.settings
        places = {name: getattr(settings, name).absolute() for name in ("data", "work", "results")}
        weights = tuple(path.absolute() for path in settings.weights)
        cell = self.cell
        if datasets.is_path(cell.dataset):
            cell = replace(cell, dataset=str(Path(cell.dataset).absolute()))
        return replace(self, cell=cell, settings=replace(settings, **places, weights=weights))

    def sent(self) -> "Experiment":
        """Return the checked experiment as it is sent to another process, which need not look at its images' files."""
        listed = listing(self.cell, self.settings, self.objects, self.runtime.store)
        return replace(self.anchored(), listed=listed)

    def check(self, *, force: bool = False) -> None:
        """Find what is wrong with the request before anything is computed: recipes, data, the stored result.

        Only with `force` may an object or a benchmark replace the result of another one of its name.
        """
        if self.cell.shortened and self.settings.results.resolve() == Path("results").resolve():
            raise UsageError(
                "results/ is for whole runs: leave out --results, or --epochs and --max-queries", code="partial-result"
            )
        if self.objects is not None:
            self.objects.check()
            demand_positives(self.benchmark)
        if self.cell.origin == "recipe":
            with suppress(Unavailable):  # a reason to skip the cell, found again when it is run
                self.builder.check()
        older = self.older()
        if older is not None and self.objects is not None and not force:
            self._check_same(older, self.objects)

    def _check_same(self, older: Result, objects: Objects) -> None:
        """Find out whether the stored result is one of these objects, and not of others under the same names."""
        before = {what: older.retriever.get(what) for what in MARKS}
        other = [f"another {what.removesuffix('_file')} ({before[what] or 'not from a file'})" for what in MARKS
                 if before[what] != objects.marks.get(what)]  # fmt: skip
        if older.status == "ok" and other:
            raise UsageError(
                f"{self.cell}: the result stored in {self.settings.results} is that of {' and '.join(other)}; give "
                "this one another name, or replace it (force)",
                code="name-taken",
            )

    def older(self) -> Result | None:
        """Return the result in this cell's place, whatever its inputs; a damaged one counts as none."""
        return files.find(self.unfinished("skipped", "only its path is asked").path(self.settings.results))

    def current(self) -> Result | None:
        """Return the result in this cell's place, if it has the same inputs, whatever its status."""
        result = self.older()
        return result if result is not None and result.inputs == self.inputs else None

    def stored(self) -> Result | None:
        """Return the stored result of this cell, with today's scores; None where the cell has to be run for them."""
        result = self.current()
        if result is None or result.status != "ok":
            return None
        artefacts = self._artefacts
        with suppress(StoreError):  # neither its hits nor its ranking are there
            if any(artefacts.hits.damaged([result])):
                artefacts.judged(result)
            return rescored(result, artefacts.judged)
        return None

    @property
    def _artefacts(self) -> Artefacts:
        settings = self.settings
        places = ((self.benchmark.name, str(self.benchmark.path)),) if self.benchmark.path else ()
        return Artefacts(settings.results, settings.work, settings.data, places)

    def rescore(self) -> bool:
        """Bring the stored result up to date, its scores and the hits beside it; return whether anything was due."""
        before, now = self.current(), self.stored()
        if now is None:
            return False
        artefacts = self._artefacts
        lost = any(artefacts.hits.damaged([now]))
        if now != before:
            files.write(now, self.settings.results)
        if lost:
            with_hits(now, artefacts)
        return lost or now != before

    @cached_property
    def builds_on(self) -> frozenset[str]:
        """The methods whose trained networks its own one starts from."""
        return frozenset(recipe.name for recipe in self.builder.recipes()) - {self.cell.method}

    def within(self, cores: int) -> "Experiment":
        """Return the experiment as it computes with so many threads."""
        return replace(self, settings=replace(self.settings, cores=cores))

    def prepare(self) -> None:
        """Make what `run` takes from the work folder: decoded images, trained networks, embeddings.

        Raises `Busy` where the settings say not to wait and another process is making a part of it.
        """
        retriever, benchmark = self.train(), self.benchmark
        if isinstance(retriever, Preparable):
            added = [benchmark.new_gallery] if benchmark.incremental else []
            for images in (benchmark.old_gallery, *added, benchmark.queries):
                retriever.prepare(images)

    def train(self) -> Retriever:
        """Return the retriever, trained if it is trainable."""
        retriever = self.untrained()
        self._train(retriever)
        return retriever

    def untrained(self) -> Retriever:
        """Return the retriever as it is before it is trained; the process computes as the cell does from then on."""
        use_threads(self.runtime.threads)
        seed_everything(self.cell.seed)
        return self.builder.retriever()

    def run(self) -> Result:
        """Train, index, search, score and measure. Nothing is written but the cache, the ranking and its hits."""
        return self.measure(self.index())

    @cached_property
    def index_key(self) -> Hashable:
        """Equal for cells that differ in parameters of their queries only, so that one index answers for all."""
        if self.objects is not None or self.runs_code_of_the_user or not self.settings.together.alone:
            return self.cell
        of_query = self.builder.query_keys()
        return replace(self.cell, overrides=tuple(one for one in self.cell.overrides if one[0] not in of_query))

    @cached_property
    def prepared_key(self) -> Hashable:
        """Equal for cells that differ in their search only, so that what one has prepared is there for all."""
        if self.objects is not None or self.runs_code_of_the_user:
            return replace(self.cell, search=None)
        try:
            of_search = self.builder.search_keys()
        except Unavailable:  # which the cell itself will tell
            of_search = frozenset()
        overrides = tuple(one for one in self.cell.overrides if one[0] not in of_search)
        return replace(self.cell, search=None, overrides=overrides)

    def takes_over(self, indexed: Indexed) -> bool:
        """Let the index of another cell answer as this one's would; False where it cannot."""
        retriever = indexed.retriever
        return isinstance(retriever, SupportsQueryParameters) and retriever.set_query_parameters(self.builder)

    def index(self) -> Indexed:
        """Train, and index the gallery."""
        floor, load = resident_memory(), ConcurrentLoad()
        use_threads(self.runtime.threads)
        seed_everything(self.cell.seed)
        batches.start_anew()
        forget_decoded_again()
        retriever = self.builder.retriever()
        if self.benchmark.incremental and not isinstance(retriever, SupportsUpdates):
            raise NotApplicable(
                f"{self.cell.name} cannot add images to a gallery that it has indexed", code="no-updates"
            )
        cost = self._prepare(retriever)
        host, device = peak_memory(self.runtime)
        return Indexed(
            retriever=retriever,
            cost=cost,
            benchmark=self.benchmark,
            load=load.cores(),
            held=resident_memory() - floor,
            peaks=(host - floor, device),
        )

    def measure(self, indexed: Indexed, *, brief: bool = False) -> Result:
        """Search, score and measure; `brief` where this index and its network were measured for another cell before."""
        retriever, cost = indexed.retriever, indexed.cost
        reset_peak_memory(self.runtime)  # what other cells left on this index is not this one's
        resident = resident_memory()
        loads = [indexed.load]
        timing_load = ConcurrentLoad()
        use_threads(self.runtime.threads)  # an index's library may have changed torch's when it was built
        benchmark = self.benchmark
        timed = latency.time_queries(
            retriever, benchmark.queries, benchmark.gallery, benchmark.depth, self.runtime, brief=brief
        )
        loads.append(timing_load.cores())
        ranking = self._search(retriever)
        latency.check_answers(timed.answers, ranking, benchmark.scored)
        identifiers = retriever.identifiers() if isinstance(retriever, Generative) else None
        ranking_file = rankings.save_ranking(ranking, self.settings.work / "rankings", identifiers)
        description = described(retriever, "retriever")  # after the search, which some of it tells
        with_costs = _with_query_cost(cost, timed, description)
        host, device = peak_memory(self.runtime)
        with_costs = replace(
            with_costs,
            peak_host_bytes=max(0, indexed.peaks[0], indexed.held + host - resident),
            peak_device_bytes=None if device is None else max(device, indexed.peaks[1] or 0),
        )
        try:
            result = self._finished(ranking, description, with_costs)
        except ValidationError as error:  # of what the retriever reports of itself
            raise ContractError(f"{self.cell.name}: {error.errors()[0]['msg']}", code="bad-description") from error
        return replace(
            result,
            ranking=ranking_file,
            retriever=result.retriever | self._diagnostics(indexed, ranking) | _ties(ranking),
            environment=result.environment
            | {
                "concurrent_load": max((load for load in loads if load is not None), default=None),
                "timing_cores": timed.cores,
            },
        )

    def unfinished(self, status: Status, reason: str) -> Result:
        """Return the result of a cell that could not be run to its end."""
        return replace(self._blank, status=status, reason=reason)

    def _prepare(self, retriever: Retriever) -> Cost:
        """Train, index what is old and add what is new, each by its own timer."""
        benchmark = self.benchmark
        training, indexing, adding = (Timer(bypass_cache=False, synchronize=self.runtime.synchronize) for _ in range(3))
        training_load = ConcurrentLoad()
        with training.run():
            self._train(retriever)
        now = Work(training.seconds["total"], processor_and_steering(), training_load.cores())
        trained = significant((now, *training.remembered))
        reset_peak_memory(self.runtime)
        with indexing.run():
            retriever.index(benchmark.old_gallery)
        if isinstance(retriever, SupportsUpdates) and benchmark.incremental:
            with adding.run():
                retriever.add(benchmark.new_gallery)
        return Cost(
            train_s=training.cost,
            training=Conditions(
                processors=tuple(dict.fromkeys(work.processor for work in trained if work.processor)),
                load=average_load(trained),
            ),
            encode_gallery_s=indexing.seconds.get("encode"),
            build_s=indexing.seconds.get("build"),
            add_s=adding.cost if benchmark.incremental else None,
        )

    def _train(self, retriever: Retriever) -> None:
        from irbench.training.parallel import taking_part

        if isinstance(retriever, Trainable):
            images = self.benchmark.train
            with taking_part(self.settings.together):
                retriever.train(images)

    def _diagnostics(self, indexed: Indexed, ranking: Ranking) -> Facts:
        """Return what an approximate search misses, or the diagnostics of the identifiers that are generated."""
        retriever, found = indexed.retriever, indexed.neighbours
        if isinstance(retriever, SearchesVectors) and found is not None:
            return _plain({"neighbours": neighbours.report(retriever, found, ranking, self.benchmark.queries)})
        if not isinstance(retriever, Generative):
            return {}
        generated = retriever.generate(diagnostics.sample(self.benchmark.queries))
        return _plain({"identifiers": diagnostics.report(retriever.identifiers(), self.benchmark, generated=generated)})

    def _search(self, retriever: Retriever) -> Ranking:
        """Rank the gallery for every query; the query image itself is excluded by its id, wherever it ranks."""
        benchmark = self.benchmark
        asked = benchmark.depth + int((benchmark.own_rows >= 0).any())
        found = as_ranking(retriever.search(benchmark.queries, asked), retriever, len(benchmark.queries))
        return benchmark.scored(found.widened(min(asked, len(benchmark.gallery)))).cut(benchmark.top_k)

    def _finished(self, ranking: Ranking, description: Description, cost: Cost) -> Result:
        judged = retrieval.judgements(ranking, self.benchmark)
        folder = self._blank.path(self.settings.results).parent
        result = replace(
            self._blank,
            status="ok",
            reason=None,
            backbone=description.backbone,
            retriever=_plain(dict(description.details) | (self.objects.marks if self.objects else {})),
            hits=hits.save(judged, folder, seed=self.cell.seed),  # next to the result, which is written last
            cost=cost,
            environment=cast(
                "Facts",
                environment(self.runtime)
                | {"throughput_batch": latency.BATCH}
                | {f"{what}_batch": batch for what, batch in batches.halved().items()}
                | ({"decoded_again": list(again)} if (again := decoded_again()) else {}),
            ),
        )
        return scored(result, judged, Scope.of(self.benchmark))

    @cached_property
    def _readable(self) -> tuple[Benchmark, frozenset[str]]:
        return readable(self.cell, self.settings, self.objects, self.runtime.store, self.listed)

    @cached_property
    def _recipe(self) -> RecipeUsed:
        """The texts of all recipes, each under its name."""
        texts = [f"### {recipe.name}\n{recipe.text}" for recipe in self.builder.recipes()]
        text = "\n".join([_NO_RECIPE, *texts] if self.cell.origin == "object" else texts)
        return RecipeUsed(text=text, hash=hashlib.sha256(text.encode()).hexdigest())

    @cached_property
    def _blank(self) -> Result:
        """All of a result that is known before anything has run."""
        cell, benchmark = self.cell, self.benchmark
        asked = dict(cell.shortened)
        if "max_queries" not in benchmark.shortened:  # there are no more
            asked.pop("max_queries", None)
        return Result(
            status="skipped",
            reason="not run",
            dataset=Dataset.of(
                benchmark, left_out=self._readable[1], path=own.relative_place(benchmark, self.settings.results)
            ),
            **of_cell(cell),
            inputs=self.inputs,
            retriever=_plain(self.objects.marks) if self.objects else {},
            shortened={**benchmark.shortened, **asked},
            recipe=self._recipe,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def _with_query_cost(cost: Cost, timed: latency.Timed, description: Description) -> Cost:
    """Add what a query costs: bytes and time."""
    per_query = timed.batched.total_p50
    return replace(
        cost,
        index_bytes=description.index_bytes,
        model_bytes=description.model_bytes,
        query_ms=timed.single,
        batched_ms=timed.batched,
        queries_per_s=1000 / per_query if per_query else None,
    )


def _ties(ranking: Ranking) -> Facts:
    """Return the share of queries all of whose results are equally good, so that the gallery's order ranks them."""
    several = (ranking.rows != MISSING).sum(axis=1) > 1
    worst = np.where(ranking.rows == MISSING, np.inf, ranking.scores).min(axis=1)
    share = float((several & (worst == ranking.scores[:, 0])).mean())
    return {"all_tied": share} if share else {}


def _plain(details: Mapping[str, object]) -> Facts:
    """Return what a retriever reports of itself as JSON values; numpy's numbers become plain ones."""
    try:
        return cast("Facts", json.loads(json.dumps(dict(details), allow_nan=False, default=lambda value: value.item())))
    except (AttributeError, TypeError, ValueError) as error:
        raise ContractError(f"describe() has details that JSON cannot hold: {error}", code="bad-description") from error


@lru_cache(maxsize=32)  # the cells of a grid share such files
def _hash_of(file: Path, state: str) -> str:  # noqa: ARG001 -- a part of what is remembered
    return sha256(file)
