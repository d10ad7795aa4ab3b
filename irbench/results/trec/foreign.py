"""Scores a run file that somebody else's method wrote, as a result that stands in the same tables.

Only the ranking is known, so only it is told: no cost, no backbone, scale "unknown", and a variant that begins with
"imported", which every table prints. The rules are those for everybody: answers are ordered by score, then by gallery
row (a rank column is only held against the scores); a query's own photograph is taken out; what lies below the
benchmark's depth does not count; a query without answers scores 0.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.core.benchmark import Benchmark
from irbench.core.cell import Cell
from irbench.core.errors import DataError, check_choice, nearest
from irbench.core.ranking import MISSING, Ranking
from irbench.core.version import VERSION
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scope
from irbench.results import files, hits, rankings
from irbench.results.rescore import scored
from irbench.results.schema import Dataset, RecipeUsed, Result, of_cell
from irbench.results.trec.columns import read_csv, read_parquet
from irbench.results.trec.entries import Answer, rows_by_name, strictly_falling
from irbench.results.trec.trec import read_run
from irbench.runtime.cache import sha256

READERS: Mapping[str, Callable[[Path], Iterator[Answer]]] = {
    "trec": read_run,
    "csv": read_csv,
    "parquet": read_parquet,
}
FORMATS = ("auto", *READERS)
_RECIPE = "# made elsewhere, and scored by irbench import\n"
_SEARCHED = 5000  # names among which one like an unknown name is looked for


@dataclass(frozen=True)
class Imported:
    """The result, where it was written, and what its maker should know."""

    result: Result
    path: Path
    notes: tuple[str, ...]


def import_run(path: Path, benchmark: Benchmark, cell: Cell, *, format: str, work: Path, root: Path) -> Imported:  # noqa: A002 -- as on the CLI
    """Score the run file at `path`; write its result below `root` and its ranking below `work`.

    `cell` says what the method is called, and under which protocol and seed it answered.
    """
    ranking, notes = read_ranking(path, benchmark, format=format)
    judged = retrieval.judgements(ranking, benchmark)
    content = sha256(path)
    blank = _blank(benchmark, cell, content)
    folder = blank.path(root).parent
    result = replace(
        blank,
        retriever={"imported": {"file": path.name, "sha256": content}},
        ranking=rankings.save_ranking(ranking, work / "rankings"),
        hits=hits.save(judged, folder, seed=cell.seed),
    )
    result = scored(result, judged, Scope.of(benchmark))
    return Imported(result, files.write(result, root), notes)


def read_ranking(path: Path, benchmark: Benchmark, *, format: str = "auto") -> tuple[Ranking, tuple[str, ...]]:  # noqa: A002
    """Read a run file as a ranking of this benchmark's gallery, with notes on what was left out of it."""
    check_choice("--format", format, FORMATS)
    if format == "auto":
        format = path.suffix[1:] if path.suffix[1:] in READERS else "trec"  # noqa: A001
    try:
        answers = _by_row(path, READERS[format](path), benchmark)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a run file is needed, one line for each answer") from error
    if not len(answers):
        raise DataError(f"{path}: no answers; a run file has one line for each answer")
    _check_repeated(path, answers, benchmark)
    _check_order(path, answers)
    return _ranked(answers, benchmark)


_ANSWER = np.dtype([("line", "i8"), ("query", "i8"), ("image", "i8"), ("score", "f8"), ("rank", "i8")])
_Answers = NDArray[np.void]  # of `_ANSWER`, in the order of the file


def _by_row(path: Path, answers: Iterator[Answer], benchmark: Benchmark) -> _Answers:
    """Put rows in place of names."""
    queries, images = rows_by_name(benchmark.queries.ids), rows_by_name(benchmark.gallery.ids)

    def row(known: Mapping[str, int], name: str, line: int, what: str) -> int:
        if name in known:
            return known[name]
        total = len(set(known.values()))
        like = nearest(name, islice(known, _SEARCHED)) or f"; they are called like '{next(iter(known))}'"
        raise DataError(
            f"{path}, line {line}: '{name}' is not among the {total:,} {what} of {benchmark.name}{like} "
            "(irbench export writes a run file with such names)"
        )

    return np.fromiter(
        (
            (a.line, row(queries, a.query, a.line, "queries"), row(images, a.image, a.line, "gallery images"), a.score,
             a.rank or 0)
            for a in answers
        ),
        _ANSWER,
    )  # fmt: skip


