"""What a query costs with a model of the paper's size and random weights, compared with the slow reference decoder.

The time is end to end, from the image to the leaves, the encoder included; reading image files is not timed.
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
TOLERANCE = 1e-3  # of a score, in nats: leaves whose scores differ by less may stand in either order

Search = Callable[[Decoder, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: seconds are medians over repeats, of one batch."""

    precision: str
    num_layers: int  # blocks of the decoder
    batch: int
    beam_size: int
    encoder_s: float
    decoder_s: float | None  # None for a CUDA graph, which has no subspans
    trie_s: float | None
    total_s: float  # end to end
    of_roof: float  # share of the throughput at the roofline of the machine
    peak_bytes: int  # of the process on the host, or of GPU memory

    @property
    def queries_per_s(self) -> float:
        """Throughput, end to end."""
        return self.batch / self.total_s

    @property
    def over_encoder(self) -> float:
        """End-to-end time relative to the encoder's."""
        return self.total_s / self.encoder_s


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The reference decoder in float32, compared with the fast one."""

    num_layers: int  # blocks of the decoder
    batch: int
    beam_size: int
    reference_s: float  # decoding alone, of one batch
    ratio: float  # of end-to-end times, both with the encoder
    ratio_decoding: float
    leaves_differing: int  # ranks with different leaves whose scores differ by more than the tolerance
    score_difference: float  # the largest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings to measure."""

    beam_sizes: tuple[int, ...] = (1, 10, 20, 30)
    batches: tuple[int, ...] = (1, 16, 64)
    compared: tuple[tuple[int, int], ...] = ((1, 30), (16, 30))  # batch and beam_size
    backbone: str = "vit_base_patch16_224"
    image_size: int = 224
    num_layers: int = 12  # of the decoder
    width: int = 768
    num_heads: int = 12
    num_codebooks: int = 4
    codebook_size: int = 256
    graphs: bool = False  # replay encoder and search as CUDA graphs
    patience: float = 8.0  # seconds after which a measurement is not repeated

    @property
    def images(self) -> int:
        """The largest batch."""
        return max((*self.batches, *(batch for batch, _ in self.compared)))


def random_trie(size: int, num_codebooks: int, codebook_size: int) -> Trie:
    """Return the trie of so many random identifiers."""
    codes = np.random.default_rng(0).integers(0, codebook_size, (size, num_codebooks))
    return Trie.build(Identifiers(codes, codebook_size))


class Model:
    """An encoder, a decoder and a trie, by default of the paper's size; random with a fixed seed."""

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        seed_everything(0)
        self.runtime = runtime
        encoder = NetworkConfig(backbone=plan.backbone, image_size=plan.image_size)
        self.network = VisionNetwork(encoder).eval().to(runtime.device)
        config = DecoderConfig(
            memory_dim=self.network.token_dim,
            num_codebooks=plan.num_codebooks,
            codebook_size=plan.codebook_size,
            num_layers=plan.num_layers,
            width=plan.width,
            num_heads=plan.num_heads,
        )
        self.decoder = Decoder(config).eval().to(runtime.device)
        for network in (self.network, self.decoder):
            self.runtime.cast_weights(network)
        self.encode: Callable[[Tensor], Tensor] = Replayed(self.network) if plan.graphs else self.network
        self.trie = random_trie(IDENTIFIERS, plan.num_codebooks, plan.codebook_size)
        self.images = 255 * torch.rand(plan.images, 3, plan.image_size, plan.image_size, device=runtime.device)
        with torch.inference_mode(), self.runtime.autocast():
            self.tokens = self.network(self.images[:1]).shape[1]
        self.encoder_flop = flop_of(self.network, self.images[:1], self.runtime.autocast())

    def search(self, batch: int, beam_size: int, search: Search) -> tuple[Tensor, Tensor]:
        """Return leaves and scores [B,K] of the first `batch` images, with spans for the timer."""
        with self.runtime.autocast():
            with span("encode"):
                tokens = self.encode(self.images[:batch])
            with span("search"):
                return search(self.decoder, tokens, beam_size)


