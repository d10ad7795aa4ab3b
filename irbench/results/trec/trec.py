"""The text files of TREC: `query Q0 image rank score tag` in a run, `query 0 image relevance` in qrels."""

import math
from collections.abc import Iterator
from pathlib import Path

from irbench.core.errors import DataError
from irbench.results.trec.entries import Entries, Relevant, RunLine


class TrecFormat:
    """Writes what trec_eval, pytrec_eval and ir-measures read."""

    suffix = ".txt"

    def write_run(self, path: Path, entries: Iterator[Entries], tag: str) -> None:
        """Write a run; 9 digits distinguish every float32 from its neighbours."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for some in entries:
                columns = zip(some.queries, some.images, some.ranks.tolist(), some.scores.tolist(), strict=True)
                file.writelines(f"{q} Q0 {image} {rank} {score:.9g} {tag}\n" for q, image, rank, score in columns)

    def write_qrels(self, path: Path, entries: Iterator[Relevant]) -> None:
        """Write qrels."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for some in entries:
                columns = zip(some.queries, some.images, some.grades.tolist(), strict=True)
                file.writelines(f"{q} 0 {image} {grade}\n" for q, image, grade in columns)


def read_run(path: Path) -> Iterator[RunLine]:
    """Read a run, line by line; empty lines are passed over."""
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if columns := text.split():  # of bytes: at ASCII white space only, as trec_eval does
                yield _run_line(columns, path, line)


_MOST = 1 << 31  # a rank, at most


def _run_line(columns: list[bytes], path: Path, line: int) -> RunLine:
    if len(columns) != 6:
        raise DataError(
            f"{path}, line {line}: {len(columns)} columns, and a line of a TREC run has 6: query Q0 image rank score "
            "tag; write a space within a name as %20",
            code="bad-run-file",
        )
    try:
        query, image = columns[0].decode(), columns[2].decode()
    except UnicodeDecodeError:
        raise DataError(
            f"{path}, line {line}: not UTF-8; write other bytes of a name as %FF", code="bad-run-file"
        ) from None
    try:
        rank, score = int(columns[3]), float(columns[4])
    except ValueError:
        rank, score = 0, math.nan
    if not math.isfinite(score) or abs(rank) > _MOST:
        found = b" ".join(columns[3:5]).decode(errors="replace")
        raise DataError(
            f"{path}, line {line}: rank and score are '{found}', not a whole number and a finite number",
            code="bad-run-file",
        )
    return RunLine(line, query, image, score, rank)
