"""`irbench run`, `ablate` and `query`: what trains, indexes and searches."""

import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from irbench.cli import options as o
from irbench.cli.embedding import parse
from irbench.cli.interrupt import STATUS, stop
from irbench.core.errors import UsageError
from irbench.runtime.progress import quiet

if TYPE_CHECKING:
    from irbench.experiments.experiment import Experiment
    from irbench.experiments.plan import Request
    from irbench.experiments.settings import Settings

app = typer.Typer()
Searches = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        help="Search index, or a Python file with one; repeatable.",
        autocompletion=o.names_of("methods/search"),
    ),
]


@dataclass(frozen=True, kw_only=True)
class SearchOptions(o.MethodOptions):
    """What completes an encoder, and how its gallery comes about."""

    search: Searches = None
    embedding: Annotated[
        str | None,
        typer.Option(
            "--embedding",
            metavar="FORM",
            help="Form in which embeddings are searched: dims=N or pca=N; float16, int8 or binary, with rescore=N.",
        ),
    ] = None
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Add half of the gallery after training (the paper's Table 6).")
    ] = False


@dataclass(frozen=True, kw_only=True)
class CellOptions(o.CellOptions, SearchOptions):
    """Which cells are meant, their searches included."""

    def request(self) -> "Request":
        """Return which cells are asked for."""
        asked = replace(super().request(), searches=tuple(self.search or ()), incremental=self.incremental)
        if self.embedding is None:
            return asked
        form = parse(self.embedding)
        named = [*asked.searches, *(method for method in asked.methods if "+" in str(method))]
        if form.search is not None and named:
            raise UsageError(
                f"--embedding {self.embedding}: this type is compared by search {form.search}; leave {named[0]} out, "
                "or name dimensions alone",
                code="unused-option",
            )
        overrides = tuple((dict(asked.overrides) | dict(form.overrides)).items())
        return replace(asked, searches=(form.search,) if form.search else asked.searches, overrides=overrides)


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Vectors that were computed elsewhere, in place of a data set of images."""

    vectors: Annotated[
        Path | None,
        typer.Option("--vectors", help="Vectors of the gallery [N,D] (.npy), in place of --dataset: compares indexes."),
    ] = None
    queries: Annotated[
        Path | None,
        typer.Option("--queries", help="Vectors of the queries [Q,D] (.npy); default: up to 1,000 of the gallery."),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Labels of the gallery: .npy [N], or a text file with one a line. Without labels, recall of the exact "
            "neighbours is measured.",
        ),
    ] = None
    query_labels: Annotated[
        Path | None, typer.Option("--query-labels", help="Labels of the queries, where these are given too.")
    ] = None

    def listed(self, work: Path) -> Path | None:
        """Write which files these are below the work folder and return the path of that list; None without vectors."""
        from irbench.data.loaders.vectors import Files, write_list

        self._check()
        if self.vectors is None:
            return None
        files = Files(gallery=self.vectors, queries=self.queries, labels=self.labels, query_labels=self.query_labels)
        return write_list(files, work)

    def _check(self) -> None:
        """Find out whether the files that are named go together."""
        if self.vectors is None and (self.queries or self.labels or self.query_labels):
            raise UsageError("--queries, --labels and --query-labels need --vectors GALLERY.npy", code="unused-option")
        if self.queries is None and self.query_labels:
            raise UsageError("--query-labels needs --queries; rows of the gallery have --labels", code="unused-option")
        if self.queries and bool(self.labels) != bool(self.query_labels):
            missing = "--query-labels" if self.labels else "--labels"
            raise UsageError(f"{missing} is missing: gallery and queries both have labels, or none", code="bad-label")


@dataclass(frozen=True, kw_only=True)
class RunOptions(o.ExecutionOptions, VectorOptions, CellOptions):
    """The options of `irbench run`."""

    qrels: Annotated[
        Path | None,
        typer.Option(
            "--qrels",
            help="Which images of --dataset, a folder or list of your own, are relevant to which: lines 'query 0 image "
            "grade', or a CSV with columns query,image,grade.",
        ),
    ] = None

    def request(self) -> "Request":
        """Return which cells are asked for; vectors stand for a data set, as do images with judgements."""
        place, request = self.listed(self.work), super().request()
        if self.qrels is not None:
            return replace(request, datasets=(str(self._judged(self.qrels)),))
        if place is None:
            return request
        if self.dataset or self.crop not in {None, "none"} or self.on_bad_image != "fail":
            raise UsageError(
                "--vectors stands for the data set, and there are no images: leave out --dataset, --crop and "
                "--on-bad-image",
                code="unused-option",
            )
        return replace(request, datasets=(str(place),))

    def _judged(self, qrels: Path) -> Path:
        """Write which images and judgements these are below the work folder and return the path of that list."""
        from irbench.data.datasets import with_qrels

        named = self.dataset or []
        if self.vectors is not None or len(named) != 1:
            raise UsageError(
                "--qrels is about images of your own: name their folder or list as the one --dataset",
                code="unused-option",
            )
        return with_qrels(named[0], qrels, self.work)


@app.command()
@o.command(RunOptions)
def run(options: RunOptions) -> None:
    """Evaluate retrievers on data sets; without options, the quick grid on scikit-learn's digits."""
    from irbench.experiments.plan import experiments

    carry_out("run", lambda: experiments(options.request(), _settings(options)), options)


