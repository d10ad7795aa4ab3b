"""Run and qrels files with named columns: Parquet and CSV with query_id, doc_id and score (or relevance).

These are the columns of ir-measures and ir_datasets, which accept such files read with pandas.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from irbench.core.errors import DataError
from irbench.core.text import separator
from irbench.results.trec.entries import Entries, Relevant, RunLine
from irbench.runtime.libraries import pyarrow

NEEDED = ("query_id", "doc_id", "score")
_RANK = "rank"  # may be there as well


class ParquetFormat:
    """Writes Parquet: the same names, ranks and scores as in the text files, a tenth of their size."""

    suffix = ".parquet"

    def write_run(self, path: Path, entries: Iterator[Entries], tag: str) -> None:
        """Write a run; its tag is in the file's metadata."""
        pa = pyarrow()
        fields = [("query_id", pa.string()), ("doc_id", pa.string()), ("rank", pa.int32()), ("score", pa.float32())]
        schema = pa.schema(fields, metadata={"irbench": tag})
        self._write(path, schema, ([e.queries, e.images, e.ranks, e.scores] for e in entries))

    def write_qrels(self, path: Path, entries: Iterator[Relevant]) -> None:
        """Write qrels."""
        pa = pyarrow()
        schema = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("relevance", pa.int32())])
        self._write(path, schema, ([e.queries, e.images, e.grades] for e in entries))

    def _write(self, path: Path, schema: Any, columns: Iterator[list[Any]]) -> None:
        from pyarrow.parquet import ParquetWriter

        pa = pyarrow()
        with ParquetWriter(path, schema, compression="zstd") as writer:
            for some in columns:
                writer.write_table(pa.Table.from_arrays([pa.array(c) for c in some], schema=schema))


def read_csv(path: Path) -> Iterator[RunLine]:
    """Read a run from CSV with a header; columns are separated by commas, semicolons or tabs."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = separator(file.readline(), NEEDED)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(path, reader.fieldnames)
            for row in reader:
                yield _run_line(path, reader.line_num, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}", code="bad-run-file") from error


def read_parquet(path: Path) -> Iterator[RunLine]:
    """Read a run from Parquet; a row's number stands for its line."""
    pa = pyarrow()
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            lines = count(1)
            wanted = [name for name in (*NEEDED, _RANK) if name in file.schema_arrow.names]
            for batch in file.iter_batches(columns=wanted):
                for row in batch.to_pylist():
                    yield _run_line(path, next(lines), row)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file that can be read: {error}", code="bad-run-file") from error


def _check_columns(path: Path, names: Any) -> None:
    if repeated := [column for column in (*NEEDED, _RANK) if list(names).count(column) > 1]:
        raise DataError(
            f"{path}: several columns {', '.join(repeated)}, capital letters apart; keep one", code="bad-run-file"
        )
    missing = [column for column in NEEDED if column not in names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(names) or 'none'}", code="bad-run-file"
        )


def _run_line(path: Path, line: int, row: Mapping[str, Any]) -> RunLine:
    query, image, score = (row[column] for column in NEEDED)
    value = _number(score)
    if not (query and image and math.isfinite(value)):
        raise DataError(
            f"{path}, line {line}: query_id '{query}', doc_id '{image}', score '{score}': two names and a finite "
            "number are needed",
            code="bad-run-file",
        )
    return RunLine(line, str(query), str(image), value, _rank(path, line, row))


def _rank(path: Path, line: int, row: Mapping[str, Any]) -> int | None:
    """Return the rank, for those who write one: it must not contradict the scores."""
    rank = row.get(_RANK)
    if rank is None or rank == "" or rank != rank:  # noqa: PLR0124 -- NaN, with which pandas says that there is none
        return None
    number = _number(rank)
    if not number.is_integer():
        raise DataError(f"{path}, line {line}: rank '{rank}' is no whole number", code="bad-run-file")
    return int(number)


def _number(value: object) -> float:
    """Return a cell of a table as a number, NaN where it is none."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan
