"""Verifies submissions: everything that can be computed again is, from the run and the task, and has to agree.

What cannot be told from the files stays a claim of whoever submits them: costs, the machine, and that the recipe made
the run.
"""

import hashlib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from irbench.config import recipes
from irbench.core.benchmark import Benchmark
from irbench.core.errors import IrbenchError, StoreError
from irbench.core.ranking import Ranking
from irbench.data import datasets
from irbench.metrics import retrieval
from irbench.metrics.retrieval import METRICS, Judged, Scope
from irbench.results import files, hits, scoring
from irbench.results.schema import Dataset, Estimate, Result
from irbench.results.submissions import submission as listed
from irbench.results.submissions import task
from irbench.results.submissions.submission import FILE, RESULTS, TASKS, Submission
from irbench.results.submissions.write import run_path, run_tag, task_name
from irbench.results.trec.entries import run_entries
from irbench.results.trec.foreign import read_ranking
from irbench.results.trec.trec import TrecFormat
from irbench.runtime.cache import sha256

_SAME = 1e-9  # of a mean and of the ends of its interval: what another version of NumPy may sum up differently
_COUNTED = ("name", "protocol", "crop", "incremental", "train", "gallery", "queries", "classes", "judged",
            "without_positives", "manifest")  # what a task tells of a data set  # fmt: skip
_NAMED = ("name", "protocol", "crop", "incremental")
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A submission, the results that add up, and what is wrong with it."""

    folder: Path
    submission: Submission | None
    results: tuple[Result, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Does everything add up?"""
        return not self.problems


def data_of(results: Iterable[Result]) -> list[Dataset]:
    """Return the data sets that results are about, each once: those that one knows."""
    return list({result.dataset.fingerprint: result.dataset for result in results}.values())


def verify(folder: Path, known: Sequence[Dataset] = ()) -> Verified:
    """Score a submission again and return what does not add up; nothing is trained, and no image is read.

    `known` are the data sets of results that one trusts: a submission under the name and protocol of one of them has to
    be about the same images.
    """
    try:
        return _verified(folder, known)
    except StoreError as error:
        return Verified(folder=folder, submission=None, problems=(str(error),))
    except Exception as error:  # whatever a stranger's file leads to is a reason to refuse it, and others are verified
        return Verified(folder=folder, submission=None, problems=(f"{folder}: cannot be verified ({error!r:.200})",))


def _verified(folder: Path, known: Sequence[Dataset]) -> Verified:
    submission = listed.read(folder)
    if problems := tuple(_files(folder, submission)):
        return Verified(folder=folder, submission=submission, problems=problems)
    read, unreadable = files.read_all(folder / RESULTS)
    results = [result for result in read if _DIGEST.fullmatch(result.dataset.fingerprint)]  # which is part of a path
    read_task = cache(task.read)  # results of a data set have one
    found = [*unreadable, *_unused(folder, submission, results)]
    for result in results:
        where = f"{folder}: {result.dataset.name}, {result.cell}, seed {result.seed}"
        try:
            benchmark = read_task(folder / TASKS / task_name(result))
            found += [f"{where}: {what}" for what in _wrong(result, folder, benchmark, known)]
        except IrbenchError as error:
            found.append(f"{where}: {error}")
    if not results:
        found.append(f"{folder}: no results in it that can be verified")
    return Verified(folder=folder, submission=submission, results=tuple(results), problems=tuple(found))


def _files(folder: Path, submission: Submission) -> Iterator[str]:
    """Yield which files are missing, changed, not listed, or no plain files."""
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not _is_folder(path)}
    for name in sorted(here.keys() - submission.files.keys() - {FILE}):
        yield f"{folder}: {name!a} is not among the files that {FILE} lists"
    for name, digest in submission.files.items():
        path = folder / name
        if name not in here:
            yield f"{path}: listed in {FILE}, and not there"
        elif not stat.S_ISREG(path.lstat().st_mode):
            yield f"{path}: not a plain file"
        elif sha256(path) != digest:
            yield f"{path}: not the file of the hash that {FILE} lists"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _unused(folder: Path, submission: Submission, results: Sequence[Result]) -> Iterator[str]:
    """Yield the files that belong to no result: nobody looks at them."""
    used = set()
    for result in results:
        place = result.path(folder / RESULTS)
        used |= {place, run_path(result, folder), folder / TASKS / task_name(result)}
        used |= {place.parent / result.hits.file} if result.hits else set()
    for name in submission.files:
        if folder / name not in used:
            yield f"{folder / name}: belongs to no result that can be read"


