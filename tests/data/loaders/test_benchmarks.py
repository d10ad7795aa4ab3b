"""Retrieval benchmarks with a protocol of their own, read from small trees made here after the official layouts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import raises
from scipy.io import savemat

from irbench.core.benchmark import Benchmark
from irbench.core.errors import DataError, UsageError
from irbench.core.ranking import Ranking
from irbench.data import datasets
from irbench.data.download.published import Expected
from irbench.metrics import retrieval


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def load(name: str, root: Path, **options) -> Benchmark:
    return datasets.load(name, data=root, files_must_exist=False, **options)


def relevant(benchmark: Benchmark) -> dict[str, set[str]]:
    """Return the ids of what is relevant to each query, by the query's id."""
    found = {}
    for query, id_ in enumerate(benchmark.queries.ids):
        rows, grades = benchmark.relevance.of_query(query)
        own = benchmark.own_rows[query]
        found[id_] = {benchmark.gallery.ids[row] for row in rows[grades > 0].tolist() if row != own}
    return found


@pytest.mark.parametrize(
    ("name", "images", "classes", "protocols", "crop"),
    [
        ("sop", (59551, 60502, 60502), 11318 + 11316, ("metric-learning",), "none"),
        ("inat2018", (325846, 136093, 136093), 5690 + 2452, ("metric-learning",), "none"),
        ("gldv2", (761757, 761757, 750), 0, ("private", "public"), "none"),
        ("instre", (27293, 27293, 1250), 0, ("judged",), "bbox"),
        ("roxford5k", (4993, 4993, 70), 0, ("medium", "easy", "hard"), "bbox"),
        ("rparis6k", (6322, 6322, 70), 0, ("medium", "easy", "hard"), "bbox"),
    ],
)
def test_the_published_counts_and_protocols(name, images, classes, protocols, crop):
    head = datasets.find(name).head
    train, gallery, queries = images
    assert head.expected == Expected(train=train, gallery=gallery, queries=queries, classes=classes)
    assert (head.protocols, head.crop) == (protocols, crop)
    assert max(head.ks) == head.top_k or name in {"inat2018"}
    with raises(UsageError, "unknown-choice", name, *protocols):
        load(name, Path("nowhere"), protocol="metric-learnin")


# --- Stanford Online Products

HEAD = "image_id class_id super_class_id path\n"
SOP = {
    "Ebay_train.txt": f"{HEAD}1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n3 2 1 bicycle_final/2_0.JPG\n",
    "Ebay_test.txt": f"{HEAD}4 11319 1 bicycle_final/3_0.JPG\n"
    "5 11319 1 bicycle_final/3_1.JPG\n6 11320 7 lamp_final/4_0.JPG\n7 11320 7 lamp_final/4_1.JPG\n",
}


def test_sop(tmp_path):
    found = load("sop", tree(tmp_path / "Stanford_Online_Products", SOP).parent)
    assert found.protocol == "metric-learning"
    assert found.train.ids == ("bicycle_final/1_0.JPG", "bicycle_final/1_1.JPG", "bicycle_final/2_0.JPG")
    assert found.gallery.ids == found.queries.ids  # the four test images, not all seven
    assert found.own_rows.tolist() == [0, 1, 2, 3]
    assert relevant(found)["lamp_final/4_1.JPG"] == {"lamp_final/4_0.JPG"}
    assert found.train.labels.tolist() == [0, 0, 1]
    assert found.gallery.labels.tolist() == [2, 2, 3, 3]
    assert load("sop", tmp_path, protocol="metric-learning").fingerprint == found.fingerprint
    with raises(UsageError, "unknown-choice", "--protocol 'closed-set'", "metric-learning"):
        load("sop", tmp_path, protocol="closed-set")


