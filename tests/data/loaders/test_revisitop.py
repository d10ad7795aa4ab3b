"""Revisited Oxford and Paris: three setups of one ground truth, boxes of queries alone, and the published metric."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import revisited
from hypothesis import given
from hypothesis import strategies as st
from raising import raises
from typer.testing import CliRunner

from irbench.cli.main import app
from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, UsageError
from irbench.core.judgements import JUNK
from irbench.core.ranking import Ranking
from irbench.data import datasets
from irbench.data.sources import Source
from irbench.data.verify import verify
from irbench.metrics import retrieval


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return revisited.write(tmp_path_factory.mktemp("data") / "roxford5k").parent


def grades(benchmark: Benchmark) -> list[dict[int, int]]:
    every = (benchmark.relevance.of_query(query) for query in range(len(benchmark.queries)))
    return [dict(zip(rows.tolist(), found.tolist(), strict=True)) for rows, found in every]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("easy", [{1: 1, 3: 1, 7: JUNK, 0: JUNK, 5: JUNK, 11: JUNK}, {10: 1, 2: JUNK}, {4: JUNK, 6: JUNK}]),
        ("medium", [{1: 1, 3: 1, 7: 1, 0: JUNK, 5: JUNK, 11: JUNK}, {10: 1, 2: JUNK}, {4: 1, 6: 1}]),
        ("hard", [{1: JUNK, 3: JUNK, 7: 1, 0: JUNK, 5: JUNK, 11: JUNK}, {10: JUNK, 2: JUNK}, {4: 1, 6: 1}]),
    ],
)
def test_the_three_setups(root: Path, protocol: str, expected: list[dict[int, int]]) -> None:
    found = datasets.load("roxford5k", data=root, protocol=protocol)
    assert found.protocol == protocol
    assert grades(found) == expected
    assert found.gallery.ids[3] == "jpg/oxford_000003.jpg"
    assert found.queries.ids[1] == "jpg/ashmolean_000001.jpg"
    assert (len(found.gallery), len(found.queries), found.classes) == (12, 3, 0)
    assert (found.own_rows == -1).all()


def test_medium_and_cropped_queries_are_the_default(root: Path) -> None:
    found = datasets.load("roxford5k", data=root)
    assert (found.protocol, found.crop, found.top_k) == ("medium", "bbox", 4993)
    assert found.gallery.boxes is None
    assert found.train.boxes is None
    assert found.queries.boxes is not None
    assert found.queries.boxes.tolist() == [[2, 1, 22, 15], [0, 0, 30, 20], [6, 6, 20, 20]]  # as Pillow rounds them
    assert Source(found.queries).seen(0).size == (20, 14)
    assert Source(found.gallery).seen(0).size == (30, 20)
    whole = datasets.load("roxford5k", data=root, crop="none")
    assert whole.queries.boxes is None
    three = {datasets.load("roxford5k", data=root, protocol=name).fingerprint for name in ("easy", "medium", "hard")}
    assert len({*three, whole.fingerprint}) == 4


def test_a_protocol_that_it_does_not_have_is_refused(root: Path) -> None:
    with raises(UsageError, "unknown-choice", "roxford5k", "--protocol 'closed-set'", "medium, easy, hard"):
        datasets.load("roxford5k", data=root, protocol="closed-set")
    with raises(UsageError, "unknown-choice", "digits", "--protocol 'medium'", "closed-set, metric-learning"):
        datasets.load("digits", protocol="medium")


def published(ranks: list[list[int]], judged: list[dict[int, int]]) -> Iterator[tuple[float, list[float]]]:
    """Yield average precision, and precision at 1, 5 and 10, of each query that revisitop's compute_map scores."""
    for ranked, of_query in zip(ranks, judged, strict=True):
        right = {row for row, grade in of_query.items() if grade > 0}
        neither = {row for row, grade in of_query.items() if grade == JUNK}
        if not right:
            continue
        left = [row for row in ranked if row not in neither]
        places = [place for place, row in enumerate(left) if row in right]  # from 0
        area = 0.0
        for found, place in enumerate(places):
            before = found / place if place else 1.0
            area += (before + (found + 1) / (place + 1)) / 2 / len(right)
        last = max(places) + 1
        yield area, [sum(place < min(k, last) for place in places) / min(k, last) for k in (1, 5, 10)]