@torch.inference_mode()
def measure(model: Model, plan: Plan, rates: Rates) -> Iterator[Point]:
    """Time every batch size with every beam size; on a GPU subspans separately, since they wait for it."""
    beam_search = BeamSearch(model.trie, model.runtime.device)
    search: Search = Replayed(beam_search) if plan.graphs else beam_search
    for batch in plan.batches:
        for beam_size in plan.beam_sizes:
            reset_peak_memory(model.runtime)
            work = partial(model.search, batch, beam_size, search)
            waits = model.runtime.device != "cpu"
            timers = repeated(work, model.runtime, plan.patience, detailed=not waits and not plan.graphs)
            separate = waits and not plan.graphs
            detailed = repeated(work, model.runtime, plan.patience / 2, detailed=True) if separate else timers
            yield _point(model, batch, beam_size, timers, detailed, rates)


@torch.inference_mode()
def compare(model: Model, plan: Plan) -> Iterator[Comparison]:
    """Compare with the reference decoder, which is timed once: it is slow."""
    fast, slow = (kind(model.trie, model.runtime.device) for kind in (BeamSearch, ReferenceSearch))
    for batch, beam_size in plan.compared:
        timers = repeated(partial(model.search, batch, beam_size, fast), model.runtime, plan.patience)
        fast_s = median(timers, "search")
        with Timer(bypass_cache=True, synchronize=model.runtime.synchronize).run() as timer:
            expected = model.search(batch, beam_size, slow)
        reference_s, encoder_s = timer.seconds["search"], median(timers, "encode")
        differing, difference = disagreement(model.search(batch, beam_size, fast), expected)
        yield Comparison(
            num_layers=plan.num_layers,
            batch=batch,
            beam_size=beam_size,
            reference_s=reference_s,
            ratio=(encoder_s + reference_s) / (encoder_s + fast_s),
            ratio_decoding=reference_s / fast_s,
            leaves_differing=differing,
            score_difference=difference,
        )


def disagreement(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> tuple[int, float]:
    """Return the number of ranks with an unexpected leaf [B,K], and the largest difference of scores.

    Leaves whose scores differ by less than the tolerance may stand in either order.
    """
    (leaves, scores), (expected_leaves, expected_scores) = found, expected
    near = (expected_scores.unsqueeze(2) - expected_scores.unsqueeze(1)).abs() <= TOLERANCE  # [B,K,K]
    allowed = (near & (leaves.unsqueeze(2) == expected_leaves.unsqueeze(1))).any(dim=2)
    last = expected_scores - expected_scores[:, -1:] <= TOLERANCE  # may have changed places with leaves beyond K
    return int((~allowed & ~last).sum()), float((scores - expected_scores).abs().max())


def decoding_flop(config: DecoderConfig, tokens: int, beam_size: int) -> float:
    """Return the least FLOP of decoding one image: each code of each beam once, the first code for one beam alone.

    Keys and values are cached; those of the image's tokens are computed once for all its beams.
    """
    D, blocks = config.width, config.num_layers
    prefill = 2 * tokens * 2 * D * D * blocks  # keys and values: two matrices for each token
    context = tokens + (config.num_codebooks + 1) / 2  # image tokens, and the codes so far on average
    attention = 2 * 2 * context * D * blocks
    layers = 2 * 14 * D * D * blocks  # 4 D² in self-attention, 2 D² in cross-attention, 8 D² in the MLP
    code = layers + attention + 2 * D * config.codebook_size
    return prefill + (1 + (config.num_codebooks - 1) * beam_size) * code


def needed(model: Model, batch: int, beam_size: int) -> Work:
    """Return the least work of a batch. Each weight is read once, those of the decoding steps once for each code."""
    config, decoder = model.decoder.config, bytes_of(model.decoder)
    prefill = decoder * 2 / 16  # of the 16 D² of a block
    return Work(
        flop=batch * (model.encoder_flop + decoding_flop(config, model.tokens, beam_size)),
        bytes=bytes_of(model.network) + prefill + config.num_codebooks * (decoder - prefill),
    )


def _point(model: Model, batch: int, beam_size: int, timers: list[Timer], detailed: list[Timer], rates: Rates) -> Point:
    total, has_subspans = median(timers, "total"), "decoder" in detailed[0].seconds
    return Point(
        precision=model.runtime.precision,
        num_layers=model.decoder.config.num_layers,
        batch=batch,
        beam_size=beam_size,
        encoder_s=median(timers, "encode"),
        decoder_s=median(detailed, "decoder") if has_subspans else None,
        trie_s=median(detailed, "trie") if has_subspans else None,
        total_s=total,
        of_roof=needed(model, batch, beam_size).least_s(rates) / total,
        peak_bytes=peak_bytes(model.runtime),
    )
