"""Shell completion: every option with a closed set of values completes them, and no other ones."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import pytest
import typer
from typer.models import ParameterInfo

from irbench.cli import plot
from irbench.cli.main import app
from irbench.config import recipes
from irbench.data import datasets
from irbench.experiments.ablations import ABLATIONS
from irbench.experiments.plan import GRIDS
from irbench.metrics.own import BUILT_IN, COSTS
from irbench.report import figures
from irbench.report.numbered import NUMBERS
from irbench.report.render import FORMATS
from irbench.results.trec import export, foreign
from irbench.runtime.machine import DEVICES, PRECISIONS

FREE = {("import", "method"), ("run", "name"), ("ablate", "name")}  # names that the user gives
WORD = "[a-z0-9][a-z0-9_-]*"
LISTED = re.compile(rf"(?:{WORD}, )+{WORD}|{WORD}(?:, {WORD})*,? or {WORD}")  # "auto, cpu or cuda", "fail, or skip"
KNOWN = {  # what the commands themselves accept
    "crop": datasets.CROPS,
    "protocol": {one for name in recipes.names("datasets") for one in datasets.find(name).head.protocols},
    "on_bad_image": ("fail", "skip"),
    "device": DEVICES,
    "precision": PRECISIONS,
    "scale": recipes.SCALES,
    "grid": GRIDS,
    "what": ABLATIONS,
    "by": figures.BY,
    "table": (*NUMBERS, "all"),
    "undecided": ("fail", "pass"),
    "skipped": ("fail", "pass"),
    "metric": (*BUILT_IN, *COSTS),
    "search": recipes.names("methods/search"),
    "identifier": recipes.names("methods/identifier"),
    "dataset": recipes.names("datasets"),
    "method": recipes.names("methods"),
    ("plot", "kind"): plot._KINDS,
    ("table", "format"): FORMATS,
    ("export", "format"): export.FORMATS,
    ("import", "format"): foreign.FORMATS,
    **{(f"bench {name}", "precision"): ("fp32", "bf16", "both") for name in ("beam", "encode", "training")},
    ("bench crossover", "precision"): ("fp32", "bf16"),
}


@dataclass(frozen=True)
class Parameter:
    """An option or argument of a command that takes a text."""

    command: str
    name: str
    info: ParameterInfo

    @property
    def words(self) -> list[str] | None:
        return None if self.info.autocompletion is None else self.info.autocompletion()

    @property
    def listed(self) -> list[str]:
        """The values that the help lists, if it begins with a list of them."""
        clause = re.split("[:;.]", re.sub(r" ?\([^)]*\)| …", "", self.info.help or ""))[0]
        return re.split(", or |, | or ", clause.replace(" and ", ", ")) if LISTED.fullmatch(clause) else []


def commands(group: typer.Typer, *path: str) -> Iterator[tuple[str, Callable]]:
    for one in group.registered_commands:
        yield " ".join((*path, one.name or one.callback.__name__)), one.callback
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, *path, *([inner.name] if isinstance(inner.name, str) else []))


def parameters() -> list[Parameter]:
    return [
        Parameter(command, name, one.annotation.__metadata__[0])
        for command, function in commands(app)
        for name, one in inspect.signature(function).parameters.items()
        if "str" in str(one.annotation.__origin__)
    ]


def test_every_command_is_walked() -> None:
    found = {one.command for one in parameters()}
    assert found >= {"run", "table", "data info", "bench search", "list", "plot", "check", "import"}
    assert len([one for one in parameters() if one.listed]) > 40


def test_a_closed_set_of_values_is_completed() -> None:
    completed = {one.name for one in parameters() if one.words is not None}
    for one in parameters():
        place = one.command, one.name
        if (one.name in completed or one.listed) and place not in FREE:
            assert one.words is not None, place
            assert set(one.listed) <= set(one.words), place


@pytest.mark.parametrize("one", [one for one in parameters() if one.words is not None], ids=lambda one: one.command)
def test_what_is_completed_is_what_is_accepted(one: Parameter) -> None:
    known: Collection[str] = KNOWN.get((one.command, one.name), KNOWN.get(one.name, one.listed))
    if one.command != "show" or one.name != "name":
        assert sorted(one.words) == sorted(known)
    else:
        assert {"identifiers", "irgen", "scann", "digits", "semantic"} <= set(one.words)
