"""What a query costs with a model of the paper's size and random weights, beside the slow reference decoder.

All from the picture to the leaves is timed, the encoder included; reading image files is not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from irbench.bench.replay import Replayed
from irbench.bench.roofline import Rates, Work, bytes_of, flop_of
from irbench.bench.timing import median, peak_bytes, repeated
from irbench.core.identifiers import Identifiers
from irbench.networks.backbones import NetworkConfig, VisionNetwork
from irbench.retrievers.irgen.beam import BeamSearch
from irbench.retrievers.irgen.decoder import Decoder, DecoderConfig
from irbench.retrievers.irgen.reference import ReferenceSearch
from irbench.retrievers.irgen.trie import Trie
from irbench.runtime.environment import reset_peak_memory
from irbench.runtime.machine import Runtime, seed_everything
from irbench.runtime.timer import Timer, span

IDENTIFIERS = 12_612  # gallery images of In-shop
TOLERANCE = 1e-3  # of a score, in nats: what differs by less may stand in either order

Search = Callable[[Decoder, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: seconds are medians over repeats, of one batch."""

    precision: str
    batch: int
    beam_size: int
    encoder_s: float
    decoder_s: float | None  # unknown of a graph, which has no parts
    trie_s: float | None
    total_s: float  # end to end
    of_roof: float  # the share of the queries/s that the machine's rates of products and copies allow
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
    beam_size: int
    reference_s: float  # decoding alone, of one batch
    ratio: float  # end to end, the encoder counted on both sides
    ratio_decoding: float
    leaves_differing: int  # places at which another leaf stands, where scores differ by more than the tolerance
    score_difference: float  # the largest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure."""

    beam_sizes: tuple[int, ...] = (1, 10, 20, 30)
    batches: tuple[int, ...] = (1, 16, 64)
    compared: tuple[tuple[int, int], ...] = ((1, 30), (16, 30))  # batch and beam_size
    backbone: str = "vit_base_patch16_224"
    num_layers: int = 12  # blocks of the decoder, which is as wide as the encoder, with heads of 64
    num_codebooks: int = 4
    codebook_size: int = 256
    graphs: bool = False  # a GPU replays encoder and search as CUDA graphs
    patience: float = 8.0  # seconds after which a point is not repeated any more

    @property
    def pictures(self) -> int:
        """The largest batch."""
        return max((*self.batches, *(batch for batch, _ in self.compared)))


class Model:
    """An encoder, a decoder and a trie of the paper's size; random, but the same every time."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        seed_everything(0)
        self.runtime = runtime
        self.network = VisionNetwork(NetworkConfig(backbone=plan.backbone)).eval().to(runtime.device)
        D = self.network.dim
        shape = DecoderConfig(
            memory_dim=D,
            num_codebooks=plan.num_codebooks,
            codebook_size=plan.codebook_size,
            num_layers=plan.num_layers,
            width=D,
            num_heads=D // 64,
        )
        self.decoder = Decoder(shape).eval().to(runtime.device)
        for network in (self.network, self.decoder):
            self.runtime.cast_weights(network)
        self.encode: Callable[[Tensor], Tensor] = Replayed(self.network) if plan.graphs else self.network
        codes = np.random.default_rng(0).integers(0, plan.codebook_size, (IDENTIFIERS, plan.num_codebooks))
        self.trie = Trie.build(Identifiers(codes, plan.codebook_size))
        self.pictures = 255 * torch.rand(plan.pictures, 3, 224, 224, device=runtime.device)
        with torch.inference_mode(), self.runtime.autocast():
            self.tokens = self.network(self.pictures[:1]).shape[1]
        self.encoder_flop = flop_of(self.network, self.pictures[:1], self.runtime.autocast())

    def answer(self, batch: int, beam_size: int, search: Search) -> tuple[Tensor, Tensor]:
        """Leaves and scores [B,K] for the first pictures, on the timer."""
        with self.runtime.autocast():
            with span("encode"):
                tokens = self.encode(self.pictures[:batch])
            with span("search"):
                return search(self.decoder, tokens, beam_size)


@torch.inference_mode()
def measure(model: Model, plan: Plan, rates: Rates) -> Iterator[Point]:
    """Time every batch size with every beam size; parts apart from the whole, where a device is waited for."""
    beam_search = BeamSearch(model.trie, model.runtime.device)
    search: Search = Replayed(beam_search) if plan.graphs else beam_search
    for batch in plan.batches:
        for beam_size in plan.beam_sizes:
            reset_peak_memory(model.runtime)
            ask = partial(model.answer, batch, beam_size, search)
            waits = model.runtime.device != "cpu"
            clocks = repeated(ask, model.runtime, plan.patience, detailed=not waits and not plan.graphs)
            apart = waits and not plan.graphs
            parts = repeated(ask, model.runtime, plan.patience / 2, detailed=True) if apart else clocks
            yield _point(model, batch, beam_size, clocks, parts, rates)


@torch.inference_mode()
def compare(model: Model, plan: Plan) -> Iterator[Comparison]:
    """Ask the reference decoder the same, once: it is slow."""
    fast, slow = (kind(model.trie, model.runtime.device) for kind in (BeamSearch, ReferenceSearch))
    for batch, beam_size in plan.compared:
        clocks = repeated(partial(model.answer, batch, beam_size, fast), model.runtime, plan.patience)
        mine = median(clocks, "search")
        with Timer(bypass_cache=True, synchronize=model.runtime.synchronize).run() as timer:
            expected = model.answer(batch, beam_size, slow)
        theirs, encoder = timer.seconds["search"], median(clocks, "encode")
        differing, difference = disagreement(model.answer(batch, beam_size, fast), expected)
        yield Comparison(
            batch=batch,
            beam_size=beam_size,
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


def decoding_flop(config: DecoderConfig, tokens: int, beam_size: int) -> float:
    """Return the least that decoding one picture takes: each code of each beam once, the first for one beam alone.

    Keys and values are kept; those of the picture's tokens are made once for all its beams.
    """
    D, blocks = config.width, config.num_layers
    look = 2 * tokens * 2 * D * D * blocks  # keys and values: two matrices for each token
    attention = (
        2 * 2 * (tokens + (config.num_codebooks + 1) / 2) * D * blocks
    )  # to the picture, and to the codes so far
    code = (
        2 * 14 * D * D * blocks + attention + 2 * D * config.codebook_size
    )  # 4 D² itself, 2 D² across, 8 D² in the MLP
    return look + (1 + (config.num_codebooks - 1) * beam_size) * code


def needed(model: Model, batch: int, beam_size: int) -> Work:
    """Return the least that a batch takes. Each weight is read once, those of the steps once for each code."""
    shape, decoder = model.decoder.config, bytes_of(model.decoder)
    looked = decoder * 2 / 16  # of the 16 D² of a block
    return Work(
        flop=batch * (model.encoder_flop + decoding_flop(shape, model.tokens, beam_size)),
        bytes=bytes_of(model.network) + looked + shape.num_codebooks * (decoder - looked),
    )


def _point(model: Model, batch: int, beam_size: int, clocks: list[Timer], parts: list[Timer], rates: Rates) -> Point:
    total, known = median(clocks, "total"), "decoder" in parts[0].seconds
    return Point(
        precision=model.runtime.precision,
        batch=batch,
        beam_size=beam_size,
        encoder_s=median(clocks, "encode"),
        decoder_s=median(parts, "decoder") if known else None,
        trie_s=median(parts, "trie") if known else None,
        total_s=total,
        of_roof=needed(model, batch, beam_size).least_s(rates) / total,
        peak_bytes=peak_bytes(model.runtime),
    )
