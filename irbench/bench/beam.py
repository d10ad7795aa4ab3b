"""What a query costs with a model of the paper's size and random weights, beside the slow reference decoder.

All from the picture to the leaves is timed, the encoder included; reading image files is not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from irbench.backbones import NetworkConfig, VisionNetwork
from irbench.clock import Clock, stage
from irbench.identifiers import Identifiers
from irbench.irgen.beam import BeamSearch
from irbench.irgen.decoder import Decoder, Shape
from irbench.irgen.reference import ReferenceSearch
from irbench.irgen.trie import Trie
from irbench.machine import Runtime, peak_memory, reset_peak_memory, seed_everything
from irbench.store import Store

IDENTIFIERS = 12_612  # gallery images of In-shop
TOLERANCE = 1e-3  # of a score, in nats: what differs by less may stand in either order

Search = Callable[[Decoder, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: seconds are medians over repeats, of one batch."""

    precision: str
    batch: int
    beams: int
    encoder_s: float
    decoder_s: float
    trie_s: float
    total_s: float  # end to end
    peak_bytes: int  # of the process on the host, or of the GPU's memory

    @property
    def queries_per_s(self) -> float:
        """End to end."""
        return self.batch / self.total_s

    @property
    def over_encoder(self) -> float:
        """How many times the encoder's time the whole takes."""
        return self.total_s / self.encoder_s


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The reference decoder in float32 at one point, and how the fast one compares."""

    batch: int
    beams: int
    reference_s: float  # decoding alone, of one batch
    ratio: float  # end to end, the encoder counted on both sides
    ratio_decoding: float
    leaves_differing: int  # places at which another leaf stands, where scores differ by more than the tolerance
    score_difference: float  # the largest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure."""

    beams: tuple[int, ...] = (1, 10, 20, 30)
    batches: tuple[int, ...] = (1, 16, 64)
    compared: tuple[tuple[int, int], ...] = ((1, 30), (16, 30))  # batch and beams
    backbone: str = "vit_base_patch16_224"
    depth: int = 12  # blocks of the decoder, which is as wide as the encoder, with heads of 64
    length: int = 4
    codes: int = 256
    patience: float = 8.0  # seconds after which a point is not repeated any more

    @property
    def pictures(self) -> int:
        """The largest batch."""
        return max((*self.batches, *(batch for batch, _ in self.compared)))


class Model:
    """An encoder, a decoder and a trie of the paper's size; random, but the same every time."""

    def __init__(self, plan: Plan, device: str, precision: str) -> None:
        seed_everything(0)
        self.runtime = Runtime(store=Store(Path("unused")), device=device, precision=precision)
        self.network = VisionNetwork(NetworkConfig(backbone=plan.backbone)).eval().to(device)
        D = self.network.dim
        shape = Shape(memory_dim=D, length=plan.length, codes=plan.codes, depth=plan.depth, width=D, heads=D // 64)
        self.decoder = Decoder(shape).eval().to(device)
        for network in (self.network, self.decoder):
            self.runtime.hold(network)
        codes = np.random.default_rng(0).integers(0, plan.codes, (IDENTIFIERS, plan.length))
        self.trie = Trie.build(Identifiers(codes, plan.codes))
        self.pictures = 255 * torch.rand(plan.pictures, 3, 224, 224, device=device)

    def answer(self, batch: int, beams: int, search: Search) -> tuple[Tensor, Tensor]:
        """Leaves and scores [B,K] for the first pictures, on the clock."""
        with self.runtime.autocast():
            with stage("encode"):
                tokens = self.network(self.pictures[:batch])
            with stage("search"):
                return search(self.decoder, tokens, beams)


@torch.inference_mode()
def measure(model: Model, plan: Plan) -> Iterator[Point]:
    """Time every batch size with every number of beams."""
    search = BeamSearch(model.trie, model.runtime.device)
    for batch in plan.batches:
        for beams in plan.beams:
            reset_peak_memory(model.runtime)
            clocks = _repeated(partial(model.answer, batch, beams, search), model.runtime, plan.patience)
            yield _point(model.runtime, batch, beams, clocks)


@torch.inference_mode()
def compare(model: Model, plan: Plan) -> Iterator[Comparison]:
    """Ask the reference decoder the same, once: it is slow."""
    fast, slow = (kind(model.trie, model.runtime.device) for kind in (BeamSearch, ReferenceSearch))
    for batch, beams in plan.compared:
        clocks = _repeated(partial(model.answer, batch, beams, fast), model.runtime, plan.patience)
        mine = _median(clocks, "search")
        with Clock(live=True, synchronize=model.runtime.synchronize).run() as clock:
            expected = model.answer(batch, beams, slow)
        theirs, encoder = clock.seconds["search"], _median(clocks, "encode")
        differing, difference = disagreement(model.answer(batch, beams, fast), expected)
        yield Comparison(
            batch=batch,
            beams=beams,
            reference_s=theirs,
            ratio=(encoder + theirs) / (encoder + mine),
            ratio_decoding=theirs / mine,
            leaves_differing=differing,
            score_difference=difference,
        )


def disagreement(answer: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> tuple[int, float]:
    """Count the places [B,K] where another leaf stands, unless a neighbour's score is as good; the largest difference.

    Neighbours whose scores differ by less than the tolerance may have changed places.
    """
    (leaves, scores), (expected_leaves, expected_scores) = answer, expected
    near = (expected_scores.unsqueeze(2) - expected_scores.unsqueeze(1)).abs() <= TOLERANCE  # [B,K,K]
    allowed = (near & (leaves.unsqueeze(2) == expected_leaves.unsqueeze(1))).any(dim=2)
    last = expected_scores - expected_scores[:, -1:] <= TOLERANCE  # may have changed places with what is not shown
    return int((~allowed & ~last).sum()), float((scores - expected_scores).abs().max())


def _repeated(work: Callable[[], object], runtime: Runtime, patience: float) -> list[Clock]:
    """Run `work` to warm up, then on a clock until patience ends: at least once, at most 9 times."""
    work()
    clocks: list[Clock] = []
    start = perf_counter()
    while not clocks or (len(clocks) < 9 and perf_counter() - start < patience):
        with Clock(live=True, fine=True, synchronize=runtime.synchronize).run() as clock:
            work()
        clocks.append(clock)
    return clocks


def _point(runtime: Runtime, batch: int, beams: int, clocks: list[Clock]) -> Point:
    host, device = peak_memory(runtime)
    seconds = {name: _median(clocks, name) for name in ("encode", "decoder", "trie", "total")}
    return Point(
        precision=runtime.precision,
        batch=batch,
        beams=beams,
        encoder_s=seconds["encode"],
        decoder_s=seconds["decoder"],
        trie_s=seconds["trie"],
        total_s=seconds["total"],
        peak_bytes=host if device is None else device,
    )


def _median(clocks: list[Clock], name: str) -> float:
    return float(np.median([clock.seconds[name] for clock in clocks]))
