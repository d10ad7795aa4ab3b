"""Vectors of one's own on the command line: which index suits them, without an image."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

SIZES = {"gallery": 900, "queries": 120}
SEARCHES = (  # each by a recipe
    "binary", "cagra", "fp16", "hnsw", "ivf-rabitq", "ivfpq", "linear", "nsg", "scann", "spann", "sq8", "usearch",
    "vamana", "vamana-lvq",
)  # fmt: skip
RUN = ("run", "--vectors", "in/gallery.npy", "--queries", "in/queries.npy")
LABELS = ("--labels", "in/gallery.txt", "--query-labels", "in/queries.txt")


@pytest.fixture
def vectors(tmp_path: Path) -> dict[str, np.ndarray]:
    """Gallery and queries in eight clusters, whose numbers are their labels."""
    rng = np.random.default_rng(0)
    centres, made = rng.normal(size=(8, 16)), {}
    (tmp_path / "in").mkdir()
    for name, count in SIZES.items():
        labels = rng.integers(8, size=count)
        made[name] = (centres[labels] + 0.5 * rng.normal(size=(count, 16))).astype(np.float32)
        np.save(tmp_path / f"in/{name}.npy", made[name])
        (tmp_path / f"in/{name}.txt").write_text("".join(f"{label}\n" for label in labels))
    return made


def results(folder: str = "runs/results") -> dict[str, dict]:
    """Return the stored results by data set and cell."""
    return {"/".join(path.parts[-3:-1]): json.loads(path.read_text()) for path in Path(folder).glob("*/*/seed0.json")}


def exported(irbench: Callable, pattern: str) -> list[list[str]]:
    """Return the columns of an exported file."""
    assert irbench("export", "--out", "out").returncode == 0
    (path,) = Path("out").glob(f"*/{pattern}")
    return [line.split() for line in path.read_text().splitlines()]


def test_indexes_are_compared_on_vectors_without_labels(irbench: Callable, vectors: dict) -> None:
    done = irbench(*RUN, "--search", "linear", "--search", "ivfpq", "--set", "bits=4")
    assert done.returncode == 0, done.stderr
    found = results()
    assert sorted(found) == ["gallery/vectors+ivfpq@bits-4", "gallery/vectors+linear"]
    means = {cell: {name: one["mean"] for name, one in made["metrics"].items()} for cell, made in found.items()}
    exact, coarse = means["gallery/vectors+linear"], means["gallery/vectors+ivfpq@bits-4"]
    assert exact == dict.fromkeys([f"{name}@{k}" for name in ("precision", "recall") for k in (1, 10, 100)], 1.0)
    index = faiss.IndexFlatL2(16)
    index.add(vectors["gallery"])
    nearest = index.search(vectors["queries"], 10)[1]
    run, qrels = exported(irbench, "*ivfpq*"), exported(irbench, "qrels*")
    top = [(query, image) for query, _, image, rank, *_ in run if int(rank) <= 10]
    right = {(f"queries/{query}", f"gallery/{row}") for query, rows in enumerate(nearest.tolist()) for row in rows}
    assert coarse["recall@10"] == pytest.approx(len(right & set(top)) / 1200)
    assert 0.05 < coarse["recall@10"] < 0.95
    assert len(qrels) == 120 * 100
    assert right <= {(query, image) for query, _, image, *_ in qrels}
    facts = found["gallery/vectors+linear"]["dataset"]
    assert (facts["gallery"], facts["queries"], facts["classes"]) == (900, 120, 0)
    shutil.move("runs/work/rankings", "elsewhere")  # scores follow from the stored hits
    assert irbench("rescore", "--force").returncode == 0
    assert {cell: made["metrics"] for cell, made in results().items()} == {
        cell: made["metrics"] for cell, made in found.items()
    }
    planned = irbench(*RUN, "--dry-run").stderr.splitlines()
    named = [line.split()[1] for line in planned if " on " in line and line.startswith("  ")]
    assert named == [f"vectors+{search}" for search in SEARCHES if search != "linear"]  # bits are a recipe's again


def test_vectors_with_labels_have_the_usual_metrics(irbench: Callable, vectors: dict) -> None:
    np.save("in/gallery.npy", np.asfortranarray(vectors["gallery"].astype(">f8")))
    done = irbench(*RUN, *LABELS, "--search", "linear", "--name", "mine", "--k", "3", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["dataset"]["name"] == "mine"
    assert result["dataset"]["classes"] == 8
    assert set(result["metrics"]) >= {"precision@3", "hit_rate@3", "mrr@3", "map@100", "r_precision"}
    labels = {name: np.loadtxt(f"in/{name}.txt") for name in SIZES}
    index = faiss.IndexFlatL2(16)
    index.add(vectors["gallery"])
    found = index.search(vectors["queries"], 3)[1]
    expected = (labels["gallery"][found] == labels["queries"][:, None]).mean()
    assert result["metrics"]["precision@3"]["mean"] == pytest.approx(expected)
    for command in ("report --out pages", "plot pareto --out pareto.svg", "check --baseline runs/results"):
        assert irbench(*command.split()).returncode == 0, command
    info = json.loads(irbench("data", "info", "mine", "--json").stdout)
    assert (info["images"]["gallery"], info["classes"]["all"]) == (900, 8)
    again = json.loads(irbench("run", "--dataset", "mine", "--search", "linear", "--dry-run", "--json").stdout)
    assert [one["cell"].split()[0] for one in again["planned"]] == ["vectors+linear"]  # found again by its name


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "--vectors", "in/none.npy"), "no-such-file"),
        (("run", "--vectors", "in/gallery.txt"), "bad-vectors"),
        (("run", "--vectors", "in"), "unreadable-file"),
        (("run", "--queries", "in/queries.npy"), "unused-option"),
        (("run", "--labels", "in/gallery.txt"), "unused-option"),
        ((*RUN, "--labels", "in/gallery.txt"), "bad-label"),
        ((*RUN, *LABELS[2:]), "bad-label"),
        ((*RUN, "--labels", "in/queries.txt", "--query-labels", "in/gallery.txt"), "wrong-shape"),
        (("run", "--vectors", "in/gallery.npy", *LABELS), "unused-option"),
        ((*RUN, "--dataset", "digits"), "unused-option"),
        ((*RUN, "--crop", "bbox"), "unused-option"),
        ((*RUN, "--on-bad-image", "skip"), "unused-option"),
        ((*RUN, "--method", "pixels"), "needs-images"),
        ((*RUN, "--method", "irgen"), "needs-images"),
        ((*RUN, "--name", "digits"), "name-taken"),
    ],
)
def test_what_does_not_go_together_is_one_message(
    irbench: Callable, vectors: dict, arguments: tuple[str, ...], code: str
) -> None:
    done = irbench(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("irbench: ")
    assert line.endswith(f"[{code}]")
    assert not Path("runs/results").exists()
