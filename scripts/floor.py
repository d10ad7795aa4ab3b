"""The least work of the trainings of scripts/gpu.sh and of a query, and on a GPU the time of a training step.

    python scripts/floor.py [cpu|cuda]

FLOP are those of matrix products and convolutions, forward and backward; operations are those that launch at least one
kernel on a GPU. "floor s" is PFLOP at the machine's measured rate of matrix products, "all s" the time of the training
in a process of its own.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import typer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from irbench.bench.beam import Model, Plan
from irbench.bench.roofline import rates
from irbench.config import recipes
from irbench.config.registry import ENCODERS, IDENTIFIERS, RETRIEVERS
from irbench.core.identifiers import Identifiers
from irbench.networks.backbones import VisionNetwork
from irbench.retrievers.irgen.autoregression import Autoregression, Targets
from irbench.retrievers.irgen.beam import BeamSearch
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.retrievers.irgen.identifiers.rqvae import Reconstruction
from irbench.retrievers.irgen.identifiers.semantic import Tokenization
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime
from irbench.training.loop import Task
from irbench.training.optim import make_optimizer

IMAGES, CLASSES = 5429, 196  # of cars196-holdout
LABELS = np.arange(IMAGES) % CLASSES
STEPS = 20  # timed steps
LAUNCHES_NOTHING = ("view", "aten.t.", "detach", "transpose", "permute", "expand", "squeeze", "select", "slice",
                    "alias", "as_strided", "split", "unbind", "reshape", "empty", "_local_scalar")  # fmt: skip

Training = tuple[str, Task, Any]  # name, task, and config


class Launches(TorchDispatchMode):
    """Counts the operations that launch a kernel."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and run an operation."""
        self.count += not any(name in str(operation) for name in LAUNCHES_NOTHING)
        return operation(*args, **(kwargs or {}))


def config_of(registry: Any, name: str) -> Any:
    """Return the recipe's config for cars196-holdout."""
    family = "methods/identifier" if registry is IDENTIFIERS else "methods"
    recipe = recipes.find(family, name)
    schema = registry.schema(recipe.table[registry.kind])
    return recipe.config(schema, scale="small", dataset="cars196-holdout")


def trainings(runtime: Runtime) -> Iterator[Training]:
    """Yield each kind of training of the grid, not yet run."""
    for name in ("ft-clip", "cgd", "irt-r"):
        config = config_of(ENCODERS, name)
        yield name, ENCODERS.load(name)(config, runtime).task(VisionNetwork(config), LABELS), config
    for length in (2, 4, 8):
        config = replace(config_of(IDENTIFIERS, "semantic"), num_codebooks=length)
        task = Tokenization(VisionNetwork(config), LABELS, config, 0, lambda *, cache: np.zeros(0, np.float32))  # noqa: ARG005
        yield f"tokenizer, {length} codes", task, config
    config = config_of(IDENTIFIERS, "rqvae")
    yield "rqvae", Reconstruction(config, device=runtime.device), config
    for length in (2, 4, 8, 64):
        yield f"irgen, {length} codes", *decoder_training(length, runtime)


def decoder_training(num_codebooks: int, runtime: Runtime) -> tuple[Task, Any]:
    """Return the training of a decoder for identifiers of `num_codebooks` codes."""
    config = config_of(RETRIEVERS, "irgen")
    network = VisionNetwork(config)
    codes = Identifiers(np.random.default_rng(0).integers(0, 256, (IMAGES, num_codebooks)), 256)
    sizes = {"num_layers": config.num_layers, "width": config.width, "num_heads": config.num_heads}
    decoder = Decoder(
        DecoderConfig(
            memory_dim=network.dim, num_codebooks=num_codebooks, codebook_size=256, residual=config.residual, **sizes
        )
    )
    targets = Targets(codes, LABELS, runtime.device)
    return Autoregression(
        network, decoder, targets, targets_per_image=config.targets_per_image, label_smoothing=0.0
    ), config


def measured(task: Task, config: Any, runtime: Runtime) -> tuple[float, int, float]:
    """Return FLOP per image, operations per step, and on a GPU the seconds of a step of the recipe's batch size."""
    task.module.to(runtime.device).train()
    if task.classes is not None:
        task.classes = task.classes.to(runtime.device)
    optimizer = make_optimizer(task.module, task.backbone, config)
    batch = config.batch if runtime.device == "cuda" else 8  # the counts are the same for any batch size
    images = 255 * torch.rand(batch, 3, config.image_size, config.image_size, device=runtime.device)
    images = images.to(memory_format=torch.channels_last)
    rows = torch.arange(batch, device=runtime.device)

    def step() -> None:
        with runtime.autocast():
            loss = task.loss(images, rows)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    with FlopCounterMode(display=False) as flop:
        step()
    with Launches() as launches:
        step()
    seconds = float("nan")
    if runtime.device == "cuda":
        step()
        runtime.synchronize()
        start = perf_counter()
        for _ in range(STEPS):
            step()
        runtime.synchronize()
        seconds = (perf_counter() - start) / STEPS
    return flop.get_total_flops() / batch, launches.count, seconds


def launches_of_a_query(runtime: Runtime) -> tuple[int, int]:
    """Return the operations of the paper's encoder, and of its decoder and trie with 10 beams, for one query."""
    model = Model(Plan(batches=(1,), compared=()), runtime)
    search = BeamSearch(model.trie, runtime.device)
    with torch.inference_mode(), runtime.autocast():
        with Launches() as encoding:
            tokens = model.network(model.images[:1])
        with Launches() as decoding:
            search(model.decoder, tokens, 10)
    return encoding.count, decoding.count


def main(device: str) -> None:
    """Print a line for each training."""
    runtime = Runtime(store=Store(Path("unused")), device=device, precision="bf16")
    rate = rates(runtime, 1.0).flop_per_s if device == "cuda" else float("nan")
    typer.echo("            training epochs   steps GFLOP/image  PFLOP ops/step  Mops floor s ms/step  all s")
    for name, task, config in trainings(runtime):
        flop, launches, seconds = measured(task, config, runtime)
        steps, total = config.epochs * max(1, round(IMAGES / config.batch)), flop * IMAGES * config.epochs
        typer.echo(
            f"{name:>20} {config.epochs:>6} {steps:>7,} {flop / 1e9:>11.2f} {total / 1e15:>6.2f} {launches:>8} "
            f"{launches * steps / 1e6:>5.1f} {total / rate:>7.1f} {1000 * seconds:>7.2f} {seconds * steps:>6.0f}"
        )
    encoder, search = launches_of_a_query(runtime)
    typer.echo(f"one query of the paper's model with 10 beams: {encoder} operations of the encoder, {search} of search")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["cpu"]))
