"""Imports a run file of another program as a result, which appears in the same tables.

Only the ranking is known: no cost, no backbone, scale "unknown", and the origin "imported", which every table prints.
The rules are the same as for all methods: results are ordered by score, then by gallery row (a rank column must agree
with the scores); the query image itself is excluded by id; results beyond the benchmark's depth do not count; a query
without results scores 0.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell
from irbench.core.errors import DataError, UsageError, check_choice, nearest
from irbench.core.imagenames import rows_by_name
from irbench.core.ranking import MISSING, Ranking
from irbench.core.version import VERSION
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scope
from irbench.results import files, hits, own, rankings
from irbench.results.rescore import scored
from irbench.results.schema import Dataset, RecipeUsed, Result, of_cell
from irbench.results.trec.columns import read_csv, read_parquet
from irbench.results.trec.entries import RunLine, strictly_decreasing
from irbench.results.trec.trec import read_run
from irbench.runtime.cache import sha256

READERS: Mapping[str, Callable[[Path], Iterator[RunLine]]] = {
    "trec": read_run,
    "csv": read_csv,
    "parquet": read_parquet,
}
FORMATS = ("auto", *READERS)
_RECIPE = "# a ranking of another program, scored by irbench import\n"
_RISING = 8  # steps in one direction alone are chance in one of 256 files
_CANDIDATES = 5000  # names that are compared with an unknown name


@dataclass(frozen=True)
class Imported:
    """The result, where it was written, and notes for the user."""

    result: Result
    path: Path
    notes: tuple[str, ...]


def import_run(  # noqa: PLR0913 -- each is an option of the command line
    path: Path,
    benchmark: Benchmark,
    cell: Cell,
    *,
    format: str,  # noqa: A002 -- as on the CLI
    work: Path,
    root: Path,
    left_out: Collection[str] = (),
    force: bool = False,
) -> Imported:
    """Score the run file at `path`; write its result below `root` and its ranking below `work`.

    `cell` has the name and the seed of the method; `left_out` are the unreadable images that the benchmark is without.
    Raises `UsageError` where the result of another file is stored under this name, unless `force`.
    """
    ranking, notes = read_ranking(path, benchmark, format=format)
    judged = retrieval.judgements(ranking, benchmark)
    content = sha256(path)
    blank = _blank(benchmark, cell, content, root, left_out)
    older = files.find(blank.path(root))
    if older is not None and older.inputs != blank.inputs and not force:
        raise UsageError(
            f"{blank.path(root)} is the result of another run file: give this one another name (--method), or replace "
            "it (--force)",
            code="name-taken",
        )
    folder = blank.path(root).parent
    result = replace(
        blank,
        retriever={"imported": {"file": path.name, "sha256": content, "notes": list(notes)}},
        ranking=rankings.save_ranking(ranking, work / "rankings"),
        hits=hits.save(judged, folder, seed=cell.seed),
    )
    result = scored(result, judged, Scope.of(benchmark))
    return Imported(result, files.write(result, root), notes)


def read_ranking(path: Path, benchmark: Benchmark, *, format: str = "auto") -> tuple[Ranking, tuple[str, ...]]:  # noqa: A002
    """Read a run file as a ranking of this benchmark's gallery, with notes on what was left out of it."""
    check_choice("--format", format, FORMATS)
    if format == "auto":
        suffix = path.suffix[1:].lower()
        format = "csv" if suffix == "tsv" else suffix if suffix in READERS else "trec"  # noqa: A001
    try:
        entries = _by_row(path, READERS[format](path), benchmark)
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; a run file is needed, one line for each result", code="no-such-file"
        ) from error
    if not len(entries):
        raise DataError(f"{path}: no results; a run file has one line for each result", code="bad-run-file")
    _check_repeated(path, entries, benchmark)
    _check_order(path, entries)
    return _ranked(entries, benchmark)


_RUN_LINE = np.dtype([("line", "i8"), ("query", "i8"), ("image", "i8"), ("score", "f8"), ("rank", "i8")])
_RunLines = NDArray[np.void]  # of `_RUN_LINE`, in the order of the file


def _by_row(path: Path, entries: Iterator[RunLine], benchmark: Benchmark) -> _RunLines:
    """Put rows in place of names."""
    queries, images = rows_by_name(benchmark.queries.ids), rows_by_name(benchmark.gallery.ids)

    def row(known: Mapping[str, int], name: str, line: int, what: str) -> int:
        if name in known:
            return known[name]
        total = len(set(known.values()))
        like = nearest(name, islice(known, _CANDIDATES)) or f"; they have names like '{next(iter(known))}'"
        raise DataError(
            f"{path}, line {line}: '{name}' is not among the {total:,} {what} of {benchmark.name}{like} "
            "(irbench export writes a run file with these names)",
            code="unknown-id",
        )

    return np.fromiter(
        (
            (a.line, row(queries, a.query, a.line, "queries"), row(images, a.image, a.line, "gallery images"), a.score,
             -1 if a.rank is None else a.rank)
            for a in entries
        ),
        _RUN_LINE,
    )  # fmt: skip


