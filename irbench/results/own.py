"""Data sets of one's own among stored results: the names that they have there, and where their images are.

Such a data set is known by its collection, a digest of its images and labels (see `irbench.data.datasets`). Its name is
that of its folder or list; where results of other images have that name, it ends in the first digits of the collection.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from irbench.config import recipes
from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, IrbenchError, UsageError
from irbench.core.names import checked_name
from irbench.core.text import as_text
from irbench.data import datasets
from irbench.data.loaders.judged import SUFFIX, read_list
from irbench.data.origins import stands_for
from irbench.results import files
from irbench.results.schema import Dataset, Result

_DIGITS = 6


def name_of(benchmark: Benchmark, root: Path, wanted: str | None = None) -> str:
    """Return the name of a benchmark of one's own among the results below `root`.

    It is `wanted`, or the one that its images have there, or its own, or its own with a suffix. Raises `UsageError`
    where the wanted name is that of other images.
    """
    known = {facts.name: facts.collection for facts in _stored(root)}
    recipe_names = recipes.names("datasets")
    if wanted is not None:
        if known.get(checked_name(wanted, "a data set"), benchmark.collection) != benchmark.collection:
            raise UsageError(f"--name {wanted}: results in {root} of other images have this name", code="name-taken")
        if wanted in recipe_names:
            raise UsageError(f"--name {wanted} is the name of a data set of irbench: choose another", code="name-taken")
        return wanted
    same = [name for name, collection in known.items() if collection == benchmark.collection]
    suffixed = f"{benchmark.name}-{str(benchmark.collection)[:_DIGITS]}"
    free = benchmark.name not in known and benchmark.name not in recipe_names
    return next(
        (name for name in (benchmark.name, suffixed, *same) if name in same), benchmark.name if free else suffixed
    )


def place_of(facts: Dataset, root: Path) -> Path | None:
    """Return where the images of a result below `root` were, if something is there; None where that is not known."""
    if facts.path is None:
        return None
    place = Path(os.path.normpath(root.resolve() / facts.path))
    return place if place.exists() else None


def differing(name: str, benchmark: Benchmark, root: Path) -> Iterator[str]:
    """Say that images found by the name of results below `root` are not, or no more, those that these are about."""
    known = [facts for facts in _stored(root) if facts.name == name and facts.collection is not None]
    if known and benchmark.collection not in {facts.collection for facts in known}:
        yield (
            f"{as_text(str(benchmark.path))} no longer has the images that the results of '{name}' in {root} are about "
            f"(collection {str(known[0].collection)[:8]}, of {_counts(known[0].gallery, known[0].queries)}; now "
            f"{str(benchmark.collection)[:8]}, of {_counts(len(benchmark.gallery), len(benchmark.queries))}); what "
            "follows is of the images that are there now"
        )


def _counts(gallery: int, queries: int) -> str:
    return f"{gallery:,} gallery images and {queries:,} queries"


def relative_place(benchmark: Benchmark, root: Path) -> str | None:
    """Return where images of one's own are, as seen from `root`: results and images may move together."""
    if benchmark.path is None:
        return None
    place = os.path.relpath(benchmark.path.resolve(), root.resolve())
    return place if place.isprintable() else None  # no text that a result can hold


def located(dataset: str, root: Path) -> str:
    """Return the path of a data set of one's own that has this name among the results below `root`; else `dataset`.

    A folder in reach that has the name is such a path itself, unless the results are about it with judgements. Raises
    `DataError` where results have the name, and nothing is any more where its images were.
    """
    judged = dict(_judged(dataset, _stored(root), root))
    if dataset in judged:
        return str(judged[dataset])
    if datasets.is_path(dataset) or dataset in recipes.names("datasets"):
        return dataset
    known = next((facts for facts in _stored(root) if facts.name == dataset), None)
    return dataset if known is None else str(demanded_place(known, root))


def judged_too(dataset: str, root: Path) -> Iterator[str]:
    """Say that results below `root` are about the images at a path with judgements, which the path alone leaves out."""
    names = [name for name, _ in _judged(dataset, _stored(root), root)]
    if names and dataset not in names:
        yield (
            f"results of {', '.join(names)} in {root} are about these images with judgements; name "
            f"{'one of these' if len(names) > 1 else 'it'} in place of {dataset} to have them"
        )


def _judged(path: str, known: Iterable[Dataset], root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names of data sets that are the images at a path with judgements, and what stands for them now."""
    for facts in known:
        place = place_of(facts, root)
        if place is None or place.suffix != SUFFIX:
            continue
        with suppress(DataError):  # of a damaged list, which is named when its data set is loaded
            if read_list(place).images == Path(path).expanduser().resolve():
                yield facts.name, place


def demanded_place(facts: Dataset, root: Path) -> Path:
    """Return where the images of a result below `root` are; `DataError` if they are not at hand."""
    place = place_of(facts, root)
    if place is None:
        was = f"; they were in {facts.path}, seen from {root}" if facts.path else ""
        raise DataError(
            f"{facts.name}: results in {root} are about it, but its images are not at hand{was}. Give their path in "
            "place of the name",
            code="not-found",
        )
    return place


def named(wanted: Iterable[str], results: Sequence[Result], root: Path) -> dict[str, str | None]:
    """Return the names in these results of the wanted data sets, each with the path that was given for it, if any.

    A path stands for the results about the images that are there now, wherever they were and whatever their name; where
    they cannot be read, for those about a folder or list of its name; and never for a data set of irbench. A folder in
    reach whose name results have is such a path too; where no result is about the images in it, it is the name alone.

    Raises `DataError` where results are about images that were at a path, and none about those that are there now.
    """
    known = {result.dataset.name: result.dataset for result in results}
    found: dict[str, str | None] = {}
    for one in wanted:
        if not datasets.is_path(one):
            found[one if one in known else datasets.find(one).name] = None
        elif unpacked := {name: str(place) for name, place in _unpacked(one, known, root)}:
            found |= unpacked
        elif judged := {name: str(place) for name, place in _judged(one, known.values(), root)}:
            found |= dict.fromkeys(_with_images_of(one, known), one) | judged
        elif same := _with_images_of(one, known):
            found |= dict.fromkeys(same, one)
        elif one in known:
            found[one] = None
        elif before := [name for name, facts in known.items() if place_of(facts, root) == Path(one).resolve()]:
            raise DataError(
                f"{one}: no result in {root} is about the images that are there now; results of '{', '.join(before)}' "
                "are about others that were there. Run the cells again, or give that name",
                code="other-data",
            )
        else:
            found[one] = one
    return found


def _unpacked(named: str, known: Mapping[str, Dataset], root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names of data sets whose images were unpacked from these Parquet files, and where they are now."""
    for name, facts in known.items():
        place = place_of(facts, root)
        if place is not None and stands_for(place, named):
            yield name, place


def _with_images_of(path: str, known: Mapping[str, Dataset]) -> list[str]:
    """Return the names of data sets of one's own that have the images at a path; where it is gone, its own name."""
    own = {name: facts.collection for name, facts in known.items() if facts.collection is not None}
    if not own:
        return []
    try:
        here = datasets.load(path).collection
    except IrbenchError:
        return [name for name in (datasets.find(path).name,) if name in own]
    return [name for name, collection in own.items() if collection == here]


def _stored(root: Path) -> list[Dataset]:
    """Return what one result of each data set below `root` reports of it."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    of_each = (next(map(files.find, sorted(folder.glob("*/seed*.json"))), None) for folder in folders)
    return [result.dataset for result in of_each if result is not None]
