"""The decoder (section 3.2): a transformer that writes an identifier, code by code, looking at an image's tokens.

Each block is causal self-attention, cross-attention to the image and an MLP, all with the norm before and the
residual around. One embedding of the L codes and one output layer serve every position.

Shape letters: B images, T image tokens, M codes, L codebook size, K beam_size, H heads, E width of a head, D = H·E.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Residual = Literal["stream", "normalised"]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The size of a decoder, and what its blocks add to."""

    memory_dim: int  # dimensions of the image's tokens
    num_codebooks: int  # M
    codebook_size: int  # L
    num_layers: int  # blocks
    width: int  # D
    num_heads: int  # H
    residual: Residual = "stream"  # or what the published blocks add to (yakt00/IRGen:model/model.py:166-174)


@dataclass
class Cache:
    """What the blocks keep while beams are extended. Row b·K + k of K beams a query is beam k of query b."""

    image: list[tuple[Tensor, Tensor]]  # each block's keys and values of the image, [B,H,T,E]: one copy for all beams
    past: Tensor  # each block's keys and values of the codes so far, [depth,rows,2,H,M,E]
    beam_size: int = 1  # K as of now

    def reorder(self, parents: Tensor, generated: int) -> None:
        """Keep, for each beam of [B,K'], what its parent has kept of the `generated` codes."""
        rows = (parents + self.beam_size * torch.arange(len(parents), device=parents.device)[:, None]).flatten()
        for past in self.past[..., :generated, :]:  # block by block: no more than one is there twice
            past[: len(rows)] = past.index_select(0, rows)
        self.beam_size = parents.shape[1]

    def select(self, queries: Tensor, parents: Tensor, generated: int) -> "Cache":
        """Return a cache of its own for beams of some `queries` [B'], which go on from `parents` [B',K']."""
        rows = (parents + self.beam_size * queries[:, None]).flatten()
        depth, most, *shape = self.past.shape
        past = self.past.new_empty(depth, most // len(self.image[0][0]) * len(queries), *shape)
        past[:, : len(rows), ..., :generated, :] = self.past[..., :generated, :].index_select(1, rows)
        image = [(keys[queries], values[queries]) for keys, values in self.image]
        return Cache(image, past, beam_size=parents.shape[1])


class Decoder(nn.Module):
    """p(l_m | image, l_1 … l_{m-1}) for every position m (equation 5)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.memory = nn.Linear(config.memory_dim, config.width) if config.memory_dim != config.width else nn.Identity()
        self.start = nn.Parameter(0.02 * torch.randn(1, 1, config.width))
        self.code = nn.Embedding(config.codebook_size, config.width)
        self.position = nn.Parameter(0.02 * torch.randn(config.num_codebooks, config.width))
        self._blocks = [Block(config) for _ in range(config.num_layers)]
        self.blocks = nn.ModuleList(self._blocks)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.codebook_size)
        self.apply(_initialize)

    def forward(self, tokens: Tensor, codes: Tensor) -> Tensor:
        """Logits [B,M,L] for each code of identifiers [B,M], given tokens [B,T,memory_dim] and the codes before it."""
        memory = self.memory(tokens)
        start = self.start.expand(len(codes), 1, -1)
        x = torch.cat([start, self.code(codes[:, :-1])], dim=1) + self.position[: codes.shape[1]]
        for block in self._blocks:
            x = block(x, memory)
        logits: Tensor = self.head(self.norm(x))
        return logits.float()

    def prefill(self, tokens: Tensor, beam_size: int) -> Cache:
        """Read the images [B,T,memory_dim] once: what `decode_step` needs of them for up to `beam_size` beams."""
        memory = self.memory(tokens)
        image = [block.cross_attn.keys_values(memory) for block in self._blocks]
        B, H, _, E = image[0][0].shape
        return Cache(
            image, image[0][0].new_empty(self.config.num_layers, B * beam_size, 2, H, self.config.num_codebooks, E)
        )

    def decode_step(self, cache: Cache, codes: Tensor | None, position: int) -> Tensor:
        """Logits [B,K,L] for the code at `position`, after the latest codes [B,K] of each beam (None at the start)."""
        x = self.start.expand(len(cache.image[0][0]), 1, -1) if codes is None else self.code(codes)
        x = x + self.position[position]
        for block, image, past in zip(self._blocks, cache.image, cache.past[..., : position + 1, :], strict=True):
            x = block.decode_step(x, image, past)
        logits: Tensor = self.head(self.norm(x))
        return logits.float()

    def cache_bytes(self, tokens: int, beam_size: int) -> int:
        """Bytes of a cache for one image of so many tokens, in float32."""
        s = self.config
        return 4 * s.num_layers * 2 * s.width * (tokens + beam_size * s.num_codebooks)


class Block(nn.Module):
    """Self-attention, cross-attention, MLP: each is added to the stream, or to the normalised stream that it reads."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        D = config.width
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(3))
        self.self_attn = Attention(D, config.num_heads)
        self.cross_attn = Attention(D, config.num_heads)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
        self._adds_to_normalised = config.residual == "normalised"

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """All M positions at once: x [B,M,D], memory [B,T,D]."""
        x, h = self._split(x, 0)
        x = x + self.self_attn(h, self.self_attn.keys_values(h), causal=True)
        x, h = self._split(x, 1)
        x = x + self.cross_attn(h, self.cross_attn.keys_values(memory))
        x, h = self._split(x, 2)
        return x + self.mlp(h)

    def decode_step(self, x: Tensor, image: tuple[Tensor, Tensor], past: Tensor) -> Tensor:
        """One more position of K beams: x [B,K,D]. Beams are the rows of one attention to the image."""
        x, h = self._split(x, 0)
        x = x + self.self_attn.decode_step(h, past)
        x, h = self._split(x, 1)
        x = x + self.cross_attn(h, image)
        x, h = self._split(x, 2)
        return x + self.mlp(h)

    def _split(self, x: Tensor, branch: int) -> tuple[Tensor, Tensor]:
        """Return what a branch is added to, and what it reads."""
        h = self.norms[branch](x)
        return (h if self._adds_to_normalised else x), h


class Attention(nn.Module):
    """Multi-head attention whose keys and values are made apart from its queries, so that they can be kept."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], *, causal: bool = False) -> Tensor:
        """Attend from x [B,Q,D] to keys and values [B,H,T,E]."""
        keys, values = keys_values
        y = functional.scaled_dot_product_attention(self._split(self.query(x)), keys, values, is_causal=causal)
        attended: Tensor = self.out(y.transpose(1, 2).flatten(2))  # [B,H,Q,E] -> [B,Q,D]
        return attended

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B,H,T,E] of x [B,T,D]."""
        keys, values = self.key_value(x).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def decode_step(self, x: Tensor, past: Tensor) -> Tensor:
        """Attend from the newest code of each beam, x [B,K,D], to that beam's own past [rows,2,H,m+1,E].

        The last place of the past is the newest code's, and is filled here.
        """
        B, K, D = x.shape
        past = past[: B * K]
        past[..., -1, :] = self.key_value(x).view(past.shape[:-2] + past.shape[-1:])
        keys, values = past.unbind(1)  # [B·K,H,m+1,E]
        query = self.query(x).view(B * K, self.num_heads, 1, -1)
        attended: Tensor = self.out(functional.scaled_dot_product_attention(query, keys, values).view(B, K, D))
        return attended

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)  # [B,Q,D] -> [B,H,Q,E]


def _initialize(module: nn.Module) -> None:
    """Xavier, as the published code has it (yakt00/IRGen:model/model.py)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
