"""The commands that exchange rankings with other programs: export and import."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import chosen
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.core.benchmark import Benchmark

app = typer.Typer()


@app.command("export")
def export_(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)],
    format: Annotated[
        str, typer.Option("--format", help="trec or parquet.", autocompletion=o.one_of("trec", "parquet"))
    ] = "trec",
    dataset: o.Datasets = None,
    results: o.ResultsOut = None,
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
) -> None:
    """Write stored rankings as run and qrels files, for trec_eval, ir-measures, ranx and others."""
    from irbench.results.artefacts import Artefacts
    from irbench.results.place import default_folder
    from irbench.results.trec.export import export

    folder = results or default_folder()
    stored, places = chosen(folder, dataset or ())
    if not stored.results:
        raise UsageError(
            f"{folder} has no results{' of ' + ', '.join(dataset) if dataset else ''} to export", code="no-results"
        )
    failed = sum(result.status != "ok" for result in stored.results)
    if failed == len(stored.results):
        raise UsageError(
            f"{folder} has nothing to export: none of its {failed} results is of a cell that succeeded",
            code="no-results",
        )
    done = export(stored.results, Artefacts(folder, work, data, places, stored.judge), out, format=format)
    for path in done.files:
        typer.echo(path)
    if failed:
        typer.echo(f"irbench: left out, being of cells that did not succeed: {failed} results", err=True)
    for problem in (*stored.problems, *done.problems):
        typer.echo(f"irbench: {problem}", err=True)
    typer.echo(
        "map@K divides by min(n, K); trec_eval's map_cut and ir-measures' AP@K divide by n, all positives", err=True
    )
    raise typer.Exit(1 if stored.problems or done.problems else 0)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The options of `irbench import`."""

    run: Annotated[Path, typer.Argument(help="Run file: TREC, or .csv, .parquet with query_id, doc_id, score.")]
    method: Annotated[str, typer.Option("--method", "-m", help="Name for its method.", show_default=False)]
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="Data set whose queries it is about.", autocompletion=o.names_of("datasets")
        ),
    ]
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0
    format: Annotated[
        str,
        typer.Option(
            "--format", help="auto, trec, csv or parquet.", autocompletion=o.one_of("auto", "trec", "csv", "parquet")
        ),
    ] = "auto"
    crop: o.Crop = None
    protocol: o.Protocol = None
    on_bad_image: o.OnBadImage = "fail"
    force: Annotated[bool, typer.Option("--force", help="Replace the result of another run file under this name.")] = (
        False
    )
    data: o.Data = Path("data")
    work: o.Work = Path("runs/work")
    results: o.ResultsIn = Path("runs/results")


@app.command("import")
@o.command(ImportOptions)
def import_(options: ImportOptions) -> None:
    """Score a run file of another program; its method then appears in the same tables."""
    from irbench.core.cell import Cell
    from irbench.results.trec.foreign import import_run

    check_choice("--on-bad-image", options.on_bad_image, ("fail", "skip"))
    benchmark, left_out = _asked(options)
    cell = Cell(
        method=options.method,
        dataset=benchmark.name,
        scale="unknown",
        default_scale="unknown",
        seed=options.seed,
        crop=benchmark.crop,
        protocol=benchmark.protocol,
        origin="imported",
    )
    done = import_run(
        options.run,
        benchmark,
        cell,
        format=options.format,
        work=options.work,
        root=options.results,
        left_out=left_out,
        force=options.force,
    )
    for note in done.notes:
        typer.echo(note, err=True)
    shown = {name: one.mean for name, one in done.result.metrics.items() if name.startswith(("precision@", "map@"))}
    means = ", ".join(f"{name} {100 * mean:.1f}" for name, mean in shown.items() if mean is not None)
    typer.echo(f"{done.result.cell} on {benchmark.name}, seed {options.seed}: {means}", err=True)
    typer.echo(done.path)


def _asked(options: ImportOptions) -> "tuple[Benchmark, set[str]]":
    """Return the benchmark that a run file is about, and the ids of the unreadable images that it is without."""
    from irbench.data import datasets
    from irbench.data.pixels import drop_unreadable
    from irbench.results import own
    from irbench.runtime.cache import Store

    benchmark = datasets.load(
        datasets.placed(own.located(options.dataset, options.results), options.work),
        data=options.data,
        crop=options.crop,
        protocol=options.protocol,
        files_must_exist=False,
        store=Store(options.work),
    )
    left_out: dict[str, list[str]] = {}
    if options.on_bad_image == "skip":
        benchmark, left_out = drop_unreadable(benchmark, Store(options.work))
    if benchmark.collection is not None:
        benchmark = replace(benchmark, name=own.name_of(benchmark, options.results))
    return benchmark, {id_ for ids in left_out.values() for id_ in ids}
