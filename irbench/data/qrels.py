"""Files of judgements: TREC's qrels, `query 0 image grade`, or a CSV with columns query,image,grade.

A grade of 1 or more is relevant, 0 is not, and -1 marks junk: an image that is neither right nor wrong.
"""

import csv
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError, nearest
from irbench.core.imagenames import rows_by_name
from irbench.core.judgements import HIGHEST, JUNK, Pairs
from irbench.core.text import SEPARATORS, as_text

SHAPE = "lines 'query 0 image grade' (TREC qrels), or a CSV with columns query,image,grade"
_ALSO_CALLED = {  # of ir_datasets, BEIR and MTEB
    "query_id": "query", "query-id": "query", "qid": "query",
    "doc_id": "image", "corpus_id": "image", "corpus-id": "image", "docid": "image", "docno": "image",
    "relevance": "grade", "score": "grade", "label": "grade", "rel": "grade",
}  # fmt: skip
_NEEDED = ("query", "image", "grade")
_WHOLE = re.compile(r"[+-]?[0-9]{1,3}(\.0*)?", re.ASCII)
_RANKS = 3
_CANDIDATES = 20_000  # names among which a similar one is looked for


@dataclass(frozen=True)
class Judgement:
    """A line of a file; lines are counted from 1, as editors do."""

    line: int
    query: str
    image: str
    grade: int


def read(path: Path) -> list[Judgement]:
    """Read a file of judgements; `DataError` names the line that cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            delimiter = _delimiter(header)
            found = list(_columns(file, path) if delimiter is None else _table(file, path, delimiter))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; needed are {SHAPE}", code="no-such-file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: not a text that can be read ({error}); needed are {SHAPE}", code="bad-qrels"
        ) from None
    if not found:
        raise DataError(f"{path}: no judgements; needed are {SHAPE}", code="bad-qrels")
    if delimiter is None and _are_ranks(found):
        raise DataError(
            f"{path}: the grades of every query are 1, 2, 3 and so on, as the ranks of a run are; needed are {SHAPE}",
            code="bad-qrels",
        )
    return found


def _are_ranks(found: Sequence[Judgement]) -> bool:
    """Are the last columns 1, 2, 3 … for each query, up to 3 at least for one?"""
    last: dict[str, int] = {}
    for one in found:
        if one.grade != last.get(one.query, 0) + 1:
            return False
        last[one.query] = one.grade
    return max(last.values()) >= _RANKS


def _delimiter(header: str) -> str | None:
    """Return what separates the columns of a table with a header; None for lines of TREC."""
    for delimiter in SEPARATORS:
        named = {_plain(name) for name in header.split(delimiter)}
        if {"query", "image"} <= named:
            return delimiter
    return None


def _plain(name: str) -> str:
    lower = name.strip(' "\r\n').lower()
    return _ALSO_CALLED.get(lower, lower)


def _columns(lines: Iterator[str], path: Path) -> Iterator[Judgement]:
    for line, text in enumerate(lines, 1):
        columns = text.split()
        if text.lstrip().startswith("#"):
            raise DataError(f"{path}, line {line}: a comment; take it out", code="bad-qrels")
        if columns and len(columns) != 4:
            raise DataError(
                f"{path}, line {line}: {len(columns)} columns; needed are {SHAPE}; write a space within a name as %20",
                code="bad-qrels",
            )
        if columns:
            yield Judgement(line, columns[0], columns[2], _grade(columns[3], path, line))


def _table(lines: Iterator[str], path: Path, delimiter: str) -> Iterator[Judgement]:
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    given = [name.strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = [name if _plain(name) in given else _plain(name) for name in given]
    for name in _NEEDED:
        if reader.fieldnames.count(name) != 1:
            raise DataError(
                f"{path}: its first line has {reader.fieldnames.count(name)} columns '{name}'; needed are {SHAPE}",
                code="missing-column",
            )
    for row in reader:
        query, image = (str(row[name] or "").strip() for name in _NEEDED[:2])
        if not (query and image):
            raise DataError(f"{path}, line {reader.line_num}: no name of a query, or of an image", code="bad-qrels")
        yield Judgement(reader.line_num, query, image, _grade(str(row["grade"]), path, reader.line_num))


def _grade(text: str, path: Path, line: int) -> int:
    grade = int(text.partition(".")[0]) if _WHOLE.fullmatch(text.strip()) else HIGHEST + 1
    if not JUNK <= grade <= HIGHEST:
        raise DataError(
            f"{path}, line {line}: grade '{text}' is no whole number of {JUNK} to {HIGHEST}; 1 or more is relevant, 0 "
            f"is not, {JUNK} is neither right nor wrong",
            code="bad-grade",
        )
    return grade


def pairs(found: Sequence[Judgement], ids: Sequence[str], path: Path) -> Pairs:
    """Return judgements as pairs of rows of the images that have these ids, those of grade 0 left out.

    Raises `DataError` for a name that no image has, and for a pair that is judged twice.
    """
    rows = rows_by_name(ids)
    query, image = (np.array([_row(rows, getattr(one, what), path, one.line) for one in found]) for what in _NEEDED[:2])
    grade, order = np.array([one.grade for one in found]), np.lexsort((image, query))
    repeated = np.flatnonzero((np.diff(query[order]) == 0) & (np.diff(image[order]) == 0))
    if len(repeated):
        first, second = sorted(order[repeated[0] : repeated[0] + 2].tolist())
        raise DataError(
            f"{path}, line {found[second].line}: {as_text(found[second].image)} is judged for "
            f"{as_text(found[second].query)} a second time, after line {found[first].line}",
            code="duplicate-image",
        )
    counted = grade != 0
    return Pairs.of((len(ids), len(ids)), query[counted], image[counted], grade[counted])


def queries(found: Sequence[Judgement], ids: Sequence[str], path: Path) -> NDArray[np.int64]:
    """Return the row of the query of each judgement, whatever its grade."""
    rows = rows_by_name(ids)
    return np.array([_row(rows, one.query, path, one.line) for one in found], np.int64)


def _row(rows: Mapping[str, int], name: str, path: Path, line: int) -> int:
    for written in (name, posixpath.normpath(name)):  # ./a.jpg is a.jpg
        if written in rows:
            return rows[written]
    like = nearest(name, islice(rows, _CANDIDATES)) or f"; they have names like '{as_text(next(iter(rows)))}'"
    raise DataError(f"{path}, line {line}: there is no image '{as_text(name)}'{like}", code="unknown-id")
