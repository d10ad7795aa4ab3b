"""The commands that work on stored results: export their rankings, import others', check them against a baseline."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.core.errors import UsageError

if TYPE_CHECKING:
    from irbench.results.schema import Result

app = typer.Typer()


@app.command("export")
def export_(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)],
    format: Annotated[str, typer.Option("--format", help="trec or parquet.")] = "trec",
    dataset: o.Datasets = None,
    results: o.ResultsOut = None,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
) -> None:
    """Write stored rankings as run and qrels files, for trec_eval, ir-measures, ranx and others."""
    from irbench.results.artefacts import Artefacts
    from irbench.results.files import default_folder
    from irbench.results.trec.export import export

    folder = results or default_folder()
    found, problems = _chosen(folder, dataset, None)
    if not found:
        raise UsageError(
            f"{folder} has no results{' of ' + ', '.join(dataset) if dataset else ''} to export", code="no-results"
        )
    done = export(found, Artefacts(folder, work, data, tuple(dataset or ())), out, format=format)
    for path in done.files:
        typer.echo(path)
    for problem in (*problems, *done.problems):
        typer.echo(f"irbench: {problem}", err=True)
    typer.echo(
        "map@K divides by min(n, K); trec_eval's map_cut and ir-measures' AP@K divide by n, all positives", err=True
    )
    raise typer.Exit(1 if problems or done.problems else 0)


@app.command("import")
def import_(
    run: Annotated[Path, typer.Argument(help="Run file: TREC, or .csv, .parquet with query_id, doc_id, score.")],
    method: Annotated[str, typer.Option("--method", "-m", help="Name for its method.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="Data set whose queries it is about.", autocompletion=o.names_of("datasets")
        ),
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0,
    format: Annotated[str, typer.Option("--format", help="auto, trec, csv or parquet.")] = "auto",
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    results: o.ResultsIn = Path("runs/results"),
) -> None:
    """Score a run file of another program; its method then appears in the same tables."""
    from irbench.core.cell import Cell
    from irbench.data import datasets
    from irbench.results.trec.foreign import import_run

    benchmark = datasets.load(dataset, data=data, crop=crop, protocol=protocol, files_must_exist=False)
    cell = Cell(
        method=method,
        dataset=benchmark.name,
        scale="unknown",
        default_scale="unknown",
        seed=seed,
        crop=crop,
        protocol=protocol,
        origin="imported",
    )
    done = import_run(run, benchmark, cell, format=format, work=work, root=results)
    for note in done.notes:
        typer.echo(note, err=True)
    shown = {name: one.mean for name, one in done.result.metrics.items() if name.startswith(("precision@", "map@"))}
    means = ", ".join(f"{name} {100 * mean:.1f}" for name, mean in shown.items() if mean is not None)
    typer.echo(f"{done.result.cell} on {benchmark.name}, seed {seed}: {means}", err=True)
    typer.echo(done.path)


@app.command()
def check(
    results: Annotated[
        Path, typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder of the new results.")
    ] = Path("runs/results"),
    baseline: Annotated[Path, typer.Option("--baseline", help="Folder of results to compare with.")] = Path("results"),
    dataset: o.Datasets = None,
    seed: o.Seeds = None,
    floor: Annotated[
        float, typer.Option("--floor", min=0, help="Smallest difference (percentage points) reported as a change.")
    ] = 0.5,
    slower: Annotated[float, typer.Option("--slower", min=1, help="Tolerated ratio of query times.")] = 2.0,
    complete: Annotated[
        bool, typer.Option("--complete", help="Also fail if a cell or seed of the baseline was not run again.")
    ] = False,
    update: Annotated[bool, typer.Option("--update", help="Then store the new results in the baseline.")] = False,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    as_json: o.AsJson = False,
) -> None:
    """Regression check: compare results with a baseline, query by query; exits with status 1 if anything got worse."""
    from irbench.report import regression as show
    from irbench.results.artefacts import Artefacts
    from irbench.results.regression.baseline import recover
    from irbench.results.regression.baseline import update as store
    from irbench.results.regression.compare import compare, passes
    from irbench.results.regression.limits import Limits
    from irbench.results.regression.pairs import pair_up

    recover(baseline)
    made, broken = _chosen(results, dataset, seed)
    known, damaged = _chosen(baseline, dataset, seed)
    if not made:
        raise UsageError(f"no results in {results} to check; irbench run makes some, see --results", code="no-results")
    if not known and not update:
        raise UsageError(f"no results in {baseline} to compare with; see --baseline, --update", code="no-results")
    old, new = (Artefacts(folder, work, data, tuple(dataset or ())) for folder in (baseline, results))
    limits = Limits(floor=floor / 100, slower=slower)
    compared = compare(pair_up(known, made), old, new, limits)
    passed = passes(compared, complete=complete) and not broken and not damaged
    width, color = shutil.get_terminal_size((110, 24)).columns, sys.stdout.isatty()
    text = show.as_json(compared, limits, passed=passed) if as_json else None
    typer.echo(text or show.as_text(compared, limits, width=width, color=color), nl=False)
    for problem in (*broken, *damaged):
        typer.echo(f"irbench: {problem}", err=True)
    if update:
        typer.echo(f"{store(made, new, baseline)} results are now the baseline in {baseline}", err=True)
    raise typer.Exit(0 if passed or update else 1)


def _chosen(folder: Path, dataset: list[str] | None, seed: list[int] | None) -> "tuple[list[Result], list[str]]":
    """Read the results of these data sets and seeds, all by default; what cannot be read is named."""
    from irbench.data import datasets
    from irbench.results.files import read_all

    names = {datasets.find(path).name for path in dataset or ()}
    found, problems = read_all(folder)
    return [
        result for result in found if (not names or result.dataset.name in names) and (not seed or result.seed in seed)
    ], problems
