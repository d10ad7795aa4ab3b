"""The decoder: one code at a time against all at once, and its blocks against the paper's and the published code's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from irbench.retrievers.irgen.decoder import Block, Decoder, DecoderConfig, Residual
from irbench.retrievers.irgen.prefixes import PrefixTree
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime

BOTH = pytest.mark.parametrize("residual", ["stream", "normalised"])


def decoder(num_codebooks: int, codebook_size: int, seed: int, residual: Residual = "stream") -> Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(
        memory_dim=6,
        num_codebooks=num_codebooks,
        codebook_size=codebook_size,
        num_layers=2,
        width=8,
        num_heads=2,
        residual=residual,
    )
    return Decoder(config).eval()


@BOTH
def test_a_step_with_a_cache_equals_the_whole_prefix_at_once(residual: Residual) -> None:
    model = decoder(5, 7, seed=2, residual=residual)
    tokens, codes = torch.randn(3, 4, 6), torch.randint(0, 7, (3, 5))
    with torch.no_grad():
        whole = model(tokens, codes)
        cache = model.prefill(tokens, 1)
        steps = [
            model.decode_step(cache, None if position == 0 else codes[:, position - 1 : position], position)
            for position in range(5)
        ]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-5, atol=1e-5)


@BOTH
def test_what_identifiers_of_one_image_share_is_computed_once_and_with_the_same_gradients(
    residual: Residual, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = decoder(4, 3, seed=6, residual=residual)  # of 3 codes: prefixes and whole identifiers occur again
    tokens, codes = torch.randn(3, 5, 6), torch.randint(0, 3, (3 * 8, 4))

    def learned(tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        model.zero_grad()
        logits = model(tokens, codes)
        functional.cross_entropy(logits.flatten(0, 1), codes.flatten()).backward()
        return logits.detach(), [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    shared = learned(tokens)
    one_by_one = learned(tokens.repeat_interleave(8, dim=0))
    monkeypatch.setattr(PrefixTree, "of", lambda codes, images, _: PrefixTree.apart(codes, images))
    apart = learned(tokens)  # as on a GPU
    torch.testing.assert_close(shared, one_by_one, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(apart, one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_host_does_not_wait_for_a_gpu() -> None:
    model = decoder(4, 3, seed=6)
    tokens, codes = torch.randn(3, 5, 6), torch.randint(0, 3, (3 * 8, 4))
    due = model(tokens, codes)
    model, tokens, codes = model.cuda(), tokens.cuda(), codes.cuda()
    model(tokens, codes)  # libraries are loaded
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = model(tokens, codes)
        found.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found.cpu(), due, rtol=1e-4, atol=1e-4)


def test_a_code_is_never_influenced_by_the_codes_after_it() -> None:
    model = decoder(4, 7, seed=5)
    tokens, codes = torch.randn(2, 3, 6), torch.randint(0, 7, (2, 4))
    changed = codes.clone()
    changed[:, 2:] = (changed[:, 2:] + 1) % 7
    with torch.no_grad():
        before, after = model(tokens, codes), model(tokens, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@torch.no_grad()
def test_matrices_that_are_stored_in_bfloat16_compute_what_autocast_does(tmp_path: Path) -> None:
    runtime = Runtime(store=Store(tmp_path), precision="bf16")
    model, tokens, codes = decoder(4, 7, seed=1), torch.randn(2, 3, 6), torch.randint(0, 7, (2, 4))
    with runtime.autocast():
        cast = model(tokens, codes)
        runtime.cast_weights(model)
        held = model(tokens, codes)
    assert model.head.weight.dtype == torch.bfloat16
    assert model.norm.weight.dtype == torch.float32  # the stream and its norms stay as precise as before
    assert torch.equal(cast, held)


@torch.no_grad()
@BOTH
def test_a_block_adds_to_the_stream_as_in_the_paper_or_to_the_normalised_stream_as_published(
    residual: Residual,
) -> None:
    config = DecoderConfig(
        memory_dim=8, num_codebooks=4, codebook_size=7, num_layers=1, width=8, num_heads=2, residual=residual
    )
    block = Block(config).eval()
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 3, 8)

    def self_attn(h: Tensor) -> Tensor:
        before = [block.self_attn(h[:, m : m + 1], block.self_attn.keys_values(h[:, : m + 1])) for m in range(4)]
        return torch.cat(before, dim=1)

    def cross(h: Tensor) -> Tensor:
        return block.cross_attn(h, block.cross_attn.keys_values(memory))

    expected = x
    for norm, branch in zip(block.norms, (self_attn, cross, block.mlp), strict=True):
        if residual == "normalised":
            expected = norm(expected)
            expected = expected + branch(expected)
        else:
            expected = expected + branch(norm(expected))
    tree = PrefixTree.of(torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]), num_images=2, codebook_size=7)
    torch.testing.assert_close(block(x.flatten(0, 1), memory, tree), expected.flatten(0, 1))
