"""The images that a cell is about: loaded by name or path, or given as an object."""

from dataclasses import replace
from functools import lru_cache

from irbench.config import recipes
from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell
from irbench.core.errors import DataError, UsageError
from irbench.data import datasets, manifest
from irbench.data.contents import with_contents
from irbench.data.pixels import drop_unreadable
from irbench.experiments.objects import Objects
from irbench.experiments.settings import Settings
from irbench.results import own
from irbench.retrievers.adapters import as_sequences
from irbench.runtime.cache import Store

_load = lru_cache(maxsize=4)(datasets.load)  # the cells of a grid come data set by data set


def readable(
    cell: Cell, settings: Settings, objects: Objects | None, store: Store, listed: str | None = None
) -> tuple[Benchmark, frozenset[str]]:
    """Return the images of a cell under their name in results, and those left out: they cannot be decoded.

    `listed` is what `listing` returned in another process.
    """
    skip = settings.on_bad_image == "skip"
    benchmark = _given(cell, objects, store)
    if benchmark is None and listed is not None:
        benchmark = manifest.load(listed, store)
    if benchmark is None:
        benchmark = _loaded(cell, settings, store)
    if benchmark.collection is not None:
        benchmark = replace(benchmark, name=own.name_of(benchmark, settings.results, settings.name))
        if ks := tuple(sorted(set(settings.ks))):
            benchmark = datasets.with_ks(benchmark, ks, store)
    elif settings.name is not None or settings.ks:
        option = "--k" if settings.name is None else f"--name {settings.name}"
        raise UsageError(
            f"{option}: name and K of {benchmark.name} are its recipe's; this is for images of your own",
            code="unused-option",
        )
    if objects is not None and objects.in_method:
        benchmark = as_sequences(benchmark)
    if not skip:
        return benchmark, frozenset()
    try:
        kept, left_out = drop_unreadable(benchmark, store)
    except DataError as error:
        if error.code != "no-images":
            raise
        raise DataError(
            f"{benchmark.name}: --on-bad-image skip would leave train, gallery or queries without images: all of "
            f"them are unreadable or no files (irbench data verify {cell.dataset} lists them)",
            code="no-images",
        ) from error
    return kept, frozenset(id_ for ids in left_out.values() for id_ in ids)


def listing(cell: Cell, settings: Settings, objects: Objects | None, store: Store) -> str | None:
    """Return a digest by which another process finds the cell's images without asking for the state of each file.

    None where there is no list of files to hand over.
    """
    if objects is not None and objects.benchmark is not None:
        return None
    benchmark = _loaded(cell, settings, store)
    return _stored(benchmark, store) if manifest.can_be_stored(benchmark) else None


_stored = lru_cache(maxsize=4)(manifest.save)


def _loaded(cell: Cell, settings: Settings, store: Store) -> Benchmark:
    return _load(
        cell.dataset,
        data=settings.data,
        crop=cell.crop,
        protocol=cell.protocol,
        incremental=cell.incremental,
        max_queries=cell.max_queries,
        files_must_exist=settings.on_bad_image != "skip",
        store=store,
    )


def _given(cell: Cell, objects: Objects | None, store: Store) -> Benchmark | None:
    """Return the benchmark that was given as an object, if one was; crop and protocol are its own."""
    if objects is None or objects.benchmark is None:
        return None
    benchmark = objects.benchmark
    loaded = benchmark.loaded and benchmark.loaded[0]
    taken = benchmark.name == loaded or benchmark.name in recipes.names("datasets")
    if taken and not datasets.is_as_loaded(benchmark):
        raise UsageError(
            f"this benchmark is not '{benchmark.name}' as it is loaded: give it another name "
            "(dataclasses.replace(benchmark, name=…))",
            code="name-taken",
        )
    if (benchmark.crop, benchmark.protocol) != (cell.crop, cell.protocol):
        raise UsageError(
            f"the benchmark is {benchmark.protocol}, crop {benchmark.crop}: say crop and protocol to load_dataset",
            code="unused-option",
        )
    named = {name: replace(getattr(benchmark, name), name=name) for name in ("train", "gallery", "queries")}
    benchmark = replace(benchmark, **named)  # splits that were made from each other may have each other's names
    if not datasets.is_as_loaded(objects.benchmark):  # derived from what was loaded, or made by hand
        anew = {name: replace(getattr(benchmark, name), contents=None) for name in named}
        benchmark = replace(benchmark, collection=None, path=None, **anew)
    benchmark = with_contents(benchmark, store)
    if cell.incremental and not benchmark.incremental:
        benchmark = datasets.make_incremental(benchmark)
    return benchmark if cell.max_queries is None else datasets.shorten(benchmark, cell.max_queries)


def read_datasets_again() -> None:
    """Forget the data sets that were loaded: since then files may have changed, and relative paths their meaning."""
    _load.cache_clear()
    _stored.cache_clear()
