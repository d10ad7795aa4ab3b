"""`irbench bench beam`, `encode` and `training`: what networks cost."""

import json
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from irbench.cli import options as o
from irbench.cli.bench.app import DeviceOptions, bench_app, machine_rates, runtimes, show, use
from irbench.cli.bench.columns import COMPARISON, ENCODED, POINT, TRAINED
from irbench.core.errors import UsageError

_VIT = "vit_base_patch16_224"
_LITE = "tf_efficientnet_lite0"


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

    use(options.threads)
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
    for runtime in runtimes(options.device, options.precision):
        rates, row = machine_rates(runtime, options)
        known += row
        for plan in (replace(shared, num_layers=size) for size in sizes):
            model = bench.Model(plan, runtime)
            points += show(bench.measure(model, plan, rates), POINT, as_json=options.as_json)
            if runtime.precision == "fp32":
                comparisons += show(bench.compare(model, plan), COMPARISON, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"machine": known, "points": points, "reference": comparisons}))


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(NetworkOptions):
    """The options of `irbench bench encode`."""

    backbone: Annotated[str, typer.Option("--backbone", help="Name of a timm model; its weights are random.")] = _VIT
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="Pixels.")] = 224
    compiled: Annotated[bool, typer.Option("--compile", help="Let torch.compile fuse operations.")] = False


@bench_app.command()
@o.command(EncodeOptions)
def encode(options: EncodeOptions) -> None:
    """Time a backbone with random weights, as a share of what the machine could do at best."""
    from irbench.bench import encode as bench

    use(options.threads)
    plan = bench.Plan(
        backbone=options.backbone,
        image_size=options.image_size,
        batches=o.numbers("--batches", options.batches),
        compiled=options.compiled,
        patience=options.patience,
    )
    known, points = [], []
    for runtime in runtimes(options.device, options.precision):
        rates, row = machine_rates(runtime, options)
        known += row
        points += show(bench.measure(bench.Model(plan, runtime), plan, rates), ENCODED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"machine": known, "points": points}))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(NetworkOptions):
    """The options of `irbench bench training`."""

    batches: Annotated[str, typer.Option("--batches", help="Batch sizes.")] = "64"
    backbone: Annotated[str, typer.Option("--backbone", help="Name of a timm model; its weights are random.")] = _LITE
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="Pixels.")] = 128
    frozen_stages: Annotated[
        str,
        typer.Option(
            "--frozen-stages",
            help="Stages that do not learn, the stem before them neither; 0: all do, all: none does, and what the "
            "backbone computes is kept.",
        ),
    ] = "0,3"
    targets: Annotated[
        str,
        typer.Option(
            "--targets",
            help="Identifiers for an image on which IRGen's decoder is trained; 0: an encoder is, to classify.",
        ),
    ] = "0"
    shared_codes: Annotated[
        int,
        typer.Option("--shared-codes", min=0, max=4, help="First codes, of 4, that identifiers of a class share."),
    ] = 0


@bench_app.command()
@o.command(TrainingOptions)
def training(options: TrainingOptions) -> None:
    """Time the steps in which an encoder, or IRGen's decoder on one, is trained on photographs, and their parts."""
    from irbench.bench import training as bench

    use(options.threads)
    targets = o.numbers("--targets", options.targets, least=0)
    if options.shared_codes and not any(targets):
        raise UsageError("--shared-codes needs --targets: a classifier has no identifiers", code="unused-option")
    plan = bench.Plan(
        backbone=options.backbone,
        image_size=options.image_size,
        batches=o.numbers("--batches", options.batches),
        frozen_stages=_stages(options.frozen_stages),
        targets=targets,
        shared_codes=options.shared_codes,
        patience=options.patience,
    )
    points = []
    for runtime in runtimes(options.device, options.precision):
        points += show(bench.measure(bench.Model(plan, runtime), plan), TRAINED, as_json=options.as_json)
    if options.as_json:
        typer.echo(json.dumps({"points": points}))


def _stages(text: str) -> tuple[int | None, ...]:
    """Read numbers of frozen stages, as in 0,3,all; None is all."""
    return tuple(None if one == "all" else o.numbers("--frozen-stages", one, least=0)[0] for one in text.split(","))


def _pair(text: str) -> tuple[int, int]:
    """Read a batch and its beams, as in 16x30."""
    batch, *beams = o.numbers("--compare", text, "x")
    if len(beams) != 1:
        raise UsageError(f"--compare {text}: a batch and a beam size are needed, as in 16x30", code="bad-number")
    return batch, beams[0]