def test_sop_broken(tmp_path):
    tree(tmp_path, SOP | {"Ebay_test.txt": f"{HEAD}4 x 1 bicycle_final/3_0.JPG\n"})
    with raises(DataError, "bad-annotation", "Ebay_test.txt, line 2", "4 x 1"):
        load("sop", tmp_path)
    (tmp_path / "Ebay_train.txt").unlink()
    with raises(DataError, "missing-file", "Ebay_train.txt", "irbench data fetch sop"):
        load("sop", tmp_path)


# --- iNaturalist 2018


def test_inat2018(tmp_path):
    train = ["Plantae/7477/a.jpg", "Plantae/7477/b.jpg", "Aves/31/c.jpg"]
    test = ["Aves/3000/d.jpg", "Aves/3000/e.jpg", "Fungi/2999/f.jpg", "Fungi/2999/g.jpg"]
    lists = {
        f"Inat_dataset_splits/Inaturalist_{part}_set1.txt": "".join(f"train_val2018/{name}\n" for name in names)
        for part, names in (("train", train), ("test", test))
    }
    found = load("inat2018", tree(tmp_path / "Inaturalist", lists).parent)
    assert found.protocol == "metric-learning"
    assert found.gallery.ids == found.queries.ids == tuple(f"train_val2018/{name}" for name in test)
    assert found.train.labels.tolist() == [1, 1, 0]
    assert relevant(found)["train_val2018/Fungi/2999/f.jpg"] == {"train_val2018/Fungi/2999/g.jpg"}
    path = tmp_path / "Inaturalist/Inat_dataset_splits/Inaturalist_test_set1.txt"
    for wrong in (
        "train_val2018/Aves/d.jpg",
        "d.jpg",
        "train_val2018/Aves/-1/d.jpg",
        "train_val2018/Aves/\u00b2/d.jpg",
    ):
        path.write_text(f"train_val2018/Aves/1/a.jpg\n{wrong}\n")
        with raises(DataError, "bad-annotation", path, "image 2", wrong):
            load("inat2018", tmp_path)


# --- Google Landmarks v2

IDS = [f"{number:016x}" for number in range(0x0123456789ABCDEF, 0x0123456789ABCDF7)]
A, B, C, D, E, F, G, H = IDS
SOLUTION = f"id,images,Usage\n{F},{A} {C},Private\n{G},{B},Public\n{E},None,Ignored\n{H},{C},Private\n"


def gldv2(root: Path, solution: str = SOLUTION, index: str = f"id\n{A}\n{B}\n{C}\n{D}\n") -> Path:
    return tree(root, {"index.csv": index, "retrieval_solution_v2.1.csv": solution})


def at(part: str, id_: str) -> str:
    return f"{part}/0/1/2/{id_}.jpg"


def test_gldv2(tmp_path):
    gldv2(tmp_path / "gldv2")
    private, public = load("gldv2", tmp_path), load("gldv2", tmp_path, protocol="public")
    assert private.protocol == "private"
    assert relevant(private) == {at("test", F): {at("index", A), at("index", C)}, at("test", H): {at("index", C)}}
    assert relevant(public) == {at("test", G): {at("index", B)}}
    for found in (private, public):
        assert found.gallery.ids == tuple(at("index", id_) for id_ in (A, B, C, D))
        assert not found.labelled


