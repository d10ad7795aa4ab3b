"""`irbench advise`: which stored choice is best within limits."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli.read import known_names, read_results, refuse_none
from irbench.core.errors import UsageError

if TYPE_CHECKING:
    from irbench.report.advice import Advice, Choice

app = typer.Typer()
_GAP = "—"
_SHOWN = 12  # choices within the limits; the others are counted
_NEAR = 3  # choices beyond them
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}  # milliseconds
_SIZES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}  # bytes


@dataclass(frozen=True, kw_only=True)
class AdviseOptions:
    """The options of `irbench advise`."""

    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="Data set whose results are asked.", autocompletion=o.names_of("datasets")
        ),
    ]
    latency: Annotated[
        str | None, typer.Option("--latency", help="Most that 95 of 100 single queries may take: 20ms, 0.5s.")
    ] = None
    memory: Annotated[
        str | None, typer.Option("--memory", help="Most that index and network may hold: 500MB, 2GB, 2GiB.")
    ] = None
    precision_at: Annotated[
        int | None, typer.Option("--precision-at", min=1, help="K of the precision that counts; 10 where it is known.")
    ] = None
    protocol: o.Protocol = None
    results: o.ResultsOut = None
    as_json: o.AsJson = False


@app.command()
@o.command(AdviseOptions)
def advise(options: AdviseOptions) -> None:
    """Name the best stored methods and indexes that keep to limits of time and memory."""
    from irbench.data.datasets import default_protocol
    from irbench.report.advice import Limits
    from irbench.report.advice import advise as advised
    from irbench.report.table import name_of

    limits = Limits(
        k=options.precision_at,
        latency_ms=_number("--latency", options.latency, _TIMES),
        memory_bytes=None if options.memory is None else round(_number("--memory", options.memory, _SIZES) or 0),
    )
    stored = read_results(options.results)
    names, _ = known_names((options.dataset,), stored.results, stored.folder)
    found = [
        one
        for one in stored.results
        if name_of(one.dataset) in names
        and one.dataset.protocol == (options.protocol or default_protocol(one.dataset.name))
    ]
    refuse_none(stored.folder, found)
    advice = advised(found, limits, stored.judge)
    if options.as_json:
        typer.echo(json.dumps(asdict(advice)))
    else:
        for line in _lines(advice, str(options.results) if options.results else ""):
            typer.echo(line)
    raise typer.Exit(1 if stored.problems else 0)


def _number(option: str, text: str | None, units: Mapping[str, float]) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    if found is None or found[2].lower() not in units or not float(found[1]):
        raise UsageError(f"{option} {text}: a number above 0 with {', '.join(units)} is needed", code="bad-value")
    return float(found[1]) * units[found[2].lower()]


def _lines(advice: "Advice", folder: str) -> Iterator[str]:
    limits, asked = advice.limits, list[str]()
    if limits.latency_ms is not None:
        asked.append(f"p95 at most {limits.latency_ms:g} ms")
    if limits.memory_bytes is not None:
        asked.append(f"index and network at most {limits.memory_bytes / 1e6:,.2f} MB")
    yield f"{advice.dataset} on {advice.machine}: {', '.join(asked) or 'no limits'}"
    if advice.within:
        yield from _rows(advice.within[:_SHOWN], advice.metric)
        if (more := len(advice.within) - _SHOWN) > 0:
            yield f"  … and {more} more"
        if any(choice.as_good for choice in advice.within):
            yield "= no significant difference from the best (p ≥ 0.05, paired over classes of queries)"
    else:
        yield "nothing that is stored keeps to these limits"
    if advice.beyond:
        yield ""
        yield f"beyond the limits: {len(advice.beyond)}, the best of them:"
        yield from _rows(advice.beyond[:_NEAR], advice.metric)
    for note in advice.notes:
        yield f"— {note}"
    where = f" --results {folder}" if folder else ""
    for command in advice.missing:
        yield f"more choices: irbench {command}{where}"


def _rows(choices: "tuple[Choice, ...]", metric: str) -> Iterator[str]:
    width = max(len(choice.cell) for choice in choices)
    yield f"  {'':<{width}}   {metric:>12}  {'95 % interval':>15}  {'p95 ms':>7}  {'queries/s':>9}  {'MB':>8}"
    for choice in choices:
        low, high = choice.quality.interval or (None, None)
        columns = (
            f"{choice.quality.value or 0:>12.1f}",
            f"{_GAP if low is None or high is None else f'{low:.1f} to {high:.1f}':>15}",
            f"{_GAP if choice.p95_ms is None else f'{choice.p95_ms:.2f}':>7}",
            f"{_GAP if choice.queries_per_s is None else f'{choice.queries_per_s:,.0f}':>9}",
            f"{_GAP if choice.memory_bytes is None else f'{choice.memory_bytes / 1e6:,.2f}':>8}",
            *([", ".join(choice.beyond)] if choice.beyond else []),
        )
        yield f"  {choice.cell:<{width}} {'=' if choice.as_good else ' '} {'  '.join(columns)}"
