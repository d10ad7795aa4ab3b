"""One cell of the grid made definite: its images, recipes and machine, what identifies it, and its stored result."""

import hashlib
import json
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path

from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell
from irbench.core.errors import StoreError, Unavailable, UsageError
from irbench.core.filestate import state_of
from irbench.data import datasets
from irbench.data.relevance import demand_positives
from irbench.experiments.build import Builder
from irbench.experiments.images import listing, readable
from irbench.experiments.objects import MARKS, ObjectBuilder, Objects
from irbench.experiments.settings import Settings
from irbench.protocols import Preparable, Retriever, Trainable
from irbench.results import files, own
from irbench.results.artefacts import Artefacts
from irbench.results.rescore import rescored, with_hits
from irbench.results.schema import Dataset, RecipeUsed, Result, Status, of_cell
from irbench.runtime.cache import Store, sha256
from irbench.runtime.code import code_digest
from irbench.runtime.machine import (
    Runtime,
    choose_device,
    choose_precision,
    choose_threads,
    seed_everything,
    use_threads,
)

_NO_RECIPE = "### a Python object\n# no recipe stands behind this method\n"


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

    def untrained(self) -> Retriever:
        """Return the retriever as it is before it is trained; the process computes as the cell does from then on."""
        use_threads(self.runtime.threads)
        seed_everything(self.cell.seed)
        return self.builder.retriever()

    def train(self, retriever: Retriever) -> None:
        """Train the retriever, if it is trainable, together with other processes where the settings name some."""
        from irbench.training.parallel import taking_part

        if isinstance(retriever, Trainable):
            images = self.benchmark.train
            with taking_part(self.settings.together):
                retriever.train(images)

    def trained(self) -> Retriever:
        """Return the retriever as it is when it is trained."""
        retriever = self.untrained()
        self.train(retriever)
        return retriever

    def prepare(self) -> None:
        """Make what running the cell takes from the work folder: decoded images, trained networks, embeddings.

        Raises `Busy` where the settings say not to wait and another process is making a part of it.
        """
        retriever, benchmark = self.trained(), self.benchmark
        if isinstance(retriever, Preparable):
            added = [benchmark.new_gallery] if benchmark.incremental else []
            for images in (benchmark.old_gallery, *added, benchmark.queries):
                retriever.prepare(images)

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

    @cached_property
    def blank(self) -> Result:
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
            retriever=dict(self.objects.marks) if self.objects else {},
            shortened={**benchmark.shortened, **asked},
            recipe=self._recipe,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def unfinished(self, status: Status, reason: str) -> Result:
        """Return the result of a cell that could not be run to its end."""
        return replace(self.blank, status=status, reason=reason)

    @cached_property
    def _readable(self) -> tuple[Benchmark, frozenset[str]]:
        return readable(self.cell, self.settings, self.objects, self.runtime.store, self.listed)

    @cached_property
    def _recipe(self) -> RecipeUsed:
        """The texts of all recipes, each under its name."""
        texts = [f"### {recipe.name}\n{recipe.text}" for recipe in self.builder.recipes()]
        text = "\n".join([_NO_RECIPE, *texts] if self.cell.origin == "object" else texts)
        return RecipeUsed(text=text, hash=hashlib.sha256(text.encode()).hexdigest())


@lru_cache(maxsize=32)  # the cells of a grid share such files
def _hash_of(file: Path, state: str) -> str:  # noqa: ARG001 -- a part of what is remembered
    return sha256(file)
