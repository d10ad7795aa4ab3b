"""An outside package, made here, adds an encoder and a retriever by entry points alone."""

from collections.abc import Callable
from pathlib import Path

PLUGIN = '''
"""A plug-in for irbench."""
from dataclasses import dataclass

import numpy as np

from irbench.core.embeddings import Embeddings
from irbench.data.pixels import View, pixels
from irbench.core.description import Description
from irbench.core.ranking import Ranking


@dataclass(frozen=True, kw_only=True)
class Config:
    bins: int = 8


class BrightnessEncoder:
    def __init__(self, config, runtime):
        self.config, self.runtime = config, runtime

    def encode(self, images):
        grey = pixels(images, View(16), self.runtime)[np.arange(len(images))].mean(axis=3)
        counts = [np.histogram(g, bins=self.config.bins, range=(0, 256))[0] for g in grey]
        return Embeddings(np.array(counts, np.float32))

    def describe(self):
        return Description(details={"bins": self.config.bins})


class FirstRows:
    """A retriever that answers the first rows to everything."""

    def __init__(self, config, runtime, parts):
        pass

    def index(self, gallery):
        self.size = len(gallery)

    def search(self, queries, k):
        rows = np.tile(np.arange(min(k, self.size)), (len(queries), 1))
        return Ranking.from_topk(rows, -rows.astype(np.float32))

    def describe(self):
        return Description()
'''
CLASSES = {"encoder:brightness": "BrightnessEncoder", "retriever:first-rows": "FirstRows"}


def test_a_plug_in_runs_beside_the_built_in_methods(irbench: Callable, plug_in: Callable) -> None:
    plug_in(PLUGIN, CLASSES)
    done = irbench("run", "-m", "brightness+linear", "-m", "first-rows", "-m", "pixels")
    assert done.returncode == 0, done.stderr
    assert "brightness+linear" in done.stdout
    assert "first-rows" in done.stdout
    assert "brightness" in irbench("list", "methods").stdout


def test_a_wrong_key_in_its_recipe_names_the_nearest_one(irbench: Callable, plug_in: Callable, tmp_path: Path) -> None:
    plug_in(PLUGIN, CLASSES)
    with (tmp_path / "methods" / "brightness.toml").open("a") as recipe:
        recipe.write("[params]\nbin = 16\n")
    done = irbench("run", "-m", "brightness+linear")
    assert done.returncode == 2
    assert all(part in done.stderr for part in ("[unknown-key]", "brightness.toml", "'bin'", "'bins'"))
    assert "Traceback" not in done.stderr
