"""`irbench bench …`: what the parts cost on this machine."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irbench.cli import options as o
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.bench.roofline import Rates
    from irbench.runtime.machine import Runtime

VIT = "vit_base_patch16_224"
bench_app = typer.Typer(no_args_is_help=True, help="Time the parts on this machine.")
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.")]


@bench_app.command()
def beam(
    beam_sizes: Annotated[str, typer.Option(help="Beam sizes.")] = "1,10,20,30",
    batches: Annotated[str, typer.Option(help="Queries at once.")] = "1,16,64",
    compare: Annotated[str, typer.Option(help="BATCHxBEAMS to ask the reference decoder too.")] = "1x30,16x30",
    num_codebooks: Annotated[int, typer.Option(min=1, help="Codes in an identifier.")] = 4,
    graphs: Annotated[bool, typer.Option("--graphs", help="Replay CUDA graphs, on a GPU.")] = False,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or both.")] = "both",
    patience: Annotated[float, typer.Option(min=0, help="Seconds for the repeats of one point.")] = 5.0,
    device: o.Device = "auto",
    threads: Threads = None,
    as_json: o.AsJson = False,
) -> None:
    """Time decoding with the paper-size model and random weights, beside the slow reference decoder."""
    from irbench.bench import beam as bench

    _use(threads)
    plan = bench.Plan(
        beam_sizes=_numbers("--beam-sizes", beam_sizes),
        batches=_numbers("--batches", batches),
        compared=tuple(_pair(text) for text in compare.split(",") if text),
        num_codebooks=num_codebooks,
        graphs=graphs,
        patience=patience,
    )
    known, points, comparisons = [], [], []
    for runtime in _runtimes(device, precision):
        rates, shown = _rates(runtime, patience, as_json=as_json)
        model = bench.Model(plan, runtime)
        known += shown
        points += _shown(bench.measure(model, plan, rates), POINT, as_json=as_json)
        if runtime.precision == "fp32":
            comparisons += _shown(bench.compare(model, plan), COMPARISON, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"machine": known, "points": points, "reference": comparisons}))


@bench_app.command()
def encode(
    backbone: Annotated[str, typer.Option(help="Name of a timm model; its weights are random.")] = VIT,
    side: Annotated[int, typer.Option(min=1, help="Pixels.")] = 224,
    batches: Annotated[str, typer.Option(help="Pictures at once.")] = "1,16,64",
    compiled: Annotated[bool, typer.Option("--compile", help="Let torch.compile fuse operations.")] = False,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or both.")] = "both",
    patience: Annotated[float, typer.Option(min=0, help="Seconds for the repeats of one point.")] = 5.0,
    device: o.Device = "auto",
    threads: Threads = None,
    as_json: o.AsJson = False,
) -> None:
    """Time a backbone with random weights, beside what the machine could do at best."""
    from irbench.bench import encode as bench

    _use(threads)
    sizes = _numbers("--batches", batches)
    plan = bench.Plan(backbone=backbone, image_size=side, batches=sizes, compiled=compiled, patience=patience)
    known, points = [], []
    for runtime in _runtimes(device, precision):
        rates, shown = _rates(runtime, patience, as_json=as_json)
        known += shown
        points += _shown(bench.measure(bench.Model(plan, runtime), plan, rates), ENCODED, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"machine": known, "points": points}))


@bench_app.command()
def trie(
    sizes: Annotated[str, typer.Option(help="Numbers of identifiers.")] = "10000,100000,1000000,1800000,10000000",
    num_codebooks: Annotated[int, typer.Option(min=1, help="Codes in an identifier.")] = 4,
    codebook_size: Annotated[int, typer.Option(min=1, help="Entries of a codebook.")] = 256,
    device: o.Device = "auto",
    threads: Threads = None,
    as_json: o.AsJson = False,
) -> None:
    """Time building a trie of random identifiers, and one step in it for 256 queries of 30 beams."""
    from irbench.bench import trie as bench
    from irbench.runtime.machine import choose_device

    _use(threads)
    found = bench.measure(_numbers("--sizes", sizes), num_codebooks, codebook_size, choose_device(device))
    built = _shown(found, BUILT, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"tries": built}))


@bench_app.command()
def search(
    searches: Annotated[list[str] | None, typer.Option("--search", help="Search index; all by default.")] = None,
    gallery: Annotated[int, typer.Option(min=1, help="Vectors in the index.")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="Queries.")] = 1000,
    dim: Annotated[int, typer.Option(min=1, help="Dimensions of a vector.")] = 256,
    clusters: Annotated[int, typer.Option(min=1, help="Centres around which the vectors lie.")] = 1000,
    k: Annotated[int, typer.Option("-k", min=1, help="Answers to a query.")] = 10,
    curves: Annotated[
        bool, typer.Option("--curves", help="Each index from fast to exact, as in ablate index.")
    ] = False,
    patience: Annotated[float, typer.Option(min=0, help="Seconds for the repeats of one point.")] = 5.0,
    device: o.Device = "auto",
    threads: Threads = None,
    as_json: o.AsJson = False,
) -> None:
    """Time each index on random vectors in clusters, and hold its answers against exact search."""
    from irbench.bench import search as bench

    _use(threads)
    sizes = {"gallery": gallery, "queries": queries, "dim": dim, "clusters": clusters, "k": k}
    plan = bench.Plan(searches=tuple(searches or ()), curves=curves, patience=patience, **sizes)
    (runtime,) = _runtimes(device, "fp32")
    points = _shown(bench.measure(plan, runtime), SEARCHED, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({**sizes, "points": points}))


@bench_app.command()
def metrics(
    queries: Annotated[int, typer.Option(min=1, help="Rankings.")] = 10_000,
    answers: Annotated[int, typer.Option(min=1, help="Answers in each.")] = 100,
    patience: Annotated[float, typer.Option(min=0, help="Seconds for the repeats.")] = 5.0,
    as_json: o.AsJson = False,
) -> None:
    """Time scoring by every metric, beside plain loops."""
    from irbench.bench import metrics as bench

    (runtime,) = _runtimes("cpu", "fp32")
    timed = _shown([bench.measure(queries, answers, runtime, patience)], SCORED, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"metrics": timed}))


# the columns of a table: heading, and the value of a row as text
Columns = dict[str, Callable[[Any], str]]
POINT: Columns = {
    "precision": lambda p: p.precision,
    "batch": lambda p: f"{p.batch}",
    "beam size": lambda p: f"{p.beam_size}",
    "latency ms": lambda p: f"{1000 * p.total_s:,.2f}",
    "queries/s": lambda p: f"{p.queries_per_s:.2f}",
    "x encoder": lambda p: f"{p.over_encoder:.2f}",
    "encoder": lambda p: f"{p.encoder_s / p.total_s:.0%}",
    "decoder": lambda p: _or_gap(p.decoder_s and p.decoder_s / p.total_s, ".0%"),
    "trie": lambda p: _or_gap(p.trie_s and p.trie_s / p.total_s, ".1%"),
    "of roof": lambda p: f"{p.of_roof:.1%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
MACHINE: Columns = {
    "precision": lambda r: r.precision,
    "product TFLOP/s": lambda r: f"{r.flop_per_s / 1e12:.2f}",
    "copy GB/s": lambda r: f"{r.bytes_per_s / 1e9:.1f}",
}
ENCODED: Columns = {
    "precision": lambda p: p.precision,
    "batch": lambda p: f"{p.batch}",
    "ms": lambda p: f"{1000 * p.total_s:,.2f}",
    "images/s": lambda p: f"{p.images_per_s:,.1f}",
    "GFLOP/image": lambda p: f"{p.gflop_per_image:.2f}",
    "of product": lambda p: f"{p.of_product:.1%}",
    "of roof": lambda p: f"{p.of_roof:.1%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
COMPARISON: Columns = {
    "batch": lambda c: f"{c.batch}",
    "beam size": lambda c: f"{c.beam_size}",
    "reference ms/query": lambda c: f"{1000 * c.reference_s / c.batch:,.1f}",
    "faster, end to end": lambda c: f"{c.ratio:.1f} x",
    "faster, decoding": lambda c: f"{c.ratio_decoding:.1f} x",
    "other leaves": lambda c: f"{c.leaves_differing}",
    "score difference": lambda c: f"{c.score_difference:.1e}",
}
SEARCHED: Columns = {
    "search": lambda p: p.search,
    "build s": lambda p: _or_gap(p.build_s, ".2f"),
    "queries/s": lambda p: _or_gap(p.queries_per_s, ",.0f"),
    "ms alone": lambda p: _or_gap(p.single_ms, ".2f"),
    "hit_rate": lambda p: _or_gap(p.recall, ".4f"),
    "MB": lambda p: _or_gap(p.index_bytes and p.index_bytes / 1e6, ".1f"),
    "setting": lambda p: p.reason or p.setting or "recipe",
}
SCORED: Columns = {
    "queries": lambda t: f"{t.queries:,}",
    "answers": lambda t: f"{t.answers}",
    "metrics": lambda t: f"{t.metrics}",
    "ms": lambda t: f"{1000 * t.total_s:.1f}",
    "loops ms": lambda t: f"{1000 * t.loop_s:,.0f}",
    "faster": lambda t: f"{t.ratio:.0f} x",
    "difference": lambda t: f"{t.difference:.0e}",
}
BUILT: Columns = {
    "identifiers": lambda b: f"{b.identifiers:,}",
    "build s": lambda b: f"{b.build_s:.3f}",
    "MB": lambda b: f"{b.bytes / 1e6:.1f}",
    "step ms": lambda b: f"{b.step_ms:.2f}",
}


def _use(threads: int | None) -> None:
    from irbench.runtime.machine import use_threads

    use_threads(threads)


def _runtimes(device: str, precision: str) -> "Iterator[Runtime]":
    """Yield where to compute, in each precision that is wished for; nothing is kept in a store."""
    from irbench.runtime.cache import Store
    from irbench.runtime.machine import Runtime, choose_device

    check_choice("--precision", precision, ("fp32", "bf16", "both"))
    for kind in ("fp32", "bf16") if precision == "both" else (precision,):
        yield Runtime(store=Store(Path("unused")), device=choose_device(device), precision=kind)


def _rates(runtime: "Runtime", patience: float, *, as_json: bool) -> "tuple[Rates, list[dict[str, object]]]":
    """Measure what the machine can do at best, and show it."""
    from irbench.bench.roofline import rates

    found = rates(runtime, patience)
    return found, _shown([found], MACHINE, as_json=as_json)


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


def _or_gap(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


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
