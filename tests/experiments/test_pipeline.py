"""The main job on real images: scikit-learn's scans of handwritten digits, from the command to the numbers."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from engines import SPANN_RUNS

from irbench.data import datasets
from irbench.metrics import retrieval
from irbench.results.files import read_all
from irbench.results.rankings import load_ranking
from irbench.results.schema import Result
from irbench.results.scoring import estimates

WORK = os.environ.get("IRBENCH_TEST_WORK")  # where this code has trained the same models already, as in CI
QUICK = ["pixels+linear", "ft-clip+linear", "ft-clip+ivfpq", "ft-clip+scann", "ft-clip+spann", "classify", "irgen"]


def stored(folder: Path) -> dict[str, Result]:
    results, problems = read_all(folder / "runs" / "results")
    assert not problems
    return {result.cell: result for result in results}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_grid_reaches_its_marks_and_is_not_computed_twice(irbench: Callable, tmp_path: Path) -> None:
    if WORK:
        shutil.copytree(WORK, tmp_path / "runs" / "work")
    done = irbench("run")
    assert done.returncode == 0, done.stderr
    found = stored(tmp_path)
    assert sorted(found) == sorted(QUICK)
    skipped = [] if SPANN_RUNS else [found.pop("ft-clip+spann")]
    assert [result.status for result in skipped] == ["skipped"] * len(skipped)
    assert {result.status for result in found.values()} == {"ok"}

    def mean(cell: str, metric: str) -> float:
        value = found[cell].metrics[metric].mean
        assert value is not None
        return value

    assert mean("ft-clip+linear", "precision@1") >= 0.98
    assert mean("ft-clip+linear", "precision@30") >= 0.95
    assert mean("irgen", "precision@1") >= 0.98
    assert mean("irgen", "precision@30") >= 0.97
    assert mean("irgen", "precision@30") > mean("ft-clip+linear", "precision@30")
    assert mean("irgen", "map@100") > 0.97  # a ranking is full
    assert found["irgen"].retriever["beam_size"] == 100  # of the search that was scored, not the recipe's
    assert mean("classify", "precision@30") == mean("classify", "precision@1") >= 0.98  # one class after the other
    short = {cell for cell, result in found.items() if any(one.short for one in result.metrics.values())}
    assert short <= {"ft-clip+ivfpq"}  # whose five cells hold fewer than 100 images for some queries
    assert mean("ft-clip+linear", "precision@30") >= mean("pixels+linear", "precision@30") + 0.08
    for search in ("scann", "spann") if SPANN_RUNS else ("scann",):
        assert mean(f"ft-clip+{search}", "precision@1") >= mean("ft-clip+linear", "precision@1") - 0.01

    tried_again = {result.path(tmp_path / "runs" / "results") for result in skipped}
    kept = (path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path not in tried_again)
    before = {path: path.read_bytes() for path in kept}
    start = time.monotonic()
    again = irbench("run")
    assert f"{len(found)} cells stored already" in again.stderr
    assert again.stdout == done.stdout
    assert time.monotonic() - start < 30
    assert {path: path.read_bytes() for path in before} == before

    benchmark = datasets.load("digits")
    for result in found.values():
        assert result.ranking is not None
        ranking = load_ranking(result.ranking, tmp_path / "runs" / "work" / "rankings")
        judged = retrieval.judgements(ranking, benchmark)
        assert estimates(judged, retrieval.Scope.of(benchmark)) == result.metrics  # a new metric needs no new run
        assert result.cost.query_ms is not None
        assert 0 < result.cost.query_ms.total_p50 <= result.cost.query_ms.total_p99
    assert found["irgen"].cost.train_s > found["ft-clip+linear"].cost.train_s > 1  # remembered work keeps its price
    assert found["ft-clip+scann"].cost.train_s == pytest.approx(found["ft-clip+linear"].cost.train_s, rel=0.2)


@pytest.mark.slow
def test_an_ablation_trains_once_what_its_cells_share_and_tells_the_components(
    irbench: Callable, tmp_path: Path
) -> None:
    done = irbench("ablate", "beam", "--epochs", "1", "--max-queries", "20")
    assert done.returncode == 0, done.stderr
    found = stored(tmp_path)
    assert len(found) == 7
    assert len(list((tmp_path / "runs/work/model").glob("*/model.safetensors"))) == 3  # a beam's width trains nothing
    times = [result.cost.query_ms for result in found.values()]
    # parts are timed in a pass of their own, which other programs may slow down: for one cell that says nothing
    for part, most in (("trie_p50", 1), ("decoder_p50", 1.5)):
        assert min(getattr(one, part) for one in times) > 0
        assert median(getattr(one, part) / one.search_p50 for one in times) < most
    for word in ("Precision", "Query time", "irgen@beam_size-1"):
        assert word in done.stdout
    assert re.search(r"\bms +trie\b", done.stdout)  # below "decoder"


@pytest.mark.slow
def test_a_shortened_run_stays_out_of_tables_unless_asked(irbench: Callable, tmp_path: Path) -> None:
    assert irbench("run", "--method", "pixels", "--max-queries", "50").returncode == 0
    assert "pixels" not in irbench("table").stdout.partition("left out")[0]
    assert "max_queries=50" in irbench("table", "--shortened").stdout
    document = json.loads(irbench("table", "--shortened", "--format", "json").stdout)
    assert document["metric"] == "precision"
    assert (tmp_path / "runs/results/digits/pixels+linear@queries-50/seed0.json").is_file()


def test_off_the_shelf_encoders_have_nothing_to_load_at_tiny(irbench: Callable) -> None:
    done = irbench("run", "--method", "clip", "--method", "pixels", "--json")
    assert done.returncode == 0
    by_method = {result["method"]: result for result in json.loads(done.stdout)["results"]}
    assert by_method["clip"]["status"] == "skipped"
    assert "nothing to load" in by_method["clip"]["reason"]
    assert by_method["pixels"]["status"] == "ok"


def test_without_weights_the_message_says_what_to_do(irbench: Callable) -> None:
    done = irbench("run", "--method", "ft-clip", "--scale", "paper")
    assert done.returncode == 2
    for word in ("vit_base_patch16_clip_quickgelu_224.openai", "--weights FILE", "--scale tiny or small"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