@dataclass(frozen=True, kw_only=True)
class AblateOptions(o.RunOptions):
    """The options of `irbench ablate`."""

    what: Annotated[
        str,
        typer.Argument(
            help="identifier, length, training, beam, fresh, embedding or index.",
            show_default=False,
            autocompletion=o.one_of("identifier", "length", "training", "beam", "fresh", "embedding", "index"),
        ),
    ]


@app.command()
@o.command(AblateOptions)
def ablate(options: AblateOptions) -> None:
    """Vary one thing: identifiers, their length, epochs, beam size, an incremental gallery, or index settings."""
    from irbench.experiments.ablations import ABLATIONS, ablation_cells
    from irbench.experiments.experiment import Experiment
    from irbench.experiments.plan import located

    def planned() -> list[Experiment]:
        settings = _settings(options)
        cells = ablation_cells(options.what, located(options.request(), settings))
        return [Experiment(cell, settings) for cell in cells]

    carry_out("ablate", planned, options, tables=lambda: ABLATIONS[options.what].tables)


@dataclass(frozen=True, kw_only=True)
class QueryOptions(o.MachineOptions, o.OverrideOptions, o.ProtocolOptions):
    """The options of `irbench query`."""

    images: Annotated[list[Path], typer.Argument(help="Image files to search with.", show_default=False)]
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="Method, or method+search.", autocompletion=o.names_of("methods")),
    ] = "irgen"
    search: Annotated[
        str | None,
        typer.Option("--search", help="Search index.", autocompletion=o.names_of("methods/search")),
    ] = None
    identifier: Annotated[
        str | None,
        typer.Option(
            "--identifier", help="Kind of identifier (irgen).", autocompletion=o.names_of("methods/identifier")
        ),
    ] = None
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset", "-d", help="Data set whose gallery is searched.", autocompletion=o.names_of("datasets")
        ),
    ] = "digits"
    k: Annotated[int, typer.Option("-k", min=1, help="Results per query image.")] = 5
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the training.")] = 0
    results: Annotated[
        Path | None, typer.Option("--results", envvar="IRBENCH_RESULTS", help="Where a data set is known by its name.")
    ] = None
    as_json: o.AsJson = False

    def request(self) -> "Request":
        """Return which cell is asked for."""
        from irbench.experiments.plan import Request

        return Request(
            methods=(self.method,),
            searches=(self.search,) if self.search else (),
            identifiers=(self.identifier,) if self.identifier else (),
            datasets=(self.dataset,),
            seeds=(self.seed,),
            scale=self.scale,
            crop=self.crop,
            protocol=self.protocol,
            overrides=self.pairs(),
        )


@app.command()
@o.command(QueryOptions)
def query(options: QueryOptions) -> None:
    """Search a data set's gallery with images of your own; a retriever that is not trained yet is trained first."""
    from irbench.cli.console import print_retrieved
    from irbench.experiments.plan import experiments
    from irbench.experiments.query import search
    from irbench.results import own
    from irbench.results.place import default_folder

    settings = options.settings(options.results or default_folder())
    (experiment,) = experiments(options.request(), settings)
    notes = (own.differing(options.dataset, experiment.benchmark, settings.results),
             own.judged_too(options.dataset, settings.results))  # fmt: skip
    for note in chain.from_iterable(notes):
        typer.echo(f"irbench: {note}", err=True)
    with interruptible():
        found = search(experiment, options.images, options.k)
    print_retrieved(found, as_json=options.as_json)


@dataclass(frozen=True, kw_only=True)
class CertifyOptions(CellOptions):
    """The options of `irbench certify`."""

    results: o.ResultsIn = Path("runs/results")


@app.command()
@o.command(CertifyOptions)
def certify(options: CertifyOptions) -> None:
    """Answer with one trained cell at several batch sizes, threads and precisions, and print what changes."""
    from irbench.experiments.certify import TOLERANCE
    from irbench.experiments.certify import certify as certified
    from irbench.experiments.plan import experiments

    beyond = False
    with interruptible():
        for experiment in experiments(options.request(), options.settings(options.results)):
            baseline, found = certified(experiment)
            typer.echo(f"{experiment.cell}, against {baseline}:")
            for one in found:
                beyond |= not one.tolerated
                mark = "" if one.tolerated else f"   beyond the tolerance of {100 * TOLERANCE:g} points"
                typer.echo(
                    f"  {one.setting}: {one.metric} {100 * one.change:+.3f} points, first results of "
                    f"{100 * one.queries:.1f} % of the queries, scores by {one.score:.1e}{mark}"
                )
    raise typer.Exit(1 if beyond else 0)


def _tables(experiments: "Sequence[Experiment]") -> tuple[str, ...]:
    """Return which tables show what was asked: of vectors, which indexes are compared on, times too."""
    first = experiments[0].benchmark
    if first.queries.vectors is None:
        return ("precision",)
    return ("precision" if first.nearest is None else "recall", "latency")


