"""Shared by the commands about stored results: reading them, and the names of their data sets."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from irbench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from irbench.results.schema import Result


def read_results(named: Path | None) -> "tuple[Path, list[Result], list[str]]":
    """Read the named folder, or the default one; report on standard error which it is and what cannot be read.

    Returns the folder, the results with today's scores (the files stay as they are), and what cannot be read.
    """
    from irbench.results import hits
    from irbench.results.files import default_folder, read_all
    from irbench.results.rescore import rescore

    folder = named or default_folder()
    found, problems = read_all(folder)
    if found:
        typer.echo(f"results from {folder}", err=True)
    for problem in problems:
        typer.echo(f"irbench: {problem}", err=True)
    done = rescore(found, hits.reader(folder))
    if done.changed or done.problems:
        typer.echo(_about_scores(len(done.changed), len(done.problems)), err=True)
    return folder, list(done.results), problems


def refuse_none(folder: Path, results: "Sequence[Result]") -> None:
    """Raise `UsageError` where there is nothing to show."""
    if not results:
        raise UsageError(f"no results in {folder}: irbench run makes some, see --results", code="no-results")


def _about_scores(recomputed: int, old: int) -> str:
    more = f"; {old} without stored hits show the scores of older code (irbench rescore)" if old else ""
    return f"scores recomputed for this output, of {recomputed} result(s), by metrics that have changed since{more}"


def known_names(names: "Sequence[str]", results: "Sequence[Result]") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the data sets as results have them, and which of them are paths of one's own data."""
    from irbench.data import datasets
    from irbench.report.table import name_of

    known = {name_of(result.dataset) for result in results}
    found = {one: one if one in known else datasets.find(one).name for one in names}
    return tuple(found.values()), tuple(one for one, name in found.items() if one != name)
