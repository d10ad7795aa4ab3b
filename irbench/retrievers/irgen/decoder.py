"""The decoder (section 3.2): a transformer that generates an identifier code by code, attending to an image's tokens.

Each block is causal self-attention, cross-attention to the image and an MLP, with pre-norm and residual connections.
All positions share one embedding of the L codes and one output layer.

Shape letters: B images, P identifiers of an image in training, F distinct prefixes of these, at most Q of one image,
T image tokens, M codes, L codebook size, K beam size, H heads, E dimensions of a head, D = H·E.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from irbench.retrievers.irgen.prefixes import PrefixTree

Residual = Literal["stream", "normalised"]
KeysValues = tuple[Tensor, Tensor]  # [B,H,T,E] each


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The sizes of a decoder."""

    memory_dim: int  # dimensions of an image token
    num_codebooks: int  # M
    codebook_size: int  # L
    num_layers: int
    width: int  # D
    num_heads: int  # H
    # what a block adds to: the residual stream, or its normalised copy as published (yakt00/IRGen:model/model.py:166)
    residual: Residual = "stream"


@dataclass
class KVCache:
    """Keys and values of one decoding. Beam k of image b is row b·K + k of `codes`."""

    image: list[KeysValues]  # for each layer, of the image tokens: one copy for all beams of an image
    codes: Tensor  # [layers, rows, 2, H, M, E], of the codes generated so far
    beam_size: int = 1  # K at the current position

    def reorder(self, parents: Tensor, length: int) -> None:
        """Give each beam of [B,K'] the first `length` keys and values of its parent, in place."""
        rows = _rows(torch.arange(len(parents), device=parents.device), parents, self.beam_size)
        for layer in self.codes[..., :length, :]:  # one layer at a time: the copy stays small
            layer[: len(rows)] = layer.index_select(0, rows)
        self.beam_size = parents.shape[1]

    def select(self, images: Tensor, parents: Tensor, length: int) -> "KVCache":
        """Return a new cache for `images` [B'] alone, whose beams continue `parents` [B',K'] of `length` codes."""
        rows = _rows(images, parents, self.beam_size)
        num_layers, capacity, *shape = self.codes.shape
        per_image = capacity // len(self.image[0][0])
        codes = self.codes.new_empty(num_layers, per_image * len(images), *shape)
        codes[:, : len(rows), ..., :length, :] = self.codes[..., :length, :].index_select(1, rows)
        image = [(keys[images], values[images]) for keys, values in self.image]
        return KVCache(image, codes, beam_size=parents.shape[1])


def _rows(images: Tensor, parents: Tensor, beam_size: int) -> Tensor:
    """Rows [B·K] of beams `parents` [B,K] of `images` [B]."""
    return (parents + beam_size * images[:, None]).flatten()


class Decoder(nn.Module):
    """p(l_m | image, l_1 … l_{m-1}) for every position m (equation 5)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        D = config.width
        self.config = config
        self.memory_proj = nn.Linear(config.memory_dim, D) if config.memory_dim != D else nn.Identity()
        self.bos = nn.Parameter(0.02 * torch.randn(1, 1, D))  # stands before the first code
        self.code_embedding = nn.Embedding(config.codebook_size, D)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(config.num_codebooks, D))
        self._blocks = [Block(config) for _ in range(config.num_layers)]  # typed; ModuleList yields plain modules
        self.blocks = nn.ModuleList(self._blocks)
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, config.codebook_size)
        self.apply(_initialize)

    def forward(self, tokens: Tensor, codes: Tensor) -> Tensor:
        """Return logits [B·P,M,L] of each code of identifiers [B·P,M], given tokens [B,T,memory_dim] and earlier codes.

        Each image has P identifiers, one after another. All positions are computed at once (teacher forcing), and a
        prefix that several identifiers of an image share once for all of them. Logits are in float32 whatever the
        precision of the layers.
        """
        memory = self.memory_proj(tokens)  # [B,T,D]
        tree = PrefixTree.of(codes, len(tokens), self.config.codebook_size)
        bos = self.bos.expand(len(codes), 1, -1)
        # inputs are shifted by one: position m sees bos and codes 1 … m-1
        x = torch.cat([bos, self.code_embedding(codes[:, :-1])], dim=1) + self.position_embedding[: codes.shape[1]]
        x = x.flatten(0, 1)[tree.example]  # [F,D]
        for block in self._blocks:
            x = block(x, memory, tree)
        return self._logits(x)[tree.number]

    def prefill(self, tokens: Tensor, beam_size: int) -> KVCache:
        """Return a cache for images' tokens [B,T,memory_dim], with room for `beam_size` beams of each image."""
        memory = self.memory_proj(tokens)  # [B,T,D]
        image = [block.cross_attn.keys_values(memory) for block in self._blocks]
        B, H, _, E = image[0][0].shape
        shape = (self.config.num_layers, B * beam_size, 2, H, self.config.num_codebooks, E)
        return KVCache(image, image[0][0].new_empty(shape))

    def decode_step(self, cache: KVCache, codes: Tensor | None, position: int) -> Tensor:
        """Return logits [B,K,L] of the code at `position`; `codes` [B,K] are each beam's previous ones, None at 0."""
        B = len(cache.image[0][0])
        x = self.bos.expand(B, 1, -1) if codes is None else self.code_embedding(codes)  # [B,K,D]
        x = x + self.position_embedding[position]
        layers = zip(self._blocks, cache.image, cache.codes[..., : position + 1, :], strict=True)
        for block, image, past in layers:
            x = block.decode_step(x, image, past)
        return self._logits(x)

    def cache_bytes(self, num_tokens: int, beam_size: int) -> int:
        """Return the bytes of a float32 cache for one image of `num_tokens` tokens."""
        config = self.config
        return 4 * config.num_layers * 2 * config.width * (num_tokens + beam_size * config.num_codebooks)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(x))
        return logits.float()


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each with its norm before and a residual connection around."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        D = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(3))
        self.self_attn = Attention(D, config.num_heads)
        self.cross_attn = Attention(D, config.num_heads)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
        self._adds_to_normalised = config.residual == "normalised"

    def forward(self, x: Tensor, memory: Tensor, tree: PrefixTree) -> Tensor:
        """Return x [F,D] after the block, for all prefixes at once; memory is [B,T,D]."""
        x, h = self._pre_norm(x, 0)
        x = x + self.self_attn.among_prefixes(h, tree)
        x, h = self._pre_norm(x, 1)
        x = x + self.cross_attn.of_prefixes(h, tree, self.cross_attn.keys_values(memory))
        x, h = self._pre_norm(x, 2)
        return x + self.mlp(h)

    def decode_step(self, x: Tensor, image: KeysValues, past: Tensor) -> Tensor:
        """Return x [B,K,D] after the block, for one position. All beams of an image share one cross-attention to it."""
        x, h = self._pre_norm(x, 0)
        x = x + self.self_attn.decode_step(h, past)
        x, h = self._pre_norm(x, 1)
        x = x + self.cross_attn(h, image)
        x, h = self._pre_norm(x, 2)
        return x + self.mlp(h)

    def _pre_norm(self, x: Tensor, branch: int) -> tuple[Tensor, Tensor]:
        """Return the tensor that a branch adds its output to, and the normalised one that it reads."""
        h = self.norms[branch](x)
        return (h if self._adds_to_normalised else x), h


