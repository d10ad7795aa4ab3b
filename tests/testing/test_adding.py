"""Adding a method or a data set in a folder of one's own: two files or one, and the command line runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irbench.testing import check_encoder, check_identifier, check_retriever, check_searcher

SEARCHER = """'''Exact search after a random projection. Recipe: methods/search/projection.toml.'''

from dataclasses import dataclass

import numpy as np

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.core.promises import Promises
from irbench.core.ranking import Ranking
from irbench.runtime.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class Config:
    '''The schema of the recipe's [params]: a key that is not here is an error.'''

    dims: int


class ProjectionSearcher:
    '''Vectors are projected onto random axes; what is near there is ranked first.'''

    promises = Promises(recall=0.4)  # check_searcher holds it to this

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    def build(self, gallery: Embeddings) -> None:
        rng = np.random.default_rng(self.runtime.seed)
        self._axes = rng.normal(size=(gallery.dim, self.config.dims)).astype(np.float32) / self.config.dims**0.5
        self._gallery = gallery.array @ self._axes

    def search(self, queries: Embeddings, k: int) -> Ranking:
        asked = queries.array @ self._axes
        scores = 2 * asked @ self._gallery.T - (self._gallery**2).sum(1) - (asked**2).sum(1, keepdims=True)
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return Ranking.from_topk(rows, np.take_along_axis(scores, rows, axis=1))

    def describe(self) -> Description:
        return Description(index_bytes=self._gallery.nbytes + self._axes.nbytes)
"""
SEARCHER_RECIPE = """# class: methods/search/projection.py
# Exact search after a random projection
searcher = "projection"
[params]
dims = 16
"""

ENCODER = """
from dataclasses import dataclass

import numpy as np

from irbench.core.description import Description
from irbench.core.embeddings import Embeddings
from irbench.data.pixels import View, pixels


@dataclass(frozen=True, kw_only=True)
class Config:
    bins: int = 8


class BrightnessEncoder:
    def __init__(self, config, runtime):
        self.config, self.runtime = config, runtime

    def encode(self, images):
        grey = pixels(images, View(16), self.runtime)[np.arange(len(images))].mean(axis=3)
        counts = [np.histogram(image, bins=self.config.bins, range=(0, 256))[0] for image in grey]
        return Embeddings(np.array(counts, np.float32))

    def describe(self):
        return Description(details={"bins": self.config.bins})
"""
ENCODER_RECIPE = """# class: methods/brightness.py
# A histogram of grey values
encoder = "brightness"
[params]
bins = 12
"""

IDENTIFIER = """
from dataclasses import dataclass

import numpy as np

from irbench.core.description import Description
from irbench.core.identifiers import Identifiers
from irbench.data.pixels import View, pixels


@dataclass(frozen=True, kw_only=True)
class Config:
    levels: int


class MosaicIdentifier:
    def __init__(self, config, runtime, components):
        self.config, self.runtime = config, runtime

    def encode(self, images):
        grey = pixels(images, View(2), self.runtime)[np.arange(len(images))].mean(axis=3)
        codes = (grey.reshape(len(images), 4) * self.config.levels / 256).astype(np.int64)
        return Identifiers(codes, self.config.levels)

    def describe(self):
        return Description(details={"num_codebooks": 4, "codebook_size": self.config.levels})
"""
IDENTIFIER_RECIPE = """# class: methods/identifier/mosaic.py
# The grey values of an image's quarters
identifier = "mosaic"
[params]
levels = 16
"""

RETRIEVER = """
from dataclasses import dataclass

import numpy as np

from irbench.core.description import Description
from irbench.core.ranking import Ranking


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


class FirstRowsRetriever:
    def __init__(self, config, runtime, components):
        self.config = config

    def index(self, gallery):
        self.size = len(gallery)

    def search(self, queries, k):
        rows = np.tile(np.arange(min(k, self.size)), (len(queries), 1))
        return Ranking.from_topk(rows, -rows.astype(np.float32))

    def describe(self):
        return Description()
