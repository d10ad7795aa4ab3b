"""The command line. Each command parses, calls one use case and prints; heavy libraries load only when one runs."""

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from irbench import __version__, recipes
from irbench.errors import IrbenchError, UsageError, check_choice, nearest

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare ways to retrieve images: encoders with a search index, and models that write an identifier.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data sets.")
app.add_typer(data_app, name="data")


def names_of(family: str) -> Callable[[], list[str]]:
    """Return a function that lists recipes, for shell completion."""
    return lambda: recipes.names(family)


Methods = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", help="Method, or method+search.", autocompletion=names_of("methods")),
]
Searches = Annotated[
    list[str] | None,
    typer.Option("--search", help="Search index.", autocompletion=names_of("methods/search")),
]
Identifiers = Annotated[
    list[str] | None,
    typer.Option("--identifier", help="Kind of identifier.", autocompletion=names_of("methods/identifier")),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", "-d", help="Data set, or the path of a folder or CSV.", autocompletion=names_of("datasets")
    ),
]
OneDataset = Annotated[str, typer.Argument(help="Data set, or a path.", autocompletion=names_of("datasets"))]
Data = Annotated[Path, typer.Option("--data", envvar="IRBENCH_DATA", help="Folder of the data sets.")]
Work = Annotated[Path, typer.Option("--work", envvar="IRBENCH_WORK", help="Folder for models, vectors and rankings.")]
ResultsIn = Annotated[Path, typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder to write results to.")]
ResultsOut = Annotated[
    Path | None,
    typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder of results; runs/results, else results."),
]
Crop = Annotated[str, typer.Option("--crop", help="none, or bbox: see only the bounding box.")]
Protocol = Annotated[str, typer.Option("--protocol", help="closed-set, or metric-learning: classes never trained on.")]


@app.command()
def run(
    method: Methods = None,
    search: Searches = None,
    identifier: Identifiers = None,
    dataset: Datasets = None,
    grid: Annotated[str, typer.Option(help="quick, full or paper; what --method leaves open.")] = "quick",
    scale: Annotated[str | None, typer.Option(help="tiny, small or paper; the data set's own by default.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Seed; several for several runs.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    data: Data = Path("data"),
    work: Work = Path("runs/work"),
    results: ResultsIn = Path("runs/results"),
    weights: Annotated[Path | None, typer.Option(help="File of pretrained weights (.safetensors).")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds that one cell may take.")] = None,
    executor: Annotated[str, typer.Option(help="local.")] = "local",
    crop: Crop = "none",
    protocol: Protocol = "closed-set",
    on_bad_image: Annotated[str, typer.Option(help="fail, or skip: leave unreadable images out.")] = "fail",
    max_queries: Annotated[int | None, typer.Option(min=1, help="Ask only so many queries (stamped).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train only so many epochs (stamped).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is stored.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run retrievers on data sets; alone, the quick grid on scikit-learn's digits."""
    check_choice("--executor", executor, ("local",))
    from irbench import grid as grids
    from irbench.console import Console, conclude
    from irbench.experiment import Experiment, Settings

    request = grids.Request(
        methods=tuple(method or ()),
        searches=tuple(search or ()),
        identifiers=tuple(identifier or ()),
        datasets=tuple(dataset or ()),
        seeds=tuple(seed or (0,)),
        grid=grid,
        scale=scale,
        crop=crop,
        protocol=protocol,
        epochs=epochs,
        max_queries=max_queries,
    )
    settings = Settings(
        data=data,
        work=work,
        results=results,
        device=device,
        precision=precision,
        weights=weights,
        on_bad_image=on_bad_image,
    )
    experiments = [Experiment(cell, settings) for cell in grids.cells(request)]
    with _interruptible():
        outcomes = grids.run(experiments, Console(), force=force, timeout=timeout, dry_run=dry_run)
    conclude(experiments, outcomes, as_json=as_json)
    raise typer.Exit(max((outcome.exit_code for outcome in outcomes.values()), default=0))


@app.command()
def table(
    metric: Annotated[str, typer.Option(help="precision, recall, mrr, map … latency, footprint.")] = "precision",
    dataset: Datasets = None,
    format: Annotated[str, typer.Option(help="text, markdown, latex, csv or json.")] = "text",
    paper: Annotated[bool, typer.Option("--paper/--no-paper", help="Beside the paper's numbers.")] = True,
    shortened: Annotated[bool, typer.Option("--shortened", help="Also shortened runs.")] = False,
    results: ResultsOut = None,
) -> None:
    """Print a table of stored results."""
    from irbench.report.render import render
    from irbench.report.table import table as make

    stored, sound = _stored(results)
    made = make(stored, metric, datasets=tuple(dataset or ()), paper=paper, include_shortened=shortened)
    typer.echo(render(made, format, width=_width(), color=sys.stdout.isatty()), nl=False)
    raise typer.Exit(0 if sound else 1)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="methods, searchers, identifiers, datasets or metrics.")] = "methods",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List what can be run, and what is measured."""
    families = {**{plural: family for family, plural in recipes.PLURAL.items()}, "metrics": None}
    check_choice("kind", kind, families)
    rows = _metrics() if kind == "metrics" else _titles(families[kind] or "")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    width = max(map(len, rows), default=0)
    for name, title in rows.items():
        typer.echo(f"{name:<{width}}  {title}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a recipe.")]) -> None:
    """Print a recipe, and say which Python file it drives."""
    found = [recipes.find(family, name) for family in recipes.PLURAL if name in recipes.names(family)]
    if not found:
        known = [known for family in recipes.PLURAL for known in recipes.names(family)]
        raise UsageError(f"no recipe is called '{name}'{nearest(name, known)} (irbench list shows all)")
    for recipe in found:
        typer.echo(f"{recipe.path}\n{recipe.source}\n\n{recipe.text}")


@data_app.command("list")
def data_list(data: Data = Path("data")) -> None:
    """List the data sets, and which of them are here."""
    from irbench import datasets

    for name in recipes.names("datasets"):
        here = "here   " if datasets.find(name).is_here(data) else "missing"
        typer.echo(f"{name:<18} {here}  {recipes.find('datasets', name).title}")


@data_app.command("info")
def data_info(
    dataset: OneDataset,
    data: Data = Path("data"),
    crop: Crop = "none",
    protocol: Protocol = "closed-set",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the counts of a data set and the fingerprint of its protocol."""
    from irbench import datasets

    facts = datasets.summary(datasets.load(dataset, data=data, crop=crop, protocol=protocol, files_must_exist=False))
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name.replace('_', ' '):<26} {text}")


def main() -> None:
    """Run the command line; an error for the user is one message and status 2."""
    try:
        app(prog_name="irbench")
    except IrbenchError as error:
        typer.echo(f"irbench: {error}", err=True)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"irbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of irbench itself."""


def _stored(folder: Path | None) -> tuple[list[Any], bool]:
    """Read the results to show, saying from where; also whether all of them could be read."""
    from irbench.results import read_all

    usual = (Path("runs/results"), Path("results"))
    folder = folder or next((f for f in usual if any(f.glob("*/*/seed*.json"))), usual[0])
    found, problems = read_all(folder)
    typer.echo(f"results from {folder}" if found else f"no results in {folder} yet: irbench run makes some", err=True)
    for problem in problems:
        typer.echo(f"irbench: {problem}", err=True)
    return found, not problems


def _titles(family: str) -> dict[str, str]:
    return {name: recipes.find(family, name).title for name in recipes.names(family)}


def _metrics() -> dict[str, str]:
    from irbench.metrics import METRICS

    return {metric.name + ("@K" if metric.at_k else ""): metric.formula for metric in METRICS.values()}


def _width() -> int:
    return shutil.get_terminal_size((110, 24)).columns


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end a run the way Ctrl-C does: what is finished stays, and the same command goes on from there."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; what is finished is stored, and the same command goes on from here", err=True)
        raise typer.Exit(130) from None
