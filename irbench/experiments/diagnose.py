"""Diagnoses the identifiers of a data set: before a decoder is trained, and with what a stored decoder made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter

from irbench.core.errors import Unavailable
from irbench.experiments.experiment import Experiment
from irbench.metrics import diagnostics
from irbench.protocols import Trainable
from irbench.runtime.cache import check_writable
from irbench.runtime.machine import seed_everything, use_threads


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One kind of identifier: the report of `metrics.diagnostics`, or the reason why there is none."""

    identifier: str
    dataset: str
    scale: str
    seed: int
    before: Mapping[str, object] | None = None
    seconds: float | None = None  # that training it (or finding it in the store) and encoding the gallery took now
    after: Mapping[str, object] | None = None  # the report of a stored result, whose decoder was trained on them
    precision: Mapping[str, float | None] | None = None  # that this decoder reached
    loss: float | None = None  # nats a code, of its last epoch of training
    current: bool = False  # is the stored result about these very identifiers: same code, recipes and images?
    reason: str | None = None


def examine(experiments: Sequence[Experiment]) -> list[Examined]:
    """Train the identifier of each cell, unless it is in the store, and report on the gallery's. No decoder is trained.

    An identifier that cannot be had here, for want of weights, is told with the reason.
    """
    for experiment in experiments:
        experiment.check()
    check_writable(experiments[0].settings.work, "--work")
    return [_examined(experiment) for experiment in experiments]


def _examined(experiment: Experiment) -> Examined:
    cell = experiment.cell
    blank = Examined(identifier=cell.identifier or "", dataset=cell.dataset, scale=cell.scale, seed=cell.seed)
    start = perf_counter()
    try:
        before = _before(experiment)
    except Unavailable as error:
        return replace(blank, reason=str(error))
    return _beside_stored(replace(blank, before=before, seconds=perf_counter() - start), experiment)


def _before(experiment: Experiment) -> dict[str, object]:
    use_threads(experiment.runtime.threads)
    seed_everything(experiment.cell.seed)
    identifier, benchmark = experiment.builder.identifier(), experiment.benchmark
    if isinstance(identifier, Trainable):
        identifier.train(benchmark.train)
    return diagnostics.report(identifier.encode(benchmark.gallery), benchmark)


def _beside_stored(one: Examined, experiment: Experiment) -> Examined:
    """Add what a stored result of this cell reports, if there is one on the same benchmark."""
    result, benchmark = experiment.older(), experiment.benchmark
    if result is None or result.status != "ok" or result.dataset.fingerprint != benchmark.fingerprint:
        return one
    report = result.retriever.get("identifiers")
    if not isinstance(report, dict):
        return one
    reached = {name: result.metrics[name].mean for name in (f"precision@{k}" for k in benchmark.ks)}
    current = result.inputs == experiment.inputs
    return replace(
        one, after=report, precision=reached, loss=diagnostics.reached_loss(result.retriever), current=current
    )


def document(examined: Sequence[Examined]) -> list[dict[str, object]]:
    """Return what was found as JSON values."""
    return [asdict(one) for one in examined]
