"""`irbench bench …`: what the parts cost on this machine."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irbench.cli import options as o
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.bench.roofline import Rates
    from irbench.runtime.machine import Runtime

VIT = "vit_base_patch16_224"
LITE = "tf_efficientnet_lite0"
bench_app = typer.Typer(no_args_is_help=True, help="Time the parts on this machine.")


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


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(DeviceOptions):
    """In which arithmetic networks are measured, and on how many images at once."""

    batches: Annotated[str, typer.Option("--batches", help="Batch sizes.")] = "1,16,64"
    precision: Annotated[str, typer.Option("--precision", help="fp32, bf16 or both.")] = "both"


@dataclass(frozen=True, kw_only=True)
class BeamOptions(NetworkOptions):
    """The options of `irbench bench beam`."""

    beam_sizes: Annotated[str, typer.Option("--beam-sizes", help="Beam sizes.")] = "1,10,20,30"
    num_layers: Annotated[str, typer.Option("--num-layers", help="Blocks of the decoder (the paper has both).")] = (
        "12,24"
    )
    compare: Annotated[
        str, typer.Option("--compare", help="BATCHxBEAMS for which the slow reference decoder runs too.")
    ] = "1x30,16x30"
    num_codebooks: Annotated[int, typer.Option("--num-codebooks", min=1, help="Codes in an identifier.")] = 4
    graphs: Annotated[bool, typer.Option("--graphs", help="Replay CUDA graphs, on a GPU.")] = False


@bench_app.command()
@o.command(BeamOptions)
def beam(options: BeamOptions) -> None:
    """Time decoding with the paper-size model and random weights, beside the slow reference decoder."""
    from irbench.bench import beam as bench

    _use(options.threads)
    sizes = _numbers("--num-layers", options.num_layers)
    shared = bench.Plan(
        beam_sizes=_numbers("--beam-sizes", options.beam_sizes),
        batches=_numbers("--batches", options.batches),
        compared=tuple(_pair(text) for text in options.compare.split(",") if text),
        num_codebooks=options.num_codebooks,
        graphs=options.graphs,
        patience=options.patience,
    )
    known, points, comparisons = [], [], []
    for runtime in _runtimes(options.device, options.precision):
        rates, shown = _rates(runtime, options)
        known += shown
        for plan in (replace(shared, num_layers=size) for size in sizes):
            model = bench.Model(plan, runtime)
            points += _shown(bench.measure(model, plan, rates), POINT, as_json=options.as_json)
            if runtime.precision == "fp32":
                comparisons += _shown(bench.compare(model, plan), COMPARISON, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"machine": known, "points": points, "reference": comparisons}))


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(NetworkOptions):
    """The options of `irbench bench encode`."""

    backbone: Annotated[str, typer.Option("--backbone", help="Name of a timm model; its weights are random.")] = VIT
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="Pixels.")] = 224
    compiled: Annotated[bool, typer.Option("--compile", help="Let torch.compile fuse operations.")] = False


@bench_app.command()
@o.command(EncodeOptions)
def encode(options: EncodeOptions) -> None:
    """Time a backbone with random weights, as a share of what the machine could do at best."""
    from irbench.bench import encode as bench

    _use(options.threads)
    plan = bench.Plan(
        backbone=options.backbone,
        image_size=options.image_size,
        batches=_numbers("--batches", options.batches),
        compiled=options.compiled,
        patience=options.patience,
    )
    known, points = [], []
    for runtime in _runtimes(options.device, options.precision):
        rates, shown = _rates(runtime, options)
        known += shown
        points += _shown(bench.measure(bench.Model(plan, runtime), plan, rates), ENCODED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"machine": known, "points": points}))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(NetworkOptions):
    """The options of `irbench bench training`."""

    batches: Annotated[str, typer.Option("--batches", help="Batch sizes.")] = "64"
    backbone: Annotated[str, typer.Option("--backbone", help="Name of a timm model; its weights are random.")] = LITE
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="Pixels.")] = 128
    frozen_stages: Annotated[
        str, typer.Option("--frozen-stages", help="Stages that do not learn, the stem before them neither; 0: all do.")
    ] = "0,3"


@bench_app.command()
@o.command(TrainingOptions)
def training(options: TrainingOptions) -> None:
    """Time the steps in which an encoder is fine-tuned on photographs, and their parts."""
    from irbench.bench import training as bench

    _use(options.threads)
    plan = bench.Plan(
        backbone=options.backbone,
        image_size=options.image_size,
        batches=_numbers("--batches", options.batches),
        frozen_stages=_numbers("--frozen-stages", options.frozen_stages, least=0),
        patience=options.patience,
    )
    points = []
    for runtime in _runtimes(options.device, options.precision):
        points += _shown(bench.measure(bench.Model(plan, runtime), plan), TRAINED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"points": points}))


@dataclass(frozen=True, kw_only=True)
class TrieOptions(DeviceOptions):
    """The options of `irbench bench trie`."""

    sizes: Annotated[str, typer.Option("--sizes", help="Numbers of identifiers.")] = (
        "10000,100000,1000000,1800000,10000000"
    )
    num_codebooks: Annotated[int, typer.Option("--num-codebooks", min=1, help="Codes in an identifier.")] = 4
    codebook_size: Annotated[int, typer.Option("--codebook-size", min=1, help="Entries of a codebook.")] = 256


@bench_app.command()
@o.command(TrieOptions)
def trie(options: TrieOptions) -> None:
    """Time building a trie of random identifiers, and one step in it for 256 queries of 30 beams."""
    from irbench.bench import trie as bench
    from irbench.runtime.machine import choose_device

    _use(options.threads)
    sizes, device = _numbers("--sizes", options.sizes), choose_device(options.device)
    found = bench.measure(sizes, options.num_codebooks, options.codebook_size, device)
    built = _shown(found, BUILT, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"tries": built}))


@dataclass(frozen=True, kw_only=True)
class SearchOptions(DeviceOptions):
    """The options of `irbench bench search`."""

    search: Annotated[list[str] | None, typer.Option("--search", help="Search index; all by default; repeatable.")] = (
        None
    )
    gallery: Annotated[int, typer.Option("--gallery", min=1, help="Vectors in the index.")] = 100_000
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries.")] = 1000
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimensions of a vector.")] = 256
    clusters: Annotated[int, typer.Option("--clusters", min=1, help="Centres around which the vectors lie.")] = 1000
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10
    curves: Annotated[
        bool, typer.Option("--curves", help="Sweep each index from fast to exact, as ablate index does.")
    ] = False


@bench_app.command()
@o.command(SearchOptions)
def search(options: SearchOptions) -> None:
    """Time each index on random vectors in clusters, with its recall of exact search."""
    from irbench.bench import search as bench

    _use(options.threads)
    sizes = {name: getattr(options, name) for name in ("gallery", "queries", "dim", "clusters", "k")}
    plan = bench.Plan(searches=tuple(options.search or ()), curves=options.curves, patience=options.patience, **sizes)
    (runtime,) = _runtimes(options.device, "fp32")
    points = _shown(bench.measure(plan, runtime), SEARCHED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({**sizes, "points": points}))


@dataclass(frozen=True, kw_only=True)
class MetricsOptions(OutputOptions):
    """The options of `irbench bench metrics`."""

    queries: Annotated[int, typer.Option("--queries", min=1, help="Rankings.")] = 10_000
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Results in each.")] = 100


@bench_app.command()
@o.command(MetricsOptions)
def metrics(options: MetricsOptions) -> None:
    """Time scoring by every metric, beside plain loops."""
    from irbench.bench import metrics as bench

    (runtime,) = _runtimes("cpu", "fp32")
    timed = [bench.measure(options.queries, options.top_k, runtime, options.patience)]
    found = _shown(timed, SCORED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"metrics": found}))


# the columns of a table: heading, and the value of a row as text
Columns = dict[str, Callable[[Any], str]]
POINT: Columns = {
    "precision": lambda p: p.precision,
    "blocks": lambda p: f"{p.num_layers}",
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
TRAINED: Columns = {
    "precision": lambda p: p.precision,
    "frozen stages": lambda p: f"{p.frozen_stages}",
    "batch": lambda p: f"{p.batch}",
    "ms": lambda p: f"{1000 * p.total_s:,.1f}",
    "images/s": lambda p: f"{p.images_per_s:,.1f}",
    "augment": lambda p: f"{p.augment_s / p.total_s:.0%}",
    "forward": lambda p: f"{p.forward_s / p.total_s:.0%}",
    "backward": lambda p: f"{p.backward_s / p.total_s:.0%}",
    "peak MB": lambda p: f"{p.peak_bytes / 1e6:,.0f}",
}
COMPARISON: Columns = {
    "blocks": lambda c: f"{c.num_layers}",
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
    "recall": lambda p: _or_gap(p.recall, ".4f"),
    "MB": lambda p: _or_gap(p.index_bytes and p.index_bytes / 1e6, ".1f"),
    "setting": lambda p: p.reason or p.setting or "recipe",
}
SCORED: Columns = {
    "queries": lambda t: f"{t.queries:,}",
    "results": lambda t: f"{t.results}",
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
    """Yield where to compute, in each precision that is wished for; nothing is cached."""
    from irbench.runtime.cache import Store
    from irbench.runtime.machine import Runtime, choose_device

    check_choice("--precision", precision, ("fp32", "bf16", "both"))
    for kind in ("fp32", "bf16") if precision == "both" else (precision,):
        yield Runtime(store=Store(Path("unused")), device=choose_device(device), precision=kind)


def _rates(runtime: "Runtime", options: OutputOptions) -> "tuple[Rates, list[dict[str, object]]]":
    """Measure what the machine can do at best, and show it."""
    from irbench.bench.roofline import rates

    found = rates(runtime, options.patience)
    return found, _shown([found], MACHINE, as_json=options.as_json)


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


def _numbers(option: str, text: str, separator: str = ",", *, least: int = 1) -> tuple[int, ...]:
    numbers = text.split(separator)
    if not all(number.isdecimal() and int(number) >= least for number in numbers):
        raise UsageError(
            f"{option} {text}: whole numbers from {least} on, with '{separator}' between them, are needed",
            code="bad-number",
        )
    return tuple(int(number) for number in numbers)


def _pair(text: str) -> tuple[int, int]:
    """Read a batch and its beams, as in 16x30."""
    batch, *beams = _numbers("--compare", text, "x")
    if len(beams) != 1:
        raise UsageError(f"--compare {text}: a batch and a beam size are needed, as in 16x30", code="bad-number")
    return batch, beams[0]
