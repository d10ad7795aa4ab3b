"""Drawings of Omniglot under fixed warps, as many as one likes. Recipe: datasets/omniglot-million.toml.

A class is a character in one of several forms (turned, slanted, stretched, and drawn with a thin or a broad pen). The
images of a class are those of all drawers, each under a small warp of its own. Image n of a split is the same whatever
the sizes of the splits are: a smaller gallery is the beginning of a larger one.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from irbench.core.errors import DataError
from irbench.data import warps
from irbench.data.decode import decode
from irbench.data.generated import GeneratedImages
from irbench.data.loaders import Collection, Split, omniglot
from irbench.data.warps import Warps

_GALLERY, _QUERIES = 0, 1  # number = 2 * place in the split + one of these
_SPLITS = ("gallery", "queries")
_INK = 128  # darker than this
_JITTERS = 20  # random numbers of an image's own warp
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Config(omniglot.Config):
    """The recipe's [params]."""

    gallery: PositiveInt = 1_000_000
    queries: PositiveInt = 10_000
    train: PositiveInt = 38_720  # the first of the gallery
    forms: PositiveInt = 16  # of each character
    image_size: PositiveInt = 64
    seed: int = 0


class WarpedLoader:
    """Gallery and training: some drawers; queries: others. The training images are the first ones of the gallery."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def marker(self) -> str:
        """The first archive."""
        return self.config.archives[0]

    shape: ClassVar[str] = omniglot.OmniglotLoader.shape

    def read(self, root: Path) -> Collection:
        """List the archives; drawings are read when the first image is drawn."""
        config = self.config
        if config.train > config.gallery:
            raise DataError(f"train = {config.train}: there are only {config.gallery} gallery images", code="bad-split")
        drawn = _Warper(config, root)
        numbers = np.concatenate([2 * np.arange(config.gallery) + _GALLERY, 2 * np.arange(config.queries) + _QUERIES])
        gallery = np.arange(config.gallery)
        generated = GeneratedImages(drawn, numbers, _SPLITS)
        return Collection(
            ids=generated.ids,
            labels=drawn.classes_of(numbers),
            split=Split(
                train=gallery[: config.train], gallery=gallery, queries=np.arange(config.gallery, len(numbers))
            ),
            generated=generated,
        )


@dataclass(frozen=True, eq=False)
class _Warper:
    """Draws the images of a recipe: number 2·n is the n-th of the gallery, number 2·n + 1 the n-th of the queries."""

    config: Config
    root: Path

    @property
    def side(self) -> int:
        """Pixels a side."""
        return self.config.image_size

    @cached_property
    def identity(self) -> str:
        """Version of the warps, what the recipe says of them, and the drawings; not how many images there are."""
        sizes = {"gallery", "queries", "train"}
        made_from = {key: value for key, value in asdict(self.config).items() if key not in (*sizes, "archives")}
        return f"{warps.VERSION} {sorted(made_from.items())} {self._digest}"

    @cached_property
    def _digest(self) -> str:
        """SHA-256 of the checksums of all drawings, in their order."""
        with _archives(self.root, self.config) as archives:
            checksums = [archives[archive].getinfo(member).CRC for archive, member in map(_place, self._listed.ids)]
        return hashlib.sha256(np.array(checksums, "<u4").tobytes()).hexdigest()

    def classes_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class of each image: of n successive images of a split, n different ones."""
        return (numbers >> 1) % (self.config.forms * len(self._drawings[0]))

    def draw(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the grey images [B,S,S] of these numbers [B]."""
        chance = _random(self.config.seed, numbers, 1 + _JITTERS)
        forms, characters = np.divmod(self.classes_of(numbers), len(self._drawings[0]))
        drawings = np.empty(len(numbers), np.int64)
        for split, of_split in enumerate(self._drawings):
            rows = np.flatnonzero(numbers & 1 == split)
            drawings[rows] = of_split[characters[rows], chance[rows, 0] % of_split.shape[1]]
        return warps.draw(self._fields, drawings, _warps(forms, self.config.forms, chance[:, 1:]), self.side)

    @cached_property
    def _listed(self) -> Collection:
        config = self.config
        return omniglot.OmniglotLoader(
            omniglot.Config(config.archives, config.gallery_drawers, config.query_drawers)
        ).read(self.root)

    @cached_property
    def _drawings(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of the drawings [characters, drawers] of which gallery, and of which queries are made."""
        labels, split = self._listed.labels, self._listed.split
        return _by_character(labels, split.gallery, self.root), _by_character(labels, split.queries, self.root)

    @cached_property
    def _fields(self) -> NDArray[np.uint8]:
        inks = []
        with _archives(self.root, self.config) as archives:
            for id_ in self._listed.ids:
                archive, member = _place(id_)
                inks.append(np.asarray(decode(archives[archive].read(member)))[..., 0] < _INK)
        return warps.fields(np.stack(inks))

    def __getstate__(self) -> dict[str, Any]:  # another process reads the drawings itself
        return {"config": self.config, "root": self.root}


@contextmanager
def _archives(root: Path, config: Config) -> Iterator[dict[str, ZipFile]]:
    with ExitStack() as opened:
        yield {name: opened.enter_context(ZipFile(root / name)) for name in config.archives}


def _place(id_: str) -> tuple[str, str]:
    head, _, member = id_.partition(".zip/")
    return f"{head}.zip", member


def _warps(forms: NDArray[np.int64], count: int, chance: NDArray[np.int64]) -> Warps:
    """Return the warps of images: that of the form, and a small one of the image's own from random numbers [B,20]."""

    def between(column: int, low: int, high: int) -> NDArray[np.int64]:
        return low + chance[:, column] % (high - low + 1)

    slant, stretch, broad = forms % 3 - 1, forms // 2 % 3 - 1, forms % 2
    amplitudes = np.stack([between(8 + wave, 0, 110) for wave in range(4)], axis=1)
    phases = np.stack([between(12 + wave, 0, warps.TURN - 1) for wave in range(4)], axis=1)
    frequencies = np.stack([between(16 + wave, 40, 100) for wave in range(4)], axis=1)
    return Warps(
        angles=forms * warps.TURN // count + between(0, -96, 96),
        widths=4096 + 700 * stretch + between(1, -250, 250),
        heights=4096 - 700 * stretch + between(2, -250, 250),
        shears=1400 * slant + between(3, -250, 250),
        shifts=np.stack([between(4, -320, 320), between(5, -320, 320)], axis=1),
        waves=np.stack([amplitudes, phases, frequencies], axis=2).reshape(-1, 2, 2, 3),
        levels=4 + 16 * broad + between(6, 0, 7),
    )


def _random(seed: int, numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` random numbers below 2**31 for each image [B,count], by SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = _mixed(np.uint64(seed % (1 << 64)) + numbers.astype(np.uint64) * np.uint64(_GOLDEN))
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        return (_mixed(state[:, None] + steps) >> np.uint64(33)).astype(np.int64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))


def _by_character(labels: NDArray[np.int64], rows: NDArray[np.int64], root: Path) -> NDArray[np.int64]:
    """Return the rows of some drawings [characters, drawers]; each of the drawers drew every character."""
    ordered = rows[np.argsort(labels[rows], kind="stable")]
    counts = np.bincount(labels[rows], minlength=labels.max() + 1)
    if counts.min() != counts.max() or not counts.min():
        raise DataError(
            f"{root}: not every character was drawn by all drawers of the recipe; get the archives again",
            code="damaged-file",
        )
    return ordered.reshape(len(counts), -1)