"""
RETRIEVER_RECIPE = """# class: methods/first_rows.py
# The first rows of the gallery, whatever the query
retriever = "first-rows"
[params]
"""

DATASET = """# class: irbench/data/loaders/folders.py
# Coloured squares
loader = "folders"
folders = ["squares"]
page = "made by a test"
scale = "tiny"
ks = [1, 4]
top_k = 8
mirror = true
[params]
holdout = 4
"""

LOADER = """
from dataclasses import dataclass

import numpy as np

from irbench.data.loaders import Collection, Split


@dataclass(frozen=True)
class Config:
    classes: int = 4


class GradientsLoader:
    marker = ""
    shape = "nothing: the images are computed"

    def __init__(self, config):
        self.config = config

    def read(self, root):
        labels = np.repeat(np.arange(self.config.classes), 12)
        grey = (40 * labels + np.tile(np.arange(12), self.config.classes)).astype(np.uint8)
        rows = np.arange(len(labels))
        return Collection(
            ids=tuple(f"gradient-{row}" for row in rows),
            labels=labels,
            split=Split(train=rows[::2], gallery=rows[::2], queries=rows[1::2]),
            arrays=np.broadcast_to(grey[:, None, None, None], (len(rows), 8, 8, 3)).copy(),
        )
"""
LOADER_RECIPE = (
    DATASET.replace("folders.py", "gradients.py")
    .replace("holdout", "classes")
    .replace('loader = "folders"\nfolders = ["squares"]', 'loader = "gradients"\nfolders = []')
)

ADDED = {
    "searcher": ("methods/search/projection", SEARCHER, SEARCHER_RECIPE),
    "encoder": ("methods/brightness", ENCODER, ENCODER_RECIPE),
    "identifier": ("methods/identifier/mosaic", IDENTIFIER, IDENTIFIER_RECIPE),
    "retriever": ("methods/first_rows", RETRIEVER, RETRIEVER_RECIPE),
    "loader": ("datasets/gradients", LOADER, LOADER_RECIPE),
}
CHECKS = {
    "searcher": check_searcher,
    "encoder": check_encoder,
    "identifier": check_identifier,
    "retriever": check_retriever,
}


def add(kind: str, folder: Path) -> None:
    """Write the two files; the recipe of a name with an underscore is called with a dash."""
    stem, code, recipe = ADDED[kind]
    (folder / stem).parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.py").write_text(code)
    (folder / f"{stem.replace('_', '-')}.toml").write_text(recipe)


def test_two_files_are_enough(irbench: Callable, tmp_path: Path) -> None:
    """One of each kind, at work together on a data set whose loader was added too."""
    for kind in ADDED:
        add(kind, tmp_path)
    methods = ("--method", "brightness+projection", "--method", "first-rows", "--method", "irgen")
    done = irbench("run", *methods, "--identifier", "mosaic", "--dataset", "gradients", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    results = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("runs/results/*/*/seed0.json")}
    assert {name.partition("@")[0]: result["status"] for name, result in results.items()} == {
        "brightness+projection": "ok",
        "first-rows": "ok",
        "irgen": "ok",
    }
    (generated,) = (result for name, result in results.items() if name.startswith("irgen"))
    assert generated["identifier"] == "mosaic"
    assert generated["dataset"]["gallery"] == 24


@pytest.mark.parametrize("kind", CHECKS)
def test_what_was_added_keeps_the_contracts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that IRBENCH_RECIPES names, seen from another one."""
    add(kind, tmp_path / "own")
    monkeypatch.setenv("IRBENCH_RECIPES", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    CHECKS[kind](Path(ADDED[kind][0]).name.replace("_", "-"))


def test_a_data_set_of_a_known_layout_is_one_file(irbench: Callable, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "squares.toml").write_text(DATASET)
    for number, colour in enumerate(["red", "green", "blue"]):
        folder = tmp_path / "data" / "squares" / colour
        folder.mkdir(parents=True)
        for row in range(8):
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[..., number] = 100 + 10 * row
            Image.fromarray(pixels).save(folder / f"{row}.png")
    done = irbench("run", "--method", "pixels", "--dataset", "squares")
    assert done.returncode == 0, done.stderr
    assert "squares" in done.stdout
