"""`irbench bench …`: what the parts cost on this machine."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from irbench import options as o
from irbench.errors import UsageError, check_choice

bench_app = typer.Typer(no_args_is_help=True, help="Time the parts on this machine.")
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.")]


@bench_app.command()
def beam(
    beams: Annotated[str, typer.Option(help="Numbers of beams.")] = "1,10,20,30",
    batches: Annotated[str, typer.Option(help="Queries at once.")] = "1,16,64",
    compare: Annotated[str, typer.Option(help="BATCHxBEAMS to ask the reference decoder too.")] = "1x30,16x30",
    length: Annotated[int, typer.Option(min=1, help="Codes in an identifier.")] = 4,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or both.")] = "both",
    patience: Annotated[float, typer.Option(min=0, help="Seconds for the repeats of one point.")] = 5.0,
    device: o.Device = "auto",
    threads: Threads = None,
    as_json: o.AsJson = False,
) -> None:
    """Time decoding with the paper-size model and random weights, beside the slow reference decoder."""
    from irbench.bench import beam as bench
    from irbench.machine import choose_device, use_threads

    use_threads(threads)
    plan = bench.Plan(
        beams=_numbers("--beams", beams),
        batches=_numbers("--batches", batches),
        compared=tuple(_pair(text) for text in compare.split(",") if text),
        length=length,
        patience=patience,
    )
    check_choice("--precision", precision, ("fp32", "bf16", "both"))
    kinds = ("fp32", "bf16") if precision == "both" else (precision,)
    points, comparisons = [], []
    for kind in kinds:
        model = bench.Model(plan, choose_device(device), kind)
        points += _shown(bench.measure(model, plan), POINT, as_json=as_json)
        if kind == "fp32":
            comparisons += _shown(bench.compare(model, plan), COMPARISON, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"points": points, "reference": comparisons}))


@bench_app.command()
def trie(
    sizes: Annotated[str, typer.Option(help="Numbers of identifiers.")] = "10000,100000,1000000,1800000,10000000",
    length: Annotated[int, typer.Option(min=1, help="Codes in an identifier.")] = 4,
    codes: Annotated[int, typer.Option(min=1, help="Entries of a codebook.")] = 256,
    device: o.Device = "auto",
    threads: Threads = None,
    as_json: o.AsJson = False,
) -> None:
    """Time building a trie of random identifiers, and one step in it for 256 queries of 30 beams."""
    from irbench.bench import trie as bench
    from irbench.machine import choose_device, use_threads

    use_threads(threads)
    found = bench.measure(_numbers("--sizes", sizes), length, codes, choose_device(device))
    built = _shown(found, BUILT, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"tries": built}))


# the columns of a table: heading, and the value of a row as text
Columns = dict[str, Callable[[Any], str]]
POINT: Columns = {
    "precision": lambda p: p.precision,
    "batch": lambda p: f"{p.batch}",
    "beams": lambda p: f"{p.beams}",
    "latency ms": lambda p: f"{1000 * p.total_s:,.0f}",
    "queries/s": lambda p: f"{p.queries_per_s:.2f}",
    "x encoder": lambda p: f"{p.over_encoder:.2f}",
    "encoder": lambda p: f"{p.encoder_s / p.total_s:.0%}",
    "decoder": lambda p: f"{p.decoder_s / p.total_s:.0%}",
    "trie": lambda p: f"{p.trie_s / p.total_s:.1%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
COMPARISON: Columns = {
    "batch": lambda c: f"{c.batch}",
    "beams": lambda c: f"{c.beams}",
    "reference s/query": lambda c: f"{c.reference_s / c.batch:.2f}",
    "faster, end to end": lambda c: f"{c.ratio:.1f} x",
    "faster, decoding": lambda c: f"{c.ratio_decoding:.1f} x",
    "other leaves": lambda c: f"{c.leaves_differing}",
    "score difference": lambda c: f"{c.score_difference:.1e}",
}
BUILT: Columns = {
    "identifiers": lambda b: f"{b.identifiers:,}",
    "build s": lambda b: f"{b.build_s:.3f}",
    "MB": lambda b: f"{b.bytes / 1e6:.1f}",
    "step ms": lambda b: f"{b.step_ms:.2f}",
}


def _shown(rows: Iterable[Any], columns: Columns, *, as_json: bool) -> list[dict[str, object]]:
    """Print each row as it is measured, and return all as JSON values."""
    if not as_json:
        typer.echo("\n" + "  ".join(f"{name:>9}" for name in columns))
    found = []
    for row in rows:
        found.append(asdict(row))
        if not as_json:
            typer.echo("  ".join(f"{text(row):>{max(9, len(name))}}" for name, text in columns.items()))
    return found


def _numbers(option: str, text: str, separator: str = ",") -> tuple[int, ...]:
    numbers = text.split(separator)
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise UsageError(f"{option} {text}: whole numbers from 1 on, with '{separator}' between them, are wanted")
    return tuple(int(number) for number in numbers)


def _pair(text: str) -> tuple[int, int]:
    """Read a batch and its beams, as in 16x30."""
    batch, *beams = _numbers("--compare", text, "x")
    if len(beams) != 1:
        raise UsageError(f"--compare {text}: a batch and its beams are wanted, as in 16x30")
    return batch, beams[0]
