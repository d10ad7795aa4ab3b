"""The command line. Each command parses, calls one use case and prints; heavy libraries load only when one runs."""

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from irbench.cli import data as data_commands
from irbench.cli import options as o
from irbench.cli import plot, report, rescore, stored
from irbench.cli.bench import bench_app
from irbench.cli.table import table
from irbench.config import recipes
from irbench.core.errors import IrbenchError, UsageError, check_choice, nearest
from irbench.core.version import VERSION

if TYPE_CHECKING:
    from irbench.core.cell import Cell
    from irbench.experiments.plan import Request
    from irbench.experiments.run import Settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare ways to retrieve images: encoders with a search index, and models that write an identifier.",
)
data_app = typer.Typer(no_args_is_help=True, help="Get data sets, and look at them.")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
data_app.command("fetch")(data_commands.fetch)
data_app.command("verify")(data_commands.verify)
app.add_typer(stored.app)
app.add_typer(plot.app)
app.add_typer(report.app)
app.add_typer(rescore.app)


@app.command()
def run(
    method: o.Methods = None,
    search: o.Searches = None,
    identifier: o.Identifiers = None,
    dataset: o.Datasets = None,
    grid: o.Grid = "quick",
    scale: o.Scale = None,
    seed: o.Seeds = None,
    decode: o.Decode = None,
    rerank: o.Rerank = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    results: o.ResultsIn = Path("runs/results"),
    weights: o.Weights = None,
    timeout: o.Timeout = None,
    executor: o.Executor = "local",
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    on_bad_image: o.OnBadImage = "fail",
    max_queries: o.MaxQueries = None,
    epochs: o.Epochs = None,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    as_json: o.AsJson = False,
) -> None:
    """Run retrievers on data sets; alone, the quick grid on scikit-learn's digits."""
    check_choice("--executor", executor, ("local",))
    from irbench.experiments.plan import cells

    request, settings = _request(locals()), _settings(locals())
    _run(cells(request), settings, force=force, timeout=timeout, dry_run=dry_run, as_json=as_json)


@app.command()
def ablate(
    what: o.Ablation,
    method: o.Methods = None,
    identifier: o.Identifiers = None,
    dataset: o.Datasets = None,
    grid: o.Grid = "quick",
    scale: o.Scale = None,
    seed: o.Seeds = None,
    decode: o.Decode = None,
    rerank: o.Rerank = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    results: o.ResultsIn = Path("runs/results"),
    weights: o.Weights = None,
    timeout: o.Timeout = None,
    executor: o.Executor = "local",
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    on_bad_image: o.OnBadImage = "fail",
    max_queries: o.MaxQueries = None,
    epochs: o.Epochs = None,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    as_json: o.AsJson = False,
) -> None:
    """Run with one thing varied: identifier, length, beam, fresh (images added after training), or index settings."""
    check_choice("--executor", executor, ("local",))
    from irbench.experiments.ablations import ABLATIONS, ablation_cells

    request, settings = _request(locals()), _settings(locals())
    cells = ablation_cells(what, request)
    tables = ABLATIONS[what].tables
    _run(cells, settings, force=force, timeout=timeout, dry_run=dry_run, as_json=as_json, tables=tables)


@app.command()
def query(
    images: Annotated[list[Path], typer.Argument(help="Image files to ask about.", show_default=False)],
    method: Annotated[str, typer.Option("--method", "-m", help="Method, or method+search.")] = "irgen",
    search: o.Searches = None,
    identifier: o.Identifiers = None,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set whose gallery is searched.")] = "digits",
    k: Annotated[int, typer.Option("-k", min=1, help="Answers for each image.")] = 5,
    scale: o.Scale = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the training.")] = 0,
    decode: o.Decode = None,
    rerank: o.Rerank = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    weights: o.Weights = None,
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    on_bad_image: o.OnBadImage = "fail",
    as_json: o.AsJson = False,
) -> None:
    """Ask a trained retriever about images of your own; one that is not trained yet is trained first."""
    from irbench.cli.console import print_answers
    from irbench.experiments.plan import cells
    from irbench.experiments.query import ask
    from irbench.experiments.run import Experiment

    given = {"method": [method], "dataset": [dataset], "seed": [seed], "grid": "quick", "epochs": None}
    request = _request({**locals(), **given, "max_queries": None})
    (cell, *others) = cells(request)
    if others:
        raise UsageError(f"one retriever answers: choose one of {cell.name}, {', '.join(c.name for c in others)}")
    settings = _settings({**locals(), "results": work})
    print_answers(ask(Experiment(cell, settings), images, k), as_json=as_json)