def _check_repeated(path: Path, answers: _Answers, benchmark: Benchmark) -> None:
    pair = answers["query"] * len(benchmark.gallery) + answers["image"]
    order = np.argsort(pair, kind="stable")
    repeated = order[1:][pair[order][1:] == pair[order][:-1]]
    if len(repeated):
        second = int(repeated.min())
        first = int(np.argmax(pair == pair[second]))
        raise DataError(
            f"{path}, line {answers['line'][second]}: {benchmark.gallery.ids[answers['image'][second]]} is answered "
            f"to {benchmark.queries.ids[answers['query'][second]]} a second time, after line {answers['line'][first]}; "
            "an image may be answered once to each query"
        )


def _check_order(path: Path, answers: _Answers) -> None:
    """Refuse scores that say another order than the ranks: evaluators go by score, so one of them is a mistake."""
    ranked = answers[np.lexsort((answers["rank"], answers["query"]))]
    upper, lower = ranked[:-1], ranked[1:]
    wrong = (upper["query"] == lower["query"]) & (upper["rank"] < lower["rank"]) & (upper["score"] < lower["score"])
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"{path}, line {lower['line'][at]}: score {lower['score'][at]:g} at rank {lower['rank'][at]} is above "
            f"score {upper['score'][at]:g} at rank {upper['rank'][at]} (line {upper['line'][at]}); a larger score is "
            "better, so write minus the distance where these are distances"
        )
    if len(answers) > 1 and (answers["score"] == answers["score"][0]).all():
        raise DataError(f"{path}: all scores are {answers['score'][0]:g}; answers are ordered by score, not by rank")


def _ranked(answers: _Answers, benchmark: Benchmark) -> tuple[Ranking, tuple[str, ...]]:
    """Order the answers of each query, without its own photograph, to the depth that is scored."""
    own = answers["image"] == benchmark.own_rows[answers["query"]]
    kept = answers[~own]
    kept = kept[np.lexsort((kept["image"], -kept["score"], kept["query"]))]
    tied = (kept["query"][1:] == kept["query"][:-1]) & (kept["score"][1:] == kept["score"][:-1])
    per_query = np.bincount(kept["query"], minlength=len(benchmark.queries))
    place = np.arange(len(kept)) - np.repeat(np.cumsum(per_query) - per_query, per_query)
    best, place = kept[place < benchmark.top_k], place[place < benchmark.top_k]
    rows = np.full((len(benchmark.queries), benchmark.top_k), MISSING, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    rows[best["query"], place] = best["image"]
    scores[best["query"], place] = np.clip(best["score"], -1e38, 1e38)
    scores = np.where(rows == MISSING, np.float32(-np.inf), strictly_falling(scores))
    counts = {
        "queries have no answer and score 0": int((per_query == 0).sum()),
        "answers are the query's own photograph and were left out": int(own.sum()),
        f"answers lie below depth {benchmark.top_k} and were left out": len(kept) - len(best),
        "answers tie with the one above; the lower gallery row comes first": int(tied.sum()),
    }
    return Ranking(rows, scores), tuple(f"{count} {what}" for what, count in counts.items() if count)


def _blank(benchmark: Benchmark, cell: Cell, content: str) -> Result:
    """All of the result that does not depend on the answers."""
    return Result(
        status="ok",
        dataset=Dataset.of(benchmark),
        **of_cell(cell),
        inputs=hashlib.sha256(f"{content} {benchmark.fingerprint}".encode()).hexdigest(),
        recipe=RecipeUsed(text=_RECIPE, hash=hashlib.sha256(_RECIPE.encode()).hexdigest()),
        environment={"irbench": VERSION},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