@given(st.integers(0, 2**32), st.sampled_from(["easy", "medium", "hard"]))
def test_map_is_that_of_the_published_code(root: Path, seed: int, protocol: str) -> None:
    benchmark = datasets.load("roxford5k", data=root, protocol=protocol)
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(3, 12)).astype(np.float32)
    ranking = Ranking.from_topk(np.tile(np.arange(12), (3, 1)), scores)
    areas, precisions = zip(*published(ranking.rows.tolist(), grades(benchmark)), strict=True)
    names = ["map_trapezoid@4993", "precision_irgen@1", "precision_irgen@5", "precision_irgen@10"]
    found = retrieval.score(benchmark.scored(ranking), benchmark, names)
    assert found.values[names[0]] == pytest.approx(areas)
    assert found.means[names[0]] == pytest.approx(np.mean(areas))
    several = benchmark.positives[found.queries] > 1  # of a single one, precision_irgen does not reduce K
    for name, values in zip(names[1:], np.transpose(precisions), strict=True):
        assert found.values[name][several] == pytest.approx(values[several])


def test_a_run_ranks_the_whole_gallery(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (["--protocol", "hard"], []):
        run = ["run", "--dataset", "roxford5k", "--method", "pixels+linear", "--data", str(root), *protocol]
        done = CliRunner().invoke(app, run)
        assert done.exit_code == 0, done.output
        assert f"roxford5k · {(protocol or ['', 'medium'])[1]} · crop bbox" in done.stdout
    stored = {path.parent.name: json.loads(path.read_text()) for path in Path("runs").glob("results/*/*/*.json")}
    assert set(stored) == {"pixels+linear@crop-bbox,medium", "pixels+linear@crop-bbox,hard"}
    for result in stored.values():
        benchmark = datasets.load("roxford5k", data=root, protocol=result["dataset"]["protocol"])
        means = {name: one["mean"] for name, one in result["metrics"].items()}
        assert means["recall@4993"] == 1  # every positive is ranked, whatever was junk before it
        assert result["dataset"]["without_positives"] == int((benchmark.positives == 0).sum())
        assert 0 < means["map_trapezoid@4993"] < 1


def test_info_and_verify_count(root: Path) -> None:
    facts = datasets.summary(datasets.load("roxford5k", data=root, protocol="hard"))
    assert facts["images"] == {"train": 12, "gallery": 12, "queries": 3}
    assert facts["queries_without_positives"] == 1
    (root / "roxford5k/jpg/ashmolean_000000.jpg").rename(root / "moved.jpg")
    try:
        found = verify(datasets.find("roxford5k"), root)
        assert found.missing == ["jpg/ashmolean_000000.jpg"]
        assert found.boxes == found.unreadable == {}
        assert "images of gallery: 12, expected 4,993" in found.problems
    finally:
        (root / "moved.jpg").rename(root / "roxford5k/jpg/ashmolean_000000.jpg")


def changed(place: tuple, value: object) -> object:
    known = revisited.truth()
    inner = known
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return known


@pytest.mark.parametrize(
    ("found", "code", "named"),
    [
        ([], "missing-column", ["'imlist'"]),
        (changed(("qimlist",), "ashmolean"), "missing-column", ["'qimlist'"]),
        (changed(("imlist", 3), 3), "missing-column", ["'imlist'"]),
        (changed(("gnd",), revisited.truth()["gnd"][:2]), "truncated-annotation", [3]),
        (changed(("gnd", 1), "easy"), "bad-annotation", ["query 1", "'easy'"]),
        (changed(("gnd", 1, "hard"), [12]), "bad-annotation", ["query 1", "'hard'", 11]),
        (changed(("gnd", 1, "hard"), [True]), "bad-annotation", ["query 1", "'hard'"]),
        (changed(("gnd", 2, "junk"), [4]), "duplicate-image", ["query 2"]),
        (changed(("gnd", 2, "bbx"), [1, 2, 3]), "bad-annotation", ["query 2", "'bbx'"]),
        (changed(("gnd", 2, "bbx"), [1, 2, 3, float("nan")]), "bad-annotation", ["query 2", "'bbx'"]),
        (changed(("gnd", 2, "bbx"), np.ones(4)), "unsafe-pickle", []),
    ],
)
def test_a_broken_ground_truth(tmp_path: Path, found: object, code: str, named: list[object]) -> None:
    root = revisited.write(tmp_path, found)
    with raises(DataError, code, root / "gnd_roxford5k.pkl", *named):
        datasets.load("roxford5k", data=root)


def test_paris_has_a_file_of_its_own(tmp_path: Path) -> None:
    root = revisited.write(tmp_path)
    with raises(DataError, "not-found", "gnd_rparis6k.pkl"):
        datasets.load("rparis6k", data=root)
    (root / "gnd_roxford5k.pkl").rename(root / "gnd_rparis6k.pkl")
    assert datasets.load("rparis6k", data=root).top_k == 6322