def _settings(options: "RunOptions | AblateOptions") -> "Settings":
    """Return where and how cells are run, and what was said of images of one's own."""
    from irbench.runtime.together import Together

    settings = options.settings(options.results)
    return replace(settings, name=options.name, ks=tuple(options.k or ()), together=Together.of_torchrun())


# options that say nothing of the next run
_ONE_RUN = ("seed", "force", "dry_run", "as_json", "timeout", "jobs", "executor", "address")
_MACHINE = ("device", "precision", "weights", "data", "work", "results", "on_bad_image", "pixel_cache")
_QUERY = ("dataset", "overrides", "beam_size", "decode", "rerank", "scale", "crop", "protocol", *_MACHINE)


def hints(command: str, options: "RunOptions | AblateOptions", experiments: "Sequence[Experiment]") -> list[str]:
    """Return what to do after a run; each command in it can be carried out as it is."""
    seeds = [max(options.seed or [0]) + more for more in (1, 2)]
    again = o.command_line(command, options, leaving_out=_ONE_RUN, seed=seeds)
    last = experiments[-1]
    if last.benchmark.queries.vectors is not None:
        return _hints_of_vectors(options, last.benchmark.name, again)
    result = last.current()
    shortened = " --shortened" if result and result.shortened else ""
    metrics = o.command_line(f"table{shortened} --metric hit_rate", options, only=("dataset", "results"))
    report = o.command_line("report --out runs/report", options, only=("dataset", "results", "data", "work"))
    found = [
        f"results in {options.results}; other tables (also recall, mrr, map, ndcg, cost, latency, training): {metrics}",
        f"pages with figures and retrieved images: {report}",
        f"more seeds: {again}",
    ]
    if last.benchmark.path is None:
        return [*found, "your own images: irbench run --dataset and the path of their folder"]
    if last.cell.origin != "recipe" or result is None or result.status != "ok":
        return found  # a file of the user's has no name to ask for, and what failed has no answer
    image = str(last.benchmark.queries.root / last.benchmark.queries.ids[0])
    image = f"./{image}" if image.startswith("-") else image  # and not an option
    asked = o.command_line("query", options, only=_QUERY, method=last.cell.name, dataset=last.cell.dataset)
    identifier = ["--identifier", last.cell.identifier] if last.cell.identifier else []
    return [*found, f"one image: {asked} {shlex.join([*identifier, image])}"]


def _hints_of_vectors(options: "RunOptions | AblateOptions", dataset: str, again: str) -> list[str]:
    """Return what to do after indexes were compared on the vectors that have this name in results."""
    sizes = o.command_line("table --metric footprint", options, only=("results",), dataset=[dataset])
    swept = o.command_line("ablate index", options, only=("results", "work"), dataset=[dataset])
    return [
        f"results in {options.results}; the size of the indexes: {sizes}",
        f"each index at several settings, between fast and exact: {swept}",
        f"more seeds: {again}",
    ]


def carry_out(
    command: str,
    plan: "Callable[[], Sequence[Experiment]]",
    options: "RunOptions | AblateOptions",
    *,
    tables: "Callable[[], Sequence[str]]" = tuple,
) -> NoReturn:
    """Run the cells that are due, print `tables` or what suits the data, exit with the worst of their exit codes.

    Of several processes that torchrun has started, the others only take part in the trainings of the first.
    """
    from irbench.cli.console import Console, conclude
    from irbench.experiments import grid
    from irbench.experiments.executors.choice import choose
    from irbench.runtime.together import Together

    together = Together.of_torchrun()
    executor = choose(options.executor, jobs=options.jobs, address=options.address)
    if executor is not None and not together.alone:
        raise UsageError("torchrun trains one cell at a time: leave out --jobs and --executor", code="unused-option")
    if not together.alone:  # before the cells' processes load torch, which warns that it looks for gradients in vain
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if not together.first:
        with quiet(on=True), suppress(KeyboardInterrupt):  # of which the first one says something
            grid.attend(plan, together, timeout=options.timeout)
        raise typer.Exit
    experiments = plan()
    if not experiments:
        raise UsageError("nothing to run", code="nothing-to-run")
    console = Console(estimating=options.dry_run)
    with interruptible():
        outcomes = grid.run(
            experiments,
            console,
            force=options.force,
            timeout=options.timeout,
            dry_run=options.dry_run,
            executor=executor,
        )
        grid.end(together)
    shown = tables() or _tables(experiments)
    if conclude(experiments, outcomes, tables=shown, as_json=options.as_json, estimates=console.estimates):
        answered = [one for one in experiments if (result := one.current()) is not None and result.status == "ok"]
        for hint in hints(command, options, answered or experiments):
            typer.echo(hint, err=True)
    raise typer.Exit(max((outcome.exit_code for outcome in outcomes.values()), default=0))


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a run the way Ctrl-C does: what is finished stays, and the same command goes on from there."""
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; finished cells are stored, and the same command continues from there", err=True)
        raise typer.Exit(STATUS) from None
    finally:
        signal.signal(signal.SIGTERM, before)
