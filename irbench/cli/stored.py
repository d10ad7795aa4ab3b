"""The commands that exchange rankings with other programs: export and import."""

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
    found, problems = chosen(folder, dataset, None)
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


def chosen(folder: Path, dataset: list[str] | None, seed: list[int] | None) -> "tuple[list[Result], list[str]]":
    """Read the results of these data sets and seeds, all by default; what cannot be read is named."""
    from irbench.data import datasets
    from irbench.results.files import read_all

    names = {datasets.find(path).name for path in dataset or ()}
    found, problems = read_all(folder)
    return [
        result for result in found if (not names or result.dataset.name in names) and (not seed or result.seed in seed)
    ], problems
