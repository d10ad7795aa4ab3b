"""What the commands of `irbench bench` share: the application, options, and how rows are shown."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from irbench.cli import options as o
from irbench.cli.bench.columns import MACHINE, Columns
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.bench.roofline import Rates
    from irbench.runtime.machine import Runtime

T = TypeVar("T")
bench_app = typer.Typer(no_args_is_help=True, help="Time the parts on this machine.")


Searches = Annotated[
    list[str] | None,
    typer.Option(
        "--search", help="Search index; all by default; repeatable.", autocompletion=o.names_of("methods/search")
    ),
]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How long is measured, and how it is shown."""

    patience: Annotated[
        float, typer.Option("--patience", min=0, help="Seconds for the repetitions of one measurement.")
    ] = 5.0
    as_json: o.AsJson = False


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(OutputOptions):
    """Where is measured."""

    device: o.Device = "auto"
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.")] = None


def use(threads: int | None) -> None:
    from irbench.runtime.machine import use_threads

    use_threads(threads)


def runtimes(device: str, precision: str) -> "Iterator[Runtime]":
    """Yield where to compute, in each precision that is wished for; nothing is cached."""
    from irbench.runtime.cache import Store
    from irbench.runtime.machine import Runtime, choose_device

    check_choice("--precision", precision, ("fp32", "bf16", "both"))
    for kind in ("fp32", "bf16") if precision == "both" else (precision,):
        yield Runtime(store=Store(Path("unused")), device=choose_device(device), precision=kind)


def machine_rates(runtime: "Runtime", options: OutputOptions) -> "tuple[Rates, list[dict[str, object]]]":
    """Measure what the machine can do at best, and show it."""
    from irbench.bench.roofline import rates

    found = rates(runtime, options.patience)
    return found, show([found], MACHINE, as_json=options.as_json)


def show(rows: Iterable[Any], columns: Columns, *, as_json: bool) -> list[dict[str, object]]:
    """Print each row as it is measured, and return all as JSON values."""
    if not as_json:
        typer.echo("\n" + "  ".join(f"{name:>9}" for name in columns))
    found = []
    for row in rows:
        found.append(asdict(row))
        if not as_json:
            typer.echo("  ".join(f"{text(row):>{max(9, len(name))}}" for name, text in columns.items()))
    return found


def kept(rows: Iterable[T], rows_so_far: list[T]) -> Iterator[T]:
    """Yield rows as they come, and keep them."""
    for row in rows:
        rows_so_far.append(row)
        yield row


def number(option: str, text: str) -> int:
    first, *others = o.numbers(option, text)
    if others:
        raise UsageError(f"{option} {text}: one whole number is needed", code="bad-number")
    return first