def _wrong(result: Result, folder: Path, benchmark: Benchmark, known: Sequence[Dataset]) -> Iterator[str]:
    """Yield what does not add up about one result."""
    if result.status != "ok" or result.shortened:
        yield f"status '{result.status}'{', shortened' * bool(result.shortened)}: submissions are of whole runs"
        return
    if hashlib.sha256(result.recipe.text.encode()).hexdigest() != result.recipe.hash:
        yield "the recipe is not the one of its hash"
    if other := list(_other_task(result.dataset, benchmark, known)):
        yield from other
        return
    ranking, _ = read_ranking(run_path(result, folder), benchmark)
    if not _is_as_written(result, ranking, benchmark, run_path(result, folder)):
        yield "the run is not as irbench writes this ranking: ranks, order, what is left out"
        return
    judged = retrieval.judgements(ranking, benchmark)
    if result.hits is not None and result.hits.k != judged[""].top_k:
        yield f"hits.k is stated as {result.hits.k}, and is {judged[''].top_k}"
    if any(isinstance(value, int | float) and value < 0 for value in vars(result.cost).values()):
        yield "a cost is negative"
    yield from _other_hits(result, folder, judged)
    yield from _other_scores(result.metrics, scoring.estimates(judged, Scope.of(benchmark)))


def _is_as_written(result: Result, ranking: Ranking, benchmark: Benchmark, run: Path) -> bool:
    """Is the run, byte for byte, what the ranking that it holds is written as?"""
    with TemporaryDirectory() as folder:
        again = Path(folder) / "run.txt"
        TrecFormat().write_run(again, run_entries(ranking, benchmark), run_tag(result))
        return again.read_bytes() == run.read_bytes()


def _other_task(stated: Dataset, benchmark: Benchmark, known: Sequence[Dataset]) -> Iterator[str]:
    """Yield in what the task is not the one that the result states, or that is known under its name."""
    found = Dataset.of(benchmark)
    for what in _COUNTED:
        told, counted = getattr(stated, what), getattr(found, what)
        if told != counted:
            yield f"dataset.{what} is stated as {told!r:.40}, and is {counted!r:.40} in the task"
    splits = (benchmark.train, benchmark.gallery, benchmark.queries)
    here = _made_here(stated)
    same = [one for one in known if all(getattr(one, what) == getattr(stated, what) for what in _NAMED)]
    if all(split.contents is not None for split in splits):
        if found.fingerprint != stated.fingerprint:
            yield f"the task has fingerprint {found.fingerprint[:8]}, and the result is about {stated.fingerprint[:8]}"
    elif not same and here is None:
        yield (
            f"the images of {stated.name} are not known by their contents, so that no fingerprint can be computed; "
            "results of your own about them (--results) would do"
        )
    yield from _not_published(benchmark)
    for one in (*same, *([here] if here is not None else [])):
        if (one.fingerprint, one.manifest) != (stated.fingerprint, stated.manifest):
            yield f"other images, classes or splits than those of {one.name} here ({one.fingerprint[:8]})"


def _not_published(benchmark: Benchmark) -> Iterator[str]:
    """Yield in which counts a task under the name of a published data set is not that data set."""
    if benchmark.name in recipes.names("datasets") and not benchmark.incremental:
        yield from datasets.incomplete(datasets.find(benchmark.name), benchmark)


def _made_here(stated: Dataset) -> Dataset | None:
    """Return a data set as irbench has it without any files; None where it needs some, or there is none of the name."""
    with suppress(IrbenchError):
        if stated.name in recipes.names("datasets") and not datasets.find(stated.name).head.folders:
            made = datasets.load(
                stated.name, crop=stated.crop, protocol=stated.protocol, incremental=stated.incremental > 0
            )
            return Dataset.of(made)
    return None


def _other_hits(result: Result, folder: Path, judged: Mapping[str, Judged]) -> Iterator[str]:
    stored = hits.Reader(folder / RESULTS)(result)
    if stored.keys() != judged.keys():
        yield f"hits of {sorted(stored)} are stored, and the run has those of {sorted(judged)}"
        return
    for part, one in judged.items():
        for name in ("hits", "positives", "classes", "found", "grades", "best"):
            ours, theirs = getattr(one, name), getattr(stored[part], name)
            if (ours is None) != (theirs is None) or (ours is not None and not np.array_equal(ours, theirs)):
                yield f"the stored hits are not those of the run ({name})"
                return


def _other_scores(stated: Mapping[str, Estimate], found: Mapping[str, Estimate]) -> Iterator[str]:
    """Yield the first metric that the run does not have, and how many more there are."""
    builtin = {name for name in stated if name.partition("@")[0] in METRICS}
    wrong = [
        name for name in stated if name not in builtin or name not in found or not _same(stated[name], found[name])
    ]
    missing = sorted(found.keys() - stated.keys())
    if missing:
        yield f"metrics are missing: {', '.join(missing)}"
    if wrong:
        ours = found[wrong[0]].mean if wrong[0] in found else None
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield f"metrics.{wrong[0]} is stated as {stated[wrong[0]].mean}, and the run has {ours}{more}"


def _same(one: Estimate, other: Estimate) -> bool:
    """Do two estimates agree, with interval, reason and share of queries with too few results?"""
    if (one.reason, one.ci95 is None, one.short is None) != (other.reason, other.ci95 is None, other.short is None):
        return False
    pairs = [(one.mean, other.mean), (one.short, other.short), *zip(one.ci95 or (), other.ci95 or (), strict=True)]
    return all(a == b or (a is not None and b is not None and abs(a - b) <= _SAME) for a, b in pairs)
