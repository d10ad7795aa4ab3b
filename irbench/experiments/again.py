"""A stored cell made ready again, from the networks that were trained for it."""

from dataclasses import replace

from irbench.core.benchmark import Benchmark
from irbench.experiments.experiment import Experiment
from irbench.protocols import Retriever, SupportsUpdates, Trainable
from irbench.runtime.cache import TrainedStore
from irbench.runtime.machine import Runtime, seed_everything


def trained(experiment: Experiment, runtime: Runtime) -> Retriever:
    """Return the cell's retriever with its networks, which `runtime` computes with.

    Raises `StoreError` where they are not in the work folder: nothing is trained.
    """
    seed_everything(experiment.cell.seed)
    runtime = replace(runtime, store=TrainedStore(runtime.store.root))
    retriever = replace(experiment.builder, runtime=runtime).retriever()
    if isinstance(retriever, Trainable):
        retriever.train(experiment.benchmark.train)
    return retriever


def index(retriever: Retriever, benchmark: Benchmark) -> None:
    """Index the gallery, the images that are added later one step after the others."""
    retriever.index(benchmark.old_gallery)
    if benchmark.incremental and isinstance(retriever, SupportsUpdates):
        retriever.add(benchmark.new_gallery)