class Attention(nn.Module):
    """Multi-head attention whose keys and values are computed apart from the queries, so that they can be cached."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keys_values: KeysValues) -> Tensor:
        """Attend from x [B,K,D] to keys and values [B,H,T,E]; return [B,K,D]."""
        attended: Tensor = self.out(self._attend(self.query(x), keys_values))
        return attended

    def among_prefixes(self, x: Tensor, tree: PrefixTree) -> Tensor:
        """Attend from each prefix x [F,D] to its beginnings and to itself; return [F,D]."""
        keys_values = self._split_keys_values(tree.padded(self.key_value(x)))
        return self.of_prefixes(x, tree, keys_values, seen=tree.begins_with)

    def of_prefixes(self, x: Tensor, tree: PrefixTree, keys_values: KeysValues, seen: Tensor | None = None) -> Tensor:
        """Attend from prefixes x [F,D] to keys and values of their image [B,H,T,E], or to those `seen` [B,Q,T]."""
        attended: Tensor = self.out(tree.packed(self._attend(tree.padded(self.query(x)), keys_values, seen)))
        return attended

    def keys_values(self, x: Tensor) -> KeysValues:
        """Return keys and values [B,H,T,E] of x [B,T,D]."""
        return self._split_keys_values(self.key_value(x))

    def decode_step(self, x: Tensor, past: Tensor) -> Tensor:
        """Attend from the newest code of each beam, x [B,K,D], to that beam's codes so far.

        `past` [rows,2,H,m+1,E] is a view of the cache; its last position, the newest code's, is written here.
        """
        B, K, D = x.shape
        past = past[: B * K]
        past[..., -1, :] = self.key_value(x).view(past.shape[:-2] + past.shape[-1:])  # [B·K,2,H,E]
        keys, values = past.unbind(1)  # [B·K,H,m+1,E]
        query = self.query(x).view(B * K, self.num_heads, 1, -1)
        attended: Tensor = self.out(functional.scaled_dot_product_attention(query, keys, values).view(B, K, D))
        return attended

    def _attend(self, query: Tensor, keys_values: KeysValues, seen: Tensor | None = None) -> Tensor:
        """Return what queries [B,Q,D] read [B,Q,D] of keys and values [B,H,T,E], where `seen` [B,Q,T] is true."""
        mask = None if seen is None else seen.unsqueeze(1)
        y = functional.scaled_dot_product_attention(self._split_heads(query), *keys_values, attn_mask=mask)  # [B,H,Q,E]
        return y.transpose(1, 2).flatten(2)

    def _split_keys_values(self, x: Tensor) -> KeysValues:
        keys, values = x.chunk(2, dim=-1)
        return self._split_heads(keys), self._split_heads(values)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)  # [B,Q,D] -> [B,H,Q,E]


def _initialize(module: nn.Module) -> None:
    """Initialize as the published code does (yakt00/IRGen:model/model.py): Xavier for matrices, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
