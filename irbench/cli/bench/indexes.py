"""`irbench bench search`, `load` and `overhead`: what indexes cost."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irbench.cli import options as o
from irbench.cli.bench.app import DeviceOptions, OutputOptions, Searches, bench_app, number, runtimes, show, use
from irbench.cli.bench.columns import ADDED, LOADED, SEARCHED
from irbench.config import recipes
from irbench.core.errors import UsageError, check_choice

if TYPE_CHECKING:
    from irbench.bench.search import Plan


@dataclass(frozen=True, kw_only=True)
class SearchOptions(DeviceOptions):
    """The options of `irbench bench search`."""

    search: Searches = None
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            help="Build indexes as recipes have them for this data set; the vectors are not its own.",
            show_default=False,
            autocompletion=o.names_of("datasets"),
        ),
    ] = ""
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
        if self.dataset:
            recipes.find("datasets", self.dataset)
        plan = Plan(
            searches=searches,
            dataset=self.dataset,
            curves=self.curves,
            patience=self.patience,
            k=self.k,
            vectors=self.vectors,
        )
        if self.vectors is None or self.queries.isdecimal():
            plan = replace(plan, queries=number("--queries", self.queries))
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
    use(options.threads)
    (runtime,) = runtimes(options.device, "fp32")
    found = bench.prepare(plan, runtime)
    sizes = {"gallery": len(found.gallery), "queries": len(found.queries), "dim": found.gallery.dim, "k": plan.k}
    recipe = {"dataset": plan.dataset} if plan.dataset else {}
    if plan.vectors is not None:
        whence = "held out of them" if found.held_out else f"of {plan.query_vectors}"
        typer.echo(
            f"{len(found.gallery):,} vectors of {plan.vectors}, {len(found.queries):,} queries {whence}", err=True
        )
    points = show(bench.measure(plan, runtime, found), SEARCHED, as_json=options.as_json)
    if options.as_json:
        drawn = {"clusters": plan.clusters} if plan.vectors is None else {"held_out": found.held_out}
        typer.echo(json.dumps({**recipe, **sizes, **drawn, "points": points}))


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
        clients=tuple(sorted(set(o.numbers("--clients", options.clients)))),
        ways=WAYS if options.ways == "both" else (options.ways,),
        seconds=options.patience,
    )
    for name in plan.vectors.searches:
        search_named(name)
    use(1)
    (runtime,) = runtimes(options.device, "fp32")
    found = show(bench.measure(plan, runtime), LOADED, as_json=options.as_json)
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
    use(options.threads)
    (runtime,) = runtimes(options.device, "fp32")
    found = show(bench.measure(plan, replace(runtime, threads=options.threads)), ADDED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"gallery": plan.gallery, "dim": plan.dim, "k": plan.k, "searches": found}))
