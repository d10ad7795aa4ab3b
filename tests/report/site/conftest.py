"""A folder of pictures with hostile names, two methods that searched it, and the report about them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from cells import fields_of
from PIL import Image

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.description import Backbone
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking
from irbench.data import datasets
from irbench.data.sources import Source
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Scope
from irbench.report.site import write
from irbench.results import files, hits, rankings
from irbench.results.artefacts import Artefacts
from irbench.results.rescore import scored
from irbench.results.schema import Cost, Dataset, QueryTimes, RecipeUsed, Result

HOSTILE = "<script>alert('&\"')</script>"
NAMES = [
    "<img src=x onerror=alert({})>.png",
    "a & {}.png",
    "'\" {}.png",
    "ü {} 日本.png",
    "#a?b={}%20.png",
    "\udcff{}.png",
]


@dataclass
class World:
    """Pictures, results on disk, and where everything is."""

    root: Path
    benchmark: Benchmark
    artefacts: Artefacts

    @property
    def all(self) -> list[Result]:
        found, problems = files.read_all(self.artefacts.results)
        assert problems == []
        return found

    def page(self, folder: str) -> str:
        """The page of the data set in this folder of the report."""
        return f"{folder}/{self.benchmark.name}.html"

    def put(self, method: str, *, noise: float = 0.0, codes: bool = False, seed: int = 0, **changes) -> Result:
        """Search by the mean colour with so much noise, and keep the result as `irbench run` would."""
        rng = np.random.default_rng([seed, *map(ord, method)])
        asked, held = (_colours(images) for images in (self.benchmark.queries, self.benchmark.gallery))
        scores = -((asked[:, None] - held[None]) ** 2).sum(-1) + noise * rng.normal(size=(len(asked), len(held)))
        ranking = Ranking.from_topk(np.broadcast_to(np.arange(len(held)), scores.shape), scores).cut(20)
        identifiers = Identifiers(rng.integers(300, size=(len(held), 4)), 300) if codes else None
        facts = {
            "status": "ok",
            "dataset": Dataset.of(self.benchmark),
            "method": method,
            "identifier": "semantic" if codes else None,
            "default_identifier": "semantic" if codes else None,
            "scale": "tiny",
            "seed": seed,
            "inputs": "",
            "recipe": RecipeUsed(text=f"# {HOSTILE}", hash="a1"),
            "backbone": Backbone(name="net", weights=f"file {HOSTILE}", parameters=5),
            "cost": Cost(
                query_ms=QueryTimes(batch=1, encode_p50=1.0, search_p50=2.0, total_p50=3.0 + len(method)),
                queries_per_s=300.0,
            ),
            "environment": {"cpu": HOSTILE, "cores": 2, "commit": "abc"},
            "created": "2026-01-01T00:00:00+00:00",
        }
        result = Result(**(facts | fields_of(changes)))
        if result.status == "ok":
            folder = result.path(self.artefacts.results).parent
            judged = retrieval.judgements(ranking, self.benchmark)
            result = replace(
                result,
                ranking=rankings.save_ranking(ranking, self.artefacts.work / "rankings", identifiers),
                hits=hits.save(judged, folder, seed=seed),
            )
            result = scored(result, judged, Scope.of(self.benchmark))
        files.write(result, self.artefacts.results)
        return result

    def report(self, out: Path | None = None, artefacts: Artefacts | None = None) -> Path:
        """Write the report of all results; return its folder."""
        out = out or self.root / "site"
        write(self.all, artefacts or self.artefacts, hits.Reader(self.artefacts.results), out)
        return out


def _colours(images: ImageSet) -> np.ndarray:
    source = Source(images)
    return np.array([np.asarray(source.image(row)).reshape(-1, 3).mean(0) / 255 for row in range(len(source))])


def make_world(root: Path) -> World:
    rng = np.random.default_rng(0)
    for label in range(3):
        folder = root / "photos" / f"class {label}"
        folder.mkdir(parents=True)
        for i in range(12):
            colour = np.array([90, 120, 150]) + 40 * (np.arange(3) == label)
            pixels = (colour + rng.integers(-40, 40, (20, 16, 3)) + rng.integers(-20, 20, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / NAMES[i % len(NAMES)].format(i))
    own = str(root / "photos")
    benchmark = datasets.load(own, data=root)
    return World(root, benchmark, Artefacts(root / "results", root / "work", root, ((benchmark.name, own),)))


def fill(world: World) -> World:
    """Two methods, one of them with two seeds, a variant, and a cell that failed."""
    world.put("exact", search="linear", noise=0.05)
    world.put("writer", codes=True, noise=0.02)
    world.put("writer", codes=True, noise=0.02, seed=1)
    world.put("writer", codes=True, noise=0.3, variant="beam_size-1")
    world.put("broken", search="linear", status="failed", reason=f"no wheel for {HOSTILE}")
    return world


@pytest.fixture
def empty_world(tmp_path: Path) -> World:
    """Pictures, and no results yet."""
    return make_world(tmp_path)


@pytest.fixture
def world(empty_world: World) -> World:
    return fill(empty_world)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same, with its report in the folder `site`; for tests that change nothing."""
    made = fill(make_world(tmp_path_factory.mktemp("world")))
    made.report()
    return made
