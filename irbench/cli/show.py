"""`irbench list` and `irbench show`: what can be run, what is measured, and what stands in a recipe."""

import json
from dataclasses import dataclass
from typing import Annotated

import typer

from irbench.cli import options as o
from irbench.cli.run import interruptible
from irbench.config import recipes
from irbench.core.errors import RecipeError, UsageError, check_choice, nearest

app = typer.Typer()


@app.command("list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            help="methods, searchers, identifiers, datasets or metrics.",
            autocompletion=o.one_of(*recipes.PLURAL.values(), "metrics"),
        ),
    ] = "methods",
    as_json: o.AsJson = False,
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


def _shown_names() -> list[str]:
    """Return what `irbench show` knows."""
    return ["identifiers", *(known for family in recipes.PLURAL for known in recipes.names(family))]


@dataclass(frozen=True, kw_only=True)
class ShowOptions(o.MachineOptions, o.ProtocolOptions):
    """The options of `irbench show`."""

    name: Annotated[
        str,
        typer.Argument(
            help="A recipe's name; or `identifiers`, see --dataset.", show_default=False, autocompletion=_shown_names
        ),
    ]
    identifier: Annotated[
        list[str] | None,
        typer.Option(
            "--identifier",
            help="Kind of identifier; all by default; repeatable.",
            autocompletion=o.names_of("methods/identifier"),
        ),
    ] = None
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            "-d",
            help="Data set whose identifiers are shown.",
            autocompletion=o.names_of("datasets"),
        ),
    ] = "digits"
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the training.")] = 0
    results: o.ResultsOut = None
    as_json: o.AsJson = False


@app.command()
@o.command(ShowOptions)
def show(options: ShowOptions) -> None:
    """Print a recipe and the Python file that it configures; or the diagnostics of a data set's identifiers."""
    if options.name == "identifiers":
        _show_identifiers(options)
        return
    found = [recipes.find(family, options.name) for family in recipes.PLURAL if options.name in recipes.names(family)]
    if not found:
        raise UsageError(
            f"no recipe is called '{options.name}'{nearest(options.name, _shown_names())} (irbench list shows all)",
            code="unknown-name",
        )
    for recipe in found:
        typer.echo(f"{recipe.path}\n{recipe.source}\n\n{recipe.text}")


def _show_identifiers(options: ShowOptions) -> None:
    """Print the diagnostics of each kind of identifier; one that is not trained yet is trained first."""
    from irbench.experiments.diagnose import document, examine
    from irbench.experiments.plan import Request, experiments
    from irbench.report.diagnostics import render
    from irbench.results.place import default_folder

    request = Request(
        methods=("irgen",),
        identifiers=tuple(options.identifier or recipes.names("methods/identifier")),
        datasets=(options.dataset,),
        seeds=(options.seed,),
        scale=options.scale,
        crop=options.crop,
        protocol=options.protocol,
    )
    results = options.results or default_folder()
    with interruptible():
        examined = examine(experiments(request, options.settings(results)))
    typer.echo(json.dumps(document(examined)) if options.as_json else render(examined), nl=options.as_json)


def _titles(family: str) -> dict[str, str]:
    return {name: _title(family, name) for name in recipes.names(family)}


def _title(family: str, name: str) -> str:
    """Return the title of a recipe, or why it cannot be read: a broken draft does not hide the others."""
    try:
        return recipes.find(family, name).title
    except RecipeError as error:
        return f"broken: {error}"


def _metrics() -> dict[str, str]:
    from irbench.results.rescore import known_metrics

    return {metric.name + ("@K" if metric.at_k else ""): metric.formula for metric in known_metrics().values()}
