"""Writes submissions: for each result its file, its hits and its run, for each data set its task, and who vouches.

```
submission.json                          who, licence, page, and the SHA-256 of every other file
tasks/<dataset>-<fingerprint>.safetensors
results/<dataset>/<cell>/seed0.json      as irbench stores it, and the hits beside it
runs/<dataset>/<cell>/seed0.txt          the ranking, in the columns of TREC
```
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from irbench.core.errors import UsageError, writing
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scope
from irbench.results import files, hits
from irbench.results.artefacts import Artefacts
from irbench.results.rescore import scored
from irbench.results.schema import Result
from irbench.results.submissions import task
from irbench.results.submissions.submission import FILE, RESULTS, RUNS, TASKS, document
from irbench.results.submissions.submission import made as submission
from irbench.results.trec.entries import run_entries
from irbench.results.trec.trec import TrecFormat
from irbench.runtime.cache import make_folder, sha256, write_atomically
from irbench.runtime.unfinished import leftovers, unfinished


def submit(results: Sequence[Result], artefacts: Artefacts, out: Path, *, who: str, terms: str, page: str = "") -> Path:
    """Write a submission of these results to `out`, a new folder, and return it.

    `who` vouches for it, and `terms` are its licence. Scores are computed again from the rankings. Raises `StoreError`
    where a ranking or the data of a result are not at hand, and `UsageError` for results that are no whole runs and for
    a folder that has something in it.
    """
    _check(results, out)
    unnamed = submission(who, terms, page, {})  # what is wrong with the words is told before anything is written
    for left in leftovers(out):
        shutil.rmtree(left, ignore_errors=True)
    made = unfinished(out)
    try:
        with writing(out, "--out"):
            for result in results:
                _add(result, artefacts, made)
            write_atomically(made / FILE, document(replace(unnamed, files=_hashes(made))))
            made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return out


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _check(results: Sequence[Result], out: Path) -> None:
    if not results:
        raise UsageError("no result to submit: --dataset and --method choose some of --results", code="no-results")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: something is there already; name a new folder", code="not-empty")
    for result in results:
        where = f"{result.dataset.name}, {result.cell}, seed {result.seed}"
        if result.status != "ok":
            raise UsageError(f"{where}: {result.status}, so that there is nothing to submit", code="no-results")
        if result.shortened:
            raise UsageError(f"{where}: a shortened run; submissions are of whole ones", code="partial-result")


def _add(result: Result, artefacts: Artefacts, made: Path) -> None:
    benchmark, ranking = artefacts.benchmark(result), artefacts.ranking(result)
    judged = retrieval.judgements(ranking, benchmark)
    root = made / RESULTS
    stored = hits.save(judged, result.path(root).parent, seed=result.seed)
    whole = replace(result, hits=stored, dataset=replace(result.dataset, path=None))
    files.write(scored(whole, judged, Scope.of(benchmark)), root)
    known = made / TASKS / task_name(result)
    if not known.is_file():
        make_folder(known.parent)
        write_atomically(known, task.pack(benchmark))
    run = run_path(result, made)
    make_folder(run.parent)
    TrecFormat().write_run(run, run_entries(ranking, benchmark), run_tag(result))


def task_name(result: Result) -> str:
    """Return the name of the file with a result's task."""
    return f"{result.dataset.name}-{result.dataset.fingerprint[:16]}.safetensors"


def run_tag(result: Result) -> str:
    """Return what the last column of a result's run says."""
    return f"{result.cell}.seed{result.seed}"


def run_path(result: Result, folder: Path) -> Path:
    """Return where the run of a result is in the folder of a submission."""
    return result.path(folder / RUNS).with_suffix(".txt")
