"""`irbench bench …`: what the parts cost on this machine."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irbench.cli import options as o
from irbench.cli.columns import (
    ADDED,
    BUILT,
    COMPARISON,
    COSTS,
    CROSSED,
    ENCODED,
    GROWN,
    LOADED,
    MACHINE,
    POINT,
    SCALED,
    SCORED,
    SEARCHED,
    TRAINED,
    Columns,
)
from irbench.config import recipes
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.bench.crossover import Cost
    from irbench.bench.crossover import Plan as CrossoverPlan
    from irbench.bench.roofline import Rates
    from irbench.bench.search import Plan
    from irbench.runtime.machine import Runtime

VIT = "vit_base_patch16_224"
LITE = "tf_efficientnet_lite0"
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


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(DeviceOptions):
    """In which arithmetic networks are measured, and on how many images at once."""

    batches: Annotated[str, typer.Option("--batches", help="Batch sizes.")] = "1,16,64"
    precision: Annotated[
        str,
        typer.Option("--precision", help="fp32, bf16 or both.", autocompletion=o.one_of("fp32", "bf16", "both")),
    ] = "both"


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
    sizes = o.numbers("--num-layers", options.num_layers)
    shared = bench.Plan(
        beam_sizes=o.numbers("--beam-sizes", options.beam_sizes),
        batches=o.numbers("--batches", options.batches),
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
        batches=o.numbers("--batches", options.batches),
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
        batches=o.numbers("--batches", options.batches),
        frozen_stages=o.numbers("--frozen-stages", options.frozen_stages, least=0),
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
    sizes, device = o.numbers("--sizes", options.sizes), choose_device(options.device)
    found = bench.measure(sizes, options.num_codebooks, options.codebook_size, device)
    built = _shown(found, BUILT, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"tries": built}))


@dataclass(frozen=True, kw_only=True)
class SearchOptions(DeviceOptions):
    """The options of `irbench bench search`."""

    search: Searches = None
    gallery: Annotated[int, typer.Option("--gallery", min=1, help="Vectors in the index.")] = 100_000
    queries: Annotated[
        str, typer.Option("--queries", metavar="N|FILE", help="How many queries, or with --vectors their own (.npy).")
    ] = "1000"
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors", help="Vectors of your own [N,D] (.npy), as they are; rows are held out as queries by default."
        ),
    ] = None
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimensions of a vector.")] = 256
    clusters: Annotated[int, typer.Option("--clusters", min=1, help="Centres around which the vectors lie.")] = 1000
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10
    curves: Annotated[
        bool, typer.Option("--curves", help="Sweep each index from fast to exact, as ablate index does.")
    ] = False

    def plan(self) -> "Plan":
        """Return what is measured; options of random vectors do not go with given ones."""
        from irbench.bench.search import Plan

        searches = tuple(self.search or ())
        plan = Plan(searches=searches, curves=self.curves, patience=self.patience, k=self.k, vectors=self.vectors)
        if self.vectors is None or self.queries.isdecimal():
            plan = replace(plan, queries=_number("--queries", self.queries))
        else:
            plan = replace(plan, query_vectors=Path(self.queries))
        if self.vectors is None:
            return replace(plan, gallery=self.gallery, dim=self.dim, clusters=self.clusters)
        random = ("gallery", "dim", "clusters")
        if changed := [f"--{name}" for name in random if getattr(self, name) != getattr(SearchOptions, name)]:
            raise UsageError(
                f"{', '.join(changed)} is about random vectors: leave it out with --vectors", code="unused-option"
            )
        return plan


@bench_app.command()
@o.command(SearchOptions)
def search(options: SearchOptions) -> None:
    """Time each index on random vectors in clusters, or on your own, with its recall of exact search."""
    from irbench.bench import search as bench

    plan = options.plan()
    _use(options.threads)
    (runtime,) = _runtimes(options.device, "fp32")
    found = bench.prepare(plan, runtime)
    sizes = {"gallery": len(found.gallery), "queries": len(found.queries), "dim": found.gallery.dim, "k": plan.k}
    if plan.vectors is not None:
        whence = "held out of them" if found.held_out else f"of {plan.query_vectors}"
        typer.echo(
            f"{len(found.gallery):,} vectors of {plan.vectors}, {len(found.queries):,} queries {whence}", err=True
        )
    points = _shown(bench.measure(plan, runtime, found), SEARCHED, as_json=options.as_json)
    if options.as_json:
        drawn = {"clusters": plan.clusters} if plan.vectors is None else {"held_out": found.held_out}
        typer.echo(json.dumps({**sizes, **drawn, "points": points}))


@dataclass(frozen=True, kw_only=True)
class LoadOptions(OutputOptions):
    """The options of `irbench bench load`."""

    patience: Annotated[float, typer.Option("--seconds", min=0.1, help="Seconds of a steady state.")] = 2.0
    device: o.Device = "auto"
    search: Searches = None
    clients: Annotated[str, typer.Option("--clients", help="How many clients ask at once.")] = "1,2,4,8,16,32,64"
    ways: Annotated[
        str,
        typer.Option(
            "--with", help="threads, processes or both.", autocompletion=o.one_of("threads", "processes", "both")
        ),
    ] = "both"
    gallery: Annotated[int, typer.Option("--gallery", min=1, help="Vectors in the index.")] = 100_000
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimensions of a vector.")] = 128
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10


@bench_app.command()
@o.command(LoadOptions)
def load(options: LoadOptions) -> None:
    """Answer single queries of several clients at once: throughput, and latency under load."""
    from irbench.bench import load as bench
    from irbench.bench.search import Plan
    from irbench.experiments.plan import search_named
    from irbench.runtime.load import WAYS

    check_choice("--with", options.ways, (*WAYS, "both"))
    plan = bench.Plan(
        vectors=Plan(searches=tuple(options.search or ()), gallery=options.gallery, dim=options.dim, k=options.k),
        clients=o.numbers("--clients", options.clients),
        ways=WAYS if options.ways == "both" else (options.ways,),
        seconds=options.patience,
    )
    for name in plan.vectors.searches:
        search_named(name)
    _use(1)
    (runtime,) = _runtimes(options.device, "fp32")
    found = _shown(bench.measure(plan, runtime), LOADED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"gallery": options.gallery, "dim": options.dim, "k": options.k, "loads": found}))


@dataclass(frozen=True, kw_only=True)
class OverheadOptions(DeviceOptions):
    """The options of `irbench bench overhead`."""

    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.")] = 1
    search: Searches = None
    gallery: Annotated[int, typer.Option("--gallery", min=1, help="Vectors in the index.")] = 10_000
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries of a batch.")] = 1000
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimensions of a vector.")] = 128
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10


@bench_app.command()
@o.command(OverheadOptions)
def overhead(options: OverheadOptions) -> None:
    """Time each index through irbench and through its library alone, in turns."""
    from irbench.bench import overhead as bench
    from irbench.experiments.plan import search_named

    plan = bench.Plan(
        searches=tuple(options.search or ()),
        gallery=options.gallery,
        queries=options.queries,
        dim=options.dim,
        k=options.k,
        patience=options.patience,
    )
    for name in plan.searches:
        search_named(name)
    _use(options.threads)
    (runtime,) = _runtimes(options.device, "fp32")
    found = _shown(bench.measure(plan, replace(runtime, threads=options.threads)), ADDED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"gallery": plan.gallery, "dim": plan.dim, "k": plan.k, "searches": found}))


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(DeviceOptions):
    """The options of `irbench bench scale`."""

    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.")] = 1
    sizes: Annotated[str, typer.Option("--sizes", help="Images in the gallery.")] = "10000,100000,1000000"
    search: Searches = None
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimensions of a vector.")] = 128
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries of a batch.")] = 1000
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 100
    spann_up_to: Annotated[
        int, typer.Option("--spann-up-to", min=0, help="SPANN is built for so many images at most: it takes hours.")
    ] = 30_000


@bench_app.command()
@o.command(ScaleOptions)
def scale(options: ScaleOptions) -> None:
    """Time each stage of a retriever at several sizes of the gallery, with its memory, beside the bare libraries."""
    from irbench.bench import scale as bench
    from irbench.experiments.plan import search_named

    _use(options.threads)
    (runtime,) = _runtimes(options.device, "fp32")
    plan = bench.Plan(
        sizes=o.numbers("--sizes", options.sizes, least=2),
        searches=tuple(options.search or ()),
        dim=options.dim,
        queries=options.queries,
        k=options.k,
        spann_up_to=options.spann_up_to,
        patience=options.patience,
    )
    for name in plan.named():
        search_named(name)
    measured: list[bench.Measured] = []

    def kept() -> "Iterator[bench.Measured]":
        for one in bench.measure(plan, replace(runtime, threads=options.threads)):
            measured.append(one)
            yield one

    stages = _shown(kept(), SCALED, as_json=options.as_json)
    exponents = _shown(bench.growth(measured), GROWN, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"dim": plan.dim, "k": plan.k, "stages": stages, "growth": exponents}))


@dataclass(frozen=True, kw_only=True)
class CrossoverOptions(DeviceOptions):
    """The options of `irbench bench crossover`."""

    patience: Annotated[
        float, typer.Option("--patience", min=0, help="Seconds for the repetitions of one measurement.")
    ] = 1.0
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.")] = 1
    sizes: Annotated[str, typer.Option("--sizes", help="Images in the gallery.")] = (
        "1000,2000,4000,10000,30000,100000,300000,1000000"
    )
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            help="Search index, repeatable; by default linear, hnsw, ivfpq, scann and spann.",
            autocompletion=o.names_of("methods/search"),
        ),
    ] = None
    scale: Annotated[
        list[str] | None,
        typer.Option(
            "--scale",
            help="Size of the networks, repeatable; by default paper and tiny.",
            autocompletion=o.one_of(*recipes.SCALES),
        ),
    ] = None
    precision: Annotated[
        str, typer.Option("--precision", help="Of the networks: fp32 or bf16.", autocompletion=o.one_of("fp32", "bf16"))
    ] = "fp32"
    recall: Annotated[
        float, typer.Option("--recall", min=0.01, max=1, help="Share of the exact neighbours that an index must find.")
    ] = 0.95
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query.")] = 10
    beam_size: Annotated[
        int | None, typer.Option("--beam-size", min=1, help="Beams; by default as many as results.", show_default=False)
    ] = None
    batch: Annotated[int, typer.Option("--batch", min=1, help="Queries of a batch.")] = 32
    vectors: Annotated[
        Path | None, typer.Option("--vectors", help="Vectors of your own [N,D] (.npy) to draw galleries from.")
    ] = None
    dim: Annotated[int, typer.Option("--dim", min=1, help="Dimensions of a random vector.")] = 128
    spann_up_to: Annotated[
        int, typer.Option("--spann-up-to", min=0, help="SPANN is built for so many images at most: it takes hours.")
    ] = 30_000
    out: Annotated[
        Path | None, typer.Option("--out", help="Figure to write: .svg, .png or .pdf.", show_default=False)
    ] = None

    def plan(self) -> "CrossoverPlan":
        """Return what is measured."""
        from irbench.bench.crossover import Plan

        if self.vectors is not None and self.dim != CrossoverOptions.dim:
            raise UsageError("--dim is about random vectors: leave it out with --vectors", code="unused-option")
        return Plan(
            sizes=o.numbers("--sizes", self.sizes, least=100),
            searches=tuple(dict.fromkeys(self.search or Plan.searches)),
            scales=tuple(dict.fromkeys(self.scale or Plan.scales)),
            recall=self.recall,
            k=self.k,
            beam_size=self.beam_size,
            dim=self.dim,
            vectors=self.vectors,
            batch=self.batch,
            spann_up_to=self.spann_up_to,
            patience=self.patience,
        )


@bench_app.command()
@o.command(CrossoverOptions)
def crossover(options: CrossoverOptions) -> None:
    """Find the size of the gallery from which on generating costs less than encoding and searching."""
    from irbench.bench import crossover as bench
    from irbench.report.figures.output import check_format

    plan = options.plan()
    plan.check_vectors()
    if options.out:
        check_format(options.out)
    check_choice("--precision", options.precision, ("fp32", "bf16"))
    _use(options.threads)
    (runtime,) = _runtimes(options.device, options.precision)
    costs: list[bench.Cost] = []

    def kept() -> "Iterator[bench.Cost]":
        for one in bench.measure(plan, replace(runtime, threads=options.threads)):
            costs.append(one)
            yield one

    measured = _shown(kept(), COSTS, as_json=options.as_json)
    crossed = _shown(bench.crossovers(costs), CROSSED, as_json=options.as_json)
    notes = bench.notes(plan, costs)
    if options.as_json:
        typer.echo(json.dumps({"costs": measured, "crossovers": crossed, "notes": notes}))
    else:
        typer.echo("\n" + "\n".join(notes))
    if not crossed:
        typer.echo("irbench: nothing could be compared", err=True)
        raise typer.Exit(1)
    if options.out:
        _draw_crossover(plan, costs, notes, options.out)


def _draw_crossover(plan: "CrossoverPlan", costs: "Sequence[Cost]", notes: Sequence[str], out: Path) -> None:
    from irbench.bench import laws
    from irbench.bench.crossover import ASKED, GENERATES, measured
    from irbench.report.figures.crossover import Asked, Growing, crossover
    from irbench.report.figures.output import save
    from irbench.report.palette import colored_by_search, look

    methods = [(GENERATES, scale, f"IRGen, {scale}", look(GENERATES, variant=scale)) for scale in plan.scales]
    methods += [(name, "", name, colored_by_search(look("ft-clip", name), name)) for name in plan.searches]

    def growing(asked: str) -> Iterator[Growing]:
        for method, scale, label, drawn_as in methods:
            if (known := measured(costs, method, asked, scale)) is not None:
                yield Growing(label=label, look=drawn_as, sizes=known.sizes, seconds=known.costs, law=laws.curve(known))

    titles = {"single": "One query at a time", "batch": f"Batches of {plan.batch}"}
    subtitle = f"{plan.k} results, {plan.recall:.0%} of the exact neighbours; without the encoder"
    panels = [Asked(title=titles[asked], subtitle=subtitle, methods=list(growing(asked))) for asked in ASKED]
    save(crossover(panels, notes), out)
    typer.echo(out, err=True)


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


def _number(option: str, text: str) -> int:
    first, *others = o.numbers(option, text)
    if others:
        raise UsageError(f"{option} {text}: one whole number is needed", code="bad-number")
    return first


def _pair(text: str) -> tuple[int, int]:
    """Read a batch and its beams, as in 16x30."""
    batch, *beams = o.numbers("--compare", text, "x")
    if len(beams) != 1:
        raise UsageError(f"--compare {text}: a batch and a beam size are needed, as in 16x30", code="bad-number")
    return batch, beams[0]