app.command()(table)


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
def show(
    name: Annotated[str, typer.Argument(help="Name of a recipe; or `identifiers`, of a data set: see --dataset.")],
    identifier: o.Identifiers = None,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set whose identifiers are shown.")] = "digits",
    scale: o.Scale = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the training.")] = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    data: o.Data = Path("data"),
    work: o.Work = Path("runs/work"),
    results: o.ResultsOut = None,
    weights: o.Weights = None,
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    on_bad_image: o.OnBadImage = "fail",
    as_json: o.AsJson = False,
) -> None:
    """Print a recipe and the Python file that it drives; or how good the identifiers of a data set are."""
    if name == "identifiers":
        _show_identifiers(locals())
        return
    found = [recipes.find(family, name) for family in recipes.PLURAL if name in recipes.names(family)]
    if not found:
        known = ["identifiers", *(known for family in recipes.PLURAL for known in recipes.names(family))]
        raise UsageError(f"no recipe is called '{name}'{nearest(name, known)} (irbench list shows all)")
    for recipe in found:
        typer.echo(f"{recipe.path}\n{recipe.source}\n\n{recipe.text}")


@data_app.command("list")
def data_list(data: o.Data = Path("data")) -> None:
    """List the data sets, and which of them are here."""
    from irbench.data import datasets

    for name in recipes.names("datasets"):
        here = "here   " if datasets.find(name).is_here(data) else "missing"
        typer.echo(f"{name:<18} {here}  {recipes.find('datasets', name).title}")


@data_app.command("info")
def data_info(
    dataset: o.OneDataset,
    data: o.Data = Path("data"),
    crop: o.Crop = "none",
    protocol: o.Protocol = "closed-set",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print the counts of a data set and the fingerprint of its protocol."""
    from irbench.data import datasets

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


def _show_identifiers(given: Mapping[str, Any]) -> None:
    """Print the health of each kind of identifier; one that is not trained yet is trained first."""
    from irbench.experiments.diagnose import document, examine
    from irbench.experiments.plan import Request, cells
    from irbench.experiments.run import Experiment
    from irbench.report.diagnostics import render
    from irbench.results.files import default_folder

    request = Request(
        methods=("irgen",),
        identifiers=tuple(given["identifier"] or recipes.names("methods/identifier")),
        datasets=(given["dataset"],),
        seeds=(given["seed"],),
        **{key: given[key] for key in ("scale", "crop", "protocol")},
    )
    settings = _settings({**given, "results": given["results"] or default_folder()})
    with _interruptible():
        examined = examine([Experiment(cell, settings) for cell in cells(request)])
    typer.echo(json.dumps(document(examined)) if given["as_json"] else render(examined), nl=given["as_json"])


def _request(given: Mapping[str, Any]) -> "Request":
    """Return what is to be run, from the options of `run` and `ablate`."""
    from irbench.experiments.plan import Request

    changes = {"decode": given["decode"], "rerank": given["rerank"]}
    return Request(
        methods=tuple(given["method"] or ()),
        searches=tuple(given.get("search") or ()),
        identifiers=tuple(given["identifier"] or ()),
        datasets=tuple(given["dataset"] or ()),
        seeds=tuple(given["seed"] or (0,)),
        overrides=tuple((key, value) for key, value in changes.items() if value is not None),
        **{key: given[key] for key in ("grid", "scale", "crop", "protocol", "epochs", "max_queries")},
    )


def _settings(given: Mapping[str, Any]) -> "Settings":
    """Return where and how it is run, from the options of a command."""
    from irbench.experiments.run import Settings

    return Settings(**{field.name: given[field.name] for field in fields(Settings) if field.name in given})


def _run(
    cells: "Sequence[Cell]",
    settings: "Settings",
    *,
    force: bool,
    timeout: float | None,
    dry_run: bool,
    as_json: bool,
    tables: Sequence[str] = ("precision",),
) -> NoReturn:
    """Run the cells that are due, print their tables, and leave with the worst of their exit codes."""
    from irbench.cli.console import Console, conclude
    from irbench.experiments import plan
    from irbench.experiments.run import Experiment

    experiments = [Experiment(cell, settings) for cell in cells]
    with _interruptible():
        outcomes = plan.run(experiments, Console(), force=force, timeout=timeout, dry_run=dry_run)
    conclude(experiments, outcomes, tables=tables, as_json=as_json)
    raise typer.Exit(max((outcome.exit_code for outcome in outcomes.values()), default=0))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"irbench {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of irbench itself."""


def _titles(family: str) -> dict[str, str]:
    return {name: recipes.find(family, name).title for name in recipes.names(family)}


def _metrics() -> dict[str, str]:
    from irbench.results.rescore import known_metrics

    return {metric.name + ("@K" if metric.at_k else ""): metric.formula for metric in known_metrics().values()}


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