def _check_repeated(path: Path, entries: _RunLines, benchmark: Benchmark) -> None:
    pair = entries["query"] * len(benchmark.gallery) + entries["image"]
    order = np.argsort(pair, kind="stable")
    repeated = order[1:][pair[order][1:] == pair[order][:-1]]
    if len(repeated):
        second = int(repeated.min())
        first = int(np.argmax(pair == pair[second]))
        raise DataError(
            f"{path}, line {entries['line'][second]}: {benchmark.gallery.ids[entries['image'][second]]} is listed "
            f"for {benchmark.queries.ids[entries['query'][second]]} a second time, after line "
            f"{entries['line'][first]}; an image may be listed once for each query",
            code="duplicate-image",
        )


def _check_order(path: Path, entries: _RunLines) -> None:
    """Refuse scores that contradict the ranks, or without ranks the order of the lines: evaluators sort by score."""
    ranked = entries[np.lexsort((entries["rank"], entries["query"]))]
    upper, lower = ranked[:-1], ranked[1:]
    wrong = (upper["query"] == lower["query"]) & (upper["rank"] < lower["rank"]) & (upper["score"] < lower["score"])
    wrong &= upper["rank"] >= 0  # it has one
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"{path}, line {lower['line'][at]}: score {lower['score'][at]:g} at rank {lower['rank'][at]} is above "
            f"score {upper['score'][at]:g} at rank {upper['rank'][at]} (line {upper['line'][at]}); a larger score is "
            "better, so write minus the distance where these are distances",
            code="bad-run-file",
        )
    if len(entries) > 1 and (entries["score"] == entries["score"][0]).all():
        raise DataError(
            f"{path}: all scores are {entries['score'][0]:g}; results are ordered by score, not by rank",
            code="bad-run-file",
        )
    listed = entries[np.argsort(entries["query"], kind="stable")]
    within = listed["query"][1:] == listed["query"][:-1]
    steps, ranks = (np.diff(listed[name])[within] for name in ("score", "rank"))
    if not ranks.any() and (steps >= 0).all() and (steps > 0).sum() >= _RISING:
        raise DataError(
            f"{path}: the scores of every query rise from line to line; a larger score is better, so write minus the "
            "distance where these are distances or ranks, or the best result of a query first",
            code="bad-run-file",
        )


def _ranked(entries: _RunLines, benchmark: Benchmark) -> tuple[Ranking, tuple[str, ...]]:
    """Order the results of each query, without the query image itself, to the depth that is scored."""
    itself = entries["image"] == benchmark.own_rows[entries["query"]]
    others = entries[~itself]
    others = others[np.lexsort((others["image"], -others["score"], others["query"]))]
    tied = (others["query"][1:] == others["query"][:-1]) & (others["score"][1:] == others["score"][:-1])
    counts_by_query = np.bincount(others["query"], minlength=len(benchmark.queries))
    place = np.arange(len(others)) - np.repeat(np.cumsum(counts_by_query) - counts_by_query, counts_by_query)
    best, place = others[place < benchmark.top_k], place[place < benchmark.top_k]
    rows = np.full((len(benchmark.queries), benchmark.top_k), MISSING, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    rows[best["query"], place] = best["image"]
    scores[best["query"], place] = np.clip(best["score"], -1e38, 1e38)
    scores = np.where(rows == MISSING, np.float32(-np.inf), strictly_decreasing(scores))
    counts = {
        "queries have the numbers 1 to n as scores, and n is taken as the best": _numbered(
            entries, len(benchmark.queries)
        ),
        "queries have no results and score 0": int((counts_by_query == 0).sum()),
        "results are the query image itself and were excluded": int(itself.sum()),
        f"results are beyond depth {benchmark.top_k} and were left out": len(others) - len(best),
        "results tie with the one above; the lower gallery row comes first": int(tied.sum()),
    }
    return Ranking(rows, scores), tuple(f"{count} {what}" for what, count in counts.items() if count)


def _numbered(entries: _RunLines, queries: int) -> int:
    """Return of how many queries the scores are 1 to n, which may be places: without ranks nothing tells."""
    if (entries["rank"] != entries["rank"][0]).any():
        return 0
    upwards = entries[np.lexsort((entries["score"], entries["query"]))]
    counts = np.bincount(upwards["query"], minlength=queries)
    number = 1 + np.arange(len(upwards)) - np.repeat(np.cumsum(counts) - counts, counts)
    others = np.bincount(upwards["query"], weights=upwards["score"] != number, minlength=queries)
    return int(((others == 0) & (counts > _RISING)).sum())


def _blank(benchmark: Benchmark, cell: Cell, content: str, root: Path, left_out: Collection[str]) -> Result:
    """All of the result that does not depend on the ranking."""
    return Result(
        status="ok",
        dataset=Dataset.of(benchmark, left_out=left_out, path=own.relative_place(benchmark, root)),
        **of_cell(cell),
        inputs=hashlib.sha256(f"{content} {benchmark.fingerprint}".encode()).hexdigest(),
        recipe=RecipeUsed(text=_RECIPE, hash=hashlib.sha256(_RECIPE.encode()).hexdigest()),
        environment={"irbench": VERSION},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
