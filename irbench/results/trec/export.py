"""Writes stored rankings as run and qrels files, so that other tools can score, fuse and plot them.

The files of one fingerprint are in one folder `<data set>-<first digits of the fingerprint>/`: the qrels, and a run
for each cell and seed. They give irbench's own figures in pytrec_eval and ir-measures, under other names:

    precision@K    P_K        P@K         hit_rate@K     success_K    Success@K     mrr@K    -    RR@K
    recall@K       recall_K   R@K         r_precision    Rprec        Rprec

and map@K is map_cut_K, AP@K, times n / min(n, K): these divide by all n positives, also where n > K. A query without
results has no line in a run: it counts as 0 in ir-measures, in trec_eval with `-c`, and in pytrec_eval when its sum is
divided by the queries of the qrels.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from irbench.core.errors import IrbenchError, check_choice, writing
from irbench.results.artefacts import Artefacts
from irbench.results.schema import Result
from irbench.results.trec.columns import ParquetFormat
from irbench.results.trec.entries import Format, qrels_entries, run_entries
from irbench.results.trec.trec import TrecFormat
from irbench.runtime.cache import flush
from irbench.runtime.libraries import pyarrow
from irbench.runtime.unfinished import leftovers, unfinished

FORMATS: Mapping[str, type[Format]] = {"trec": TrecFormat, "parquet": ParquetFormat}


@dataclass(frozen=True)
class Exported:
    """The files that were written, and the results that could not be exported, with the reason."""

    files: list[Path]
    problems: list[str]


def export(results: Iterable[Result], artefacts: Artefacts, out: Path, *, format: str) -> Exported:  # noqa: A002 -- as on the CLI
    """Write the rankings of all successful results below `out`, and the qrels that belong to them."""
    check_choice("--format", format, FORMATS)
    if format == "parquet":
        pyarrow()  # if it is missing, raise before anything is written
    writer, done = FORMATS[format](), Exported([], [])
    for result in results:
        if result.status != "ok":
            continue
        try:
            done.files.extend(_export(result, artefacts, out, writer, known=done.files))
        except IrbenchError as error:
            done.problems.append(f"{result.dataset.name}, {result.cell}, seed {result.seed}: {error}")
    return done


def _export(result: Result, artefacts: Artefacts, out: Path, writer: Format, *, known: list[Path]) -> list[Path]:
    benchmark, ranking = artefacts.benchmark(result), artefacts.ranking(result)
    folder = out / f"{result.dataset.name}-{result.dataset.fingerprint[:8]}"
    run = folder / f"{result.cell}.seed{result.seed}{writer.suffix}"
    qrels = folder / f"qrels{writer.suffix}"
    tag = f"{result.cell}.seed{result.seed}"
    _write(run, lambda path: writer.write_run(path, run_entries(ranking, benchmark), tag))
    if qrels in known:
        return [run]
    _write(qrels, lambda path: writer.write_qrels(path, qrels_entries(benchmark)))
    return [run, qrels]


def _write(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, and rename it when it is complete."""
    with writing(path, "--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in leftovers(path):
            left.unlink(missing_ok=True)
        beside = unfinished(path)
        try:
            write(beside)
            flush(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
