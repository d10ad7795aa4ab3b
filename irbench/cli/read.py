"""Shared by the commands about stored results: reading them, and the names of their data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from irbench.core.errors import UsageError
from irbench.results.place import default_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irbench.results.hits import Reader
    from irbench.results.schema import Result


class Stored(NamedTuple):
    """The results of a folder, each file of which was read once."""

    folder: Path
    results: "list[Result]"
    problems: list[str]  # what cannot be read
    judge: "Reader"  # has the hits of these results
    clean: bool = False  # was there nothing to report about them?


def read_results(named: Path | None) -> Stored:
    """Read the named folder, or the default one; report on standard error which it is and what cannot be read.

    The results have today's scores; the files stay as they are.
    """
    from irbench.results.files import read_all
    from irbench.results.hits import Reader
    from irbench.results.rescore import rescore

    folder = named or default_folder()
    found, problems = read_all(folder)
    judge = Reader(folder)
    problems = [*problems, *judge.damaged(found)]
    if found:
        say_folder(folder)
    for problem in problems:
        typer.echo(f"irbench: {problem}", err=True)
    done = rescore(found, judge)
    due = bool(done.changed or done.problems)
    if due:
        typer.echo(_about_scores(len(done.changed), len(done.problems)), err=True)
    return Stored(folder, list(done.results), problems, judge, clean=not (problems or due))


def say_folder(folder: Path) -> None:
    """Report on standard error where the results are that are shown."""
    typer.echo(f"results from {folder}", err=True)


def refuse_none(folder: Path, results: "Sequence[Result]") -> None:
    """Raise `UsageError` where there is nothing to show."""
    if not results:
        raise UsageError(f"no results in {folder}: irbench run makes some, see --results", code="no-results")


def _about_scores(recomputed: int, old: int) -> str:
    more = f"; {old} without stored hits show the scores of older code (irbench rescore)" if old else ""
    return f"scores recomputed for this output, of {recomputed} result(s), by metrics that have changed since{more}"


Places = tuple[tuple[str, str], ...]  # names of data sets of one's own, and the paths that were given for them


def known_names(names: "Sequence[str]", results: "Sequence[Result]", folder: Path) -> tuple[tuple[str, ...], Places]:
    """Return the names of the data sets as results have them, and the paths among what was given."""
    from irbench.data.datasets import find, is_path
    from irbench.report.table import name_of
    from irbench.results import own

    shown = {name_of(result.dataset) for result in results} - {result.dataset.name for result in results}
    found = own.named([one for one in names if one not in shown], results, folder)
    places = tuple((name, path) for name, path in found.items() if path is not None)
    for name, path in found.items():  # no name is guessed in silence
        if path is not None and name != find(path).name:
            typer.echo(f"{path} is '{name}' in {folder}", err=True)
        elif path is None and is_path(name):
            typer.echo(f"irbench: results of '{name}' in {folder} are not about the images in ./{name} now", err=True)
    return (*(one for one in names if one in shown), *found), places


def chosen(folder: Path, names: "Sequence[str]", seeds: "Sequence[int]" = ()) -> tuple[Stored, Places]:
    """Read the results of these data sets and seeds, all by default, and say which paths are among the names."""
    from irbench.results.files import read_all
    from irbench.results.hits import Reader

    found, problems = read_all(folder)
    wanted, places = known_names(names, found, folder)
    kept = [
        result
        for result in found
        if (not names or result.dataset.name in wanted) and (not seeds or result.seed in seeds)
    ]
    judge = Reader(folder)
    return Stored(folder, kept, [*problems, *judge.damaged(kept)], judge), places
