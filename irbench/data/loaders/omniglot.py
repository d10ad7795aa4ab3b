"""Omniglot (Lake et al. 2015): drawings of characters, in its zip archives. Recipe: datasets/omniglot-small.toml."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import DataError
from irbench.data.loaders import Collection, Split
from irbench.data.loaders.files import numbered


@dataclass(frozen=True)
class Config:
    """The recipe's [params]: each of the 20 drawers drew every character once."""

    archives: tuple[str, ...] = ("images_background_small1.zip", "images_background_small2.zip")
    gallery_drawers: tuple[int, int] = (1, 12)  # first and last
    query_drawers: tuple[int, int] = (13, 20)


class OmniglotLoader:
    """A class is a character of an alphabet. Training and gallery: some drawers; queries: others."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def marker(self) -> str:
        """The first archive."""
        return self.config.archives[0]

    shape: ClassVar[str] = "the zip archives of the recipe, not unpacked"

    def read(self, root: Path) -> Collection:
        """List the archives. They overlap: a drawing in several of them is used once, from the first."""
        drawings: dict[str, str] = {}  # alphabet/character/file → id
        repeated = []
        for archive in self.config.archives:
            for member in _members(root / archive):
                id_ = f"{archive}/{member}"
                if drawings.setdefault(member.partition("/")[2], id_) != id_:
                    repeated.append(id_)
        names = sorted(drawings)
        drawers = np.array([_drawer(name, root) for name in names], dtype=np.int64)
        gallery = _between(drawers, self.config.gallery_drawers)
        return Collection(
            ids=tuple(drawings[name] for name in names),
            labels=numbered([name.rpartition("/")[0] for name in names]),
            split=Split(train=gallery, gallery=gallery, queries=_between(drawers, self.config.query_drawers)),
            unused=tuple(repeated),
        )


def _between(drawers: NDArray[np.int64], ends: tuple[int, int]) -> NDArray[np.int64]:
    return np.flatnonzero((drawers >= ends[0]) & (drawers <= ends[1]))


def _members(archive: Path) -> list[str]:
    try:
        with ZipFile(archive) as file:
            return [name for name in file.namelist() if name.endswith(".png")]
    except BadZipFile as error:
        raise DataError(f"{archive}: not a whole zip archive ({error}); get it again", code="damaged-file") from None


def _drawer(name: str, root: Path) -> int:
    """`Latin/character01/0684_13.png` was drawn by 13."""
    try:
        return int(name.removesuffix(".png").rpartition("_")[2])
    except ValueError:
        raise DataError(
            f"{root}: {name} in an archive does not end in _<drawer>.png; is it Omniglot?", code="bad-annotation"
        ) from None
