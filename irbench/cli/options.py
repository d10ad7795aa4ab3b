"""The options that commands share: one frozen dataclass for each group, read by Typer and passed on as a value.

An option is written once, with its flag, its default and its help. A command takes one value of such a class (see
`command`), so that an argument can be followed by its name from the command line to the cell that it decides.
"""

import inspect
import shlex
import tomllib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from irbench.config import recipes
from irbench.core.cell import Overrides, Value
from irbench.core.errors import RecipeError, UsageError

if TYPE_CHECKING:
    from irbench.experiments.plan import Request
    from irbench.experiments.settings import Settings

O = TypeVar("O")  # noqa: E741 -- the class of a command's options


def names_of(family: str) -> Callable[[], list[str]]:
    """Return a function that lists recipes, for shell completion."""
    return lambda: recipes.names(family)


def one_of(*words: str) -> Callable[[], list[str]]:
    """Return a function that lists these words, for shell completion."""
    return lambda: list(words)


def protocols() -> list[str]:
    """List the protocols of all data sets, for shell completion."""
    from irbench.data.datasets import Head

    found: dict[str, None] = {}
    for name in recipes.names("datasets"):
        with suppress(RecipeError):  # a broken draft
            found |= dict.fromkeys(recipes.find("datasets", name).head(Head).protocols)
    return list(found)


Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        help="Data set, the path of a folder or CSV file, or hf:OWNER/NAME@COMMIT.",
        autocompletion=names_of("datasets"),
    ),
]
OneDataset = Annotated[str, typer.Argument(help="Data set, or a path.", autocompletion=names_of("datasets"))]
Data = Annotated[Path, typer.Option("--data", envvar="IRBENCH_DATA", help="Folder that holds the data sets.")]
Work = Annotated[
    Path, typer.Option("--work", envvar="IRBENCH_WORK", help="Folder for cached images, models, vectors and rankings.")
]
ResultsIn = Annotated[Path, typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder to write results to.")]
ResultsOut = Annotated[
    Path | None,
    typer.Option("--results", envvar="IRBENCH_RESULTS", help="Folder of results; by default runs/results or results."),
]
Seeds = Annotated[list[int] | None, typer.Option("--seed", min=0, help="Random seed; repeat for several runs.")]
Crop = Annotated[
    str | None,
    typer.Option(
        "--crop",
        help="none, or bbox: crop images to their bounding boxes; default: as the data set is published.",
        autocompletion=one_of("none", "bbox"),
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="closed-set, or metric-learning: query classes are not seen in training; or one of the data set's own "
        "(irbench show DATASET), by default its first.",
        autocompletion=protocols,
    ),
]
Weights = Annotated[
    list[Path] | None,
    typer.Option(
        "--weights",
        help="File of pretrained weights (.safetensors), or a folder of them, each named after its backbone; "
        "repeatable. Default: what is installed, or the hub's.",
    ),
]
OnBadImage = Annotated[
    str,
    typer.Option(
        "--on-bad-image",
        help="fail, or skip: leave unreadable images out and count them.",
        autocompletion=one_of("fail", "skip"),
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu or cuda.", autocompletion=one_of("auto", "cpu", "cuda"))
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Where and in which arithmetic is computed."""

    device: Device = "auto"
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="auto (fp32 on a CPU, bf16 on a GPU), fp32 or bf16.",
            autocompletion=one_of("auto", "fp32", "bf16"),
        ),
    ] = "auto"
    weights: Weights = None
    data: Data = Path("data")
    work: Work = Path("runs/work")
    on_bad_image: OnBadImage = "fail"
    pixel_cache: Annotated[
        float | None,
        typer.Option(
            "--pixel-cache",
            min=0,
            help="Most GB of decoded images in the work folder; where there is no room, images are decoded whenever "
            "they are needed. Default: half of what is free.",
        ),
    ] = None

    def settings(self, results: Path) -> "Settings":
        """Return where and how cells are run."""
        from irbench.experiments.settings import Settings

        shared = {one.name: getattr(self, one.name) for one in fields(MachineOptions)}
        shared["weights"] = tuple(self.weights or ())
        return Settings(results=results, **shared)


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """At which scale and under which protocol is evaluated."""

    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            help="tiny, small, mobile or paper: size of the networks; default: the data set's own.",
            autocompletion=one_of(*recipes.SCALES),
        ),
    ] = None
    crop: Crop = None
    protocol: Protocol = None


@dataclass(frozen=True, kw_only=True)
class OverrideOptions:
    """Recipe keys that are set to another value."""

    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the recipes (irbench show NAME); repeatable."),
    ] = None
    beam_size: Annotated[
        int | None,
        typer.Option("--beam-size", min=1, help="Beams (irgen); by default as many as results are asked for."),
    ] = None
    decode: Annotated[
        str | None,
        typer.Option(
            "--decode",
            help="beam (beam search) or exact (exact top-K decoding); irgen.",
            autocompletion=one_of("beam", "exact"),
        ),
    ] = None
    rerank: Annotated[
        int | None, typer.Option("--rerank", min=0, help="Rerank the first N results by feature distance; irgen.")
    ] = None

    def pairs(self) -> Overrides:
        """Return the keys and values, those with an option of their own included."""
        named = {"beam_size": self.beam_size, "decode": self.decode, "rerank": self.rerank}
        own = tuple((key, value) for key, value in named.items() if value is not None)
        return tuple(dict((*map(parse_override, self.overrides or ()), *own)).items())


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Which methods are run."""

    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="Method, method+search, mteb:MODEL, or a Python file with one; repeatable.",
            autocompletion=names_of("methods"),
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """What else is varied from cell to cell."""

    identifier: Annotated[
        list[str] | None,
        typer.Option("--identifier", help="Kind of identifier (irgen).", autocompletion=names_of("methods/identifier")),
    ] = None
    dataset: Datasets = None
    grid: Annotated[
        str,
        typer.Option(
            "--grid",
            help="quick, full, paper, million or encoders: what --method leaves open.",
            autocompletion=one_of("quick", "full", "paper", "million", "encoders"),
        ),
    ] = "quick"
    seed: Seeds = None
    max_queries: Annotated[
        int | None,
        typer.Option("--max-queries", min=1, help="Evaluate only N queries, evenly spread (result is marked partial)."),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Train for only N epochs (result is marked partial).")
    ] = None


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How the cells of a grid are carried out."""

    results: ResultsIn = Path("runs/results")
    name: Annotated[
        str | None, typer.Option("--name", help="Name for images of your own; by default that of their folder or list.")
    ] = None
    k: Annotated[
        list[int] | None,
        typer.Option("--k", min=1, help="Metrics at this K, for images of your own (default 1, 2, 4, 8); repeatable."),
    ] = None
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Time limit of one cell, seconds.")] = None
    jobs: Annotated[
        int,
        typer.Option("--jobs", min=1, help="Cells to train and encode at once; they are measured one by one, after."),
    ] = 1
    executor: Annotated[
        str,
        typer.Option(
            "--executor", help="local, or ray: on the machines of a Ray cluster.", autocompletion=one_of("local", "ray")
        ),
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(
            "--address", help="Ray cluster: auto, or HOST:PORT; default: one that is started for the command."
        ),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Run cells again whose results are stored.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be run, and its cost where it is known; run nothing.")
    ] = False
    as_json: AsJson = False


@dataclass(frozen=True, kw_only=True)
class CellOptions(MachineOptions, OverrideOptions, ProtocolOptions, GridOptions, MethodOptions):
    """Which cells are meant, and where they are computed; help lists the options of the last class first."""

    def request(self) -> "Request":
        """Return which cells are asked for."""
        from irbench.experiments.plan import Request

        return Request(
            methods=tuple(self.method or ()),
            identifiers=tuple(self.identifier or ()),
            datasets=tuple(self.dataset or ()),
            seeds=tuple(self.seed or (0,)),
            grid=self.grid,
            scale=self.scale,
            crop=self.crop,
            protocol=self.protocol,
            epochs=self.epochs,
            max_queries=self.max_queries,
            overrides=self.pairs(),
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions(ExecutionOptions, CellOptions):
    """The options that `irbench run` and `irbench ablate` share."""


def parse_override(text: str) -> tuple[str, Value]:
    """Read KEY=VALUE: a number, true, false, or a text, as a recipe would have it; quotes of a text may be left out."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UsageError(f"--set {text}: write KEY=VALUE, such as --set epochs=3", code="bad-override")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key, value
    if not isinstance(parsed, int | float | str):
        raise UsageError(f"--set {text}: a number, text, true or false is needed", code="bad-override")
    return key, parsed


def numbers(option: str, text: str, separator: str = ",", *, least: int = 1) -> tuple[int, ...]:
    """Read whole numbers from `least` on, as in 1,4,16."""
    numbers = text.split(separator)
    if not all(number.isdecimal() and int(number) >= least for number in numbers):
        raise UsageError(
            f"{option} {text or '(empty)'}: whole numbers from {least} on are needed, with '{separator}' between them",
            code="bad-number",
        )
    return tuple(map(int, numbers))


def command_line(
    command: str, options: object, *, only: Collection[str] = (), leaving_out: Collection[str] = (), **changed: Any
) -> str:
    """Return the command line that has these options, as a shell takes it; what is at its default is left out."""
    hints = get_type_hints(type(options), include_extras=True)
    words = ["irbench", *command.split()]
    for one in fields(options):  # type: ignore[arg-type]  # a dataclass, which no bound can say
        value = changed.get(one.name, getattr(options, one.name))
        if (one.name in leaving_out and one.name not in changed) or value == one.default:
            continue
        if only and not {one.name} & {*only, *changed}:
            continue
        described = next(iter(hints[one.name].__metadata__))
        names = (str(described.default), *(described.param_decls or ()))  # Typer takes the first for a default
        flag = next((name.partition("/")[0] for name in names if name.startswith("--")), "")
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [word for word in (flag, "" if each is True else str(each)) if word]
    return shlex.join(words)


def command(options: type[O]) -> Callable[[Callable[[O], None]], Callable[..., None]]:
    """Make a function of one value of `options` a command: Typer sees a parameter for each field."""
    hints = get_type_hints(options, include_extras=True)

    def parameter(name: str, default: Any) -> inspect.Parameter:
        default = inspect.Parameter.empty if default is MISSING else default
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])

    parameters = [
        parameter(one.name, one.default)
        for one in fields(options)  # type: ignore[arg-type]  # a dataclass, which no bound can say
    ]

    def decorate(function: Callable[[O], None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            function(options(**given))

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate
