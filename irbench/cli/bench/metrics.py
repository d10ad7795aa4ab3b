"""`irbench bench metrics`: what scoring costs."""

import json
from dataclasses import dataclass
from typing import Annotated

import typer

from irbench.cli import options as o
from irbench.cli.bench.app import OutputOptions, bench_app, runtimes, show
from irbench.cli.bench.columns import SCORED


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

    (runtime,) = runtimes("cpu", "fp32")
    timed = [bench.measure(options.queries, options.top_k, runtime, options.patience)]
    found = show(timed, SCORED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"metrics": found}))
