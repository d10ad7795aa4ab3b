"""`irbench bench trie`, `scale` and `crossover`: how costs grow with the gallery."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli.bench.app import DeviceOptions, Searches, bench_app, kept, runtimes, show, use
from irbench.cli.bench.columns import BUILT, COSTS, CROSSED, GROWN, SCALED
from irbench.config import recipes
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.bench.crossover import Cost
    from irbench.bench.crossover import Plan as CrossoverPlan


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

    use(options.threads)
    sizes, device = o.numbers("--sizes", options.sizes), choose_device(options.device)
    found = bench.measure(sizes, options.num_codebooks, options.codebook_size, device)
    built = show(found, BUILT, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"tries": built}))


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

    use(options.threads)
    (runtime,) = runtimes(options.device, "fp32")
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

    rows = kept(bench.measure(plan, replace(runtime, threads=options.threads)), measured)
    stages = show(rows, SCALED, as_json=options.as_json)
    exponents = show(bench.growth(measured), GROWN, as_json=options.as_json)
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
            sizes=tuple(sorted(set(o.numbers("--sizes", self.sizes, least=100)))),
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
    from irbench.report.figures.output import check_out

    plan = options.plan()
    plan.check_vectors()
    if options.out:
        check_out(options.out)
    check_choice("--precision", options.precision, ("fp32", "bf16"))
    use(options.threads)
    (runtime,) = runtimes(options.device, options.precision)
    costs: list[bench.Cost] = []

    runtime = replace(runtime, threads=options.threads)
    measured = show(kept(bench.measure(plan, runtime), costs), COSTS, as_json=options.as_json)
    crossed = show(bench.crossovers(costs), CROSSED, as_json=options.as_json)
    notes = bench.notes(plan, runtime, costs)
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
    save(crossover(panels, notes[:2]), out)  # the others are about the table
    typer.echo(out, err=True)