@given(st.integers(0, 2**32))
def test_gldv2_is_scored_as_published(tmp_path_factory, seed):
    """Against MeanAveragePrecision of tensorflow/models:delf/python/datasets/google_landmarks_dataset/metrics.py."""
    root = tmp_path_factory.mktemp("data")
    benchmark = load("gldv2", gldv2(root))
    scores = np.random.default_rng(seed).normal(size=(2, 4)).astype(np.float32)
    ranking = Ranking.from_topk(np.tile(np.arange(4), (2, 1)), scores)
    expected = []
    for ranked, right in zip(ranking.rows.tolist(), ({0, 2}, {2}), strict=True):
        hits = [row in right for row in ranked[:100]]
        summed = sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit)
        expected.append(summed / min(len(right), 100))
    assert retrieval.score(ranking, benchmark, ["map@100"]).values["map@100"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("solution", "code", "named"),
    [
        (SOLUTION.replace("Public", "public"), "unknown-choice", ["line 3", "'public'"]),
        (SOLUTION.replace(f",{B},", f",{B} {F},"), "unknown-id", ["line 3", F]),
        (SOLUTION.replace("Usage", "usage"), "missing-column", ["id,images,Usage"]),
        (SOLUTION.replace(",Public", ""), "bad-annotation", ["line 3"]),
        (SOLUTION.replace(G, "../"), "bad-annotation", ["line 3"]),
        ("id,images,Usage\n", "no-images", ["queries"]),
        (f"{SOLUTION}{F},{A},Private\n", "duplicate-image", [F]),
    ],
)
def test_gldv2_broken(tmp_path, solution, code, named):
    gldv2(tmp_path, solution)
    with raises(DataError, code, *named):
        load("gldv2", tmp_path)


# --- INSTRE


def cell(values: list) -> np.ndarray:
    return np.array(values, object).reshape(1, -1)


def instre(root: Path, positives=((1, 3), (2,), ()), boxes=((1.5, 2, 30, 40.5),) * 3, names=("ok", "bbx")) -> Path:
    """A ground truth as loadmat shows the published one: cells of names, and a struct array [1,Q]."""
    gnd = np.empty((1, len(positives)), [(name, "O") for name in names])
    for query, columns in enumerate(zip(positives, boxes, strict=True)):
        gnd[0, query] = tuple(np.array([column], np.float64) for column in columns[: len(names)])
    gallery = [f"INSTRE-S1/01a_canada_book/{number:03}.jpg" for number in range(1, 5)]
    queries = [f"INSTRE-M/01/{number:03}.jpg" for number in range(1, 4)]
    (root / "instre").mkdir(exist_ok=True)
    savemat(root / "instre/gnd_instre.mat", {"imlist": cell(gallery), "qimlist": cell(queries), "gnd": gnd})
    return root


def test_instre(tmp_path):
    found = load("instre", instre(tmp_path))
    book = "INSTRE-S1/01a_canada_book"
    assert list(relevant(found).values()) == [{f"{book}/001.jpg", f"{book}/003.jpg"}, {f"{book}/002.jpg"}, set()]
    assert found.queries.ids[2] == "INSTRE-M/01/003.jpg"
    assert found.gallery.boxes is None
    assert found.queries.boxes is not None
    assert found.queries.boxes.tolist() == [[2, 2, 30, 40]] * 3
    assert (found.protocol, found.crop) == ("judged", "bbox")
    assert load("instre", tmp_path, crop="none").queries.boxes is None


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"names": ("ok",)}, "truncated-annotation", [3]),
        ({"positives": ((1,),) * 2, "boxes": ((1, 2, 3, 4),) * 2}, "truncated-annotation", [3]),
        ({"positives": ((1,), (0,), (2,))}, "bad-annotation", ["query 1", 4]),
        ({"positives": ((1,), (5,), (2,))}, "bad-annotation", ["query 1", 4]),
        ({"positives": ((1,), (2, 2), (2,))}, "bad-annotation", ["query 1"]),
        ({"positives": ((1,), (2.5,), (2,))}, "bad-annotation", ["query 1"]),
        ({"positives": ((1,), (np.nan,), (2,))}, "bad-annotation", ["query 1"]),
        ({"boxes": ((1, 2, 3, 4), (1, 2, 3), (1, 2, 3, 4))}, "bad-annotation", ["query 1"]),
        ({"boxes": ((1, 2, 3, 4), (1, 2, 3, np.inf), (1, 2, 3, 4))}, "bad-annotation", ["query 1"]),
    ],
)
def test_instre_broken(tmp_path, changes, code, named):
    with raises(DataError, code, "gnd_instre.mat", *named):
        load("instre", instre(tmp_path, **changes), crop="bbox")
