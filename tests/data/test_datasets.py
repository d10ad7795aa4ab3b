from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import raises

from irbench.config import recipes
from irbench.config.registry import LOADERS
from irbench.core.errors import DataError, RecipeError, UsageError
from irbench.data import datasets
from irbench.data.loaders import Collection, Split

ALL = [
    "cars196",
    "cars196-holdout",
    "cub200",
    "digits",
    "gldv2",
    "imagenet",
    "inat2018",
    "inshop",
    "instre",
    "omniglot-million",
    "omniglot-small",
    "places365",
    "roxford5k",
    "rparis6k",
    "sop",
]


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


def counts(benchmark) -> tuple[int, int, int]:
    return len(benchmark.train), len(benchmark.gallery), len(benchmark.queries)


def test_every_recipe_is_whole_and_every_layout_can_be_built():
    assert sorted(set(ALL) - set(recipes.names("datasets"))) == []
    for name in ALL:
        dataset = datasets.find(name)
        assert dataset.loader.marker is not None
        assert dataset.head.page.startswith("http")
        assert recipes.find("datasets", name).title
    for name in LOADERS:
        assert LOADERS.load(name)


@cache
def digits():
    return datasets.load("digits")


def test_digits_are_what_scikit_learn_reads():
    benchmark = digits()
    assert counts(benchmark) == (899, 899, 898)
    assert benchmark.gallery.arrays.shape == (899, 8, 8, 3)
    assert benchmark.gallery.arrays.max() == 255
    assert (benchmark.ks, benchmark.top_k, benchmark.train.mirror) == ((1, 10, 20, 30), 100, False)
    from sklearn.datasets import load_digits

    whole = load_digits()
    for images, first in ((benchmark.gallery, 0), (benchmark.queries, 1)):
        assert images.labels.tolist() == whole.target[first::2].tolist()
        assert (images.arrays == np.rint(whole.images * 255 / 16)[first::2, ..., None]).all()


# --- protocols, crops and labels, whatever the layout


@given(st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=40), st.randoms())
def test_labels_become_dense_and_the_training_classes_come_first(labels, random):
    labels = np.array(labels, dtype=np.int64)
    rows = list(range(len(labels)))
    random.shuffle(rows)
    cut = sorted(random.sample(range(1, len(rows) + 1), 1))[0]
    train, rest = np.array(rows[:cut]), np.array(rows[cut:], dtype=np.int64)
    dense = datasets._dense(labels, Split(train=train, gallery=rest, queries=rest))
    assert len(set(zip(labels.tolist(), dense.tolist(), strict=True))) == len(set(labels.tolist())) == len(set(dense))
    assert sorted(set(dense.tolist())) == list(range(len(set(labels.tolist()))))
    assert sorted(set(dense[train].tolist())) == list(range(len(set(labels[train].tolist()))))
    in_order = np.argsort(labels[train], kind="stable")
    assert (np.diff(dense[train][in_order]) >= 0).all()


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_metric_learning_queries_unseen_classes(labels):
    labels = np.array(labels)
    every = np.arange(len(labels))
    whole = Split(train=every, gallery=every, queries=every)
    collection = Collection(ids=tuple(map(str, every)), labels=labels, split=whole)
    if len(set(labels.tolist())) < 2:
        with raises(DataError, "too-few-classes", 1):
            datasets._halves(collection)
        return
    split = datasets._halves(collection)
    assert max(labels[split.train]) < min(labels[split.queries])
    assert sorted([*split.train, *split.queries]) == list(range(len(labels)))
    assert 0 <= len(set(labels[split.gallery])) - len(set(labels[split.train])) <= 1


def test_metric_learning_takes_an_image_of_several_splits_once(tmp_path):
    text = "path,label,split\na.png,x,train\n./a.png,x,gallery\nb.png,y,train\nb.png,y,gallery\nc.png,y,query\n"
    (tmp_path / "mine.csv").write_text(text)
    apart = datasets.load(tmp_path / "mine.csv", protocol="metric-learning", files_must_exist=False)
    assert (apart.train.ids, apart.gallery.ids, apart.queries.ids) == (
        ("a.png",),
        ("b.png", "c.png"),
        apart.gallery.ids,
    )
    (tmp_path / "mine.csv").write_text(text.replace("a.png,x,gallery", "a.png,y,gallery"))
    with raises(DataError, "two-labels", "a.png"):
        datasets.load(tmp_path / "mine.csv", protocol="metric-learning", files_must_exist=False)


def test_metric_learning_never_retrieves_the_query_itself():
    benchmark = datasets.load("digits", protocol="metric-learning")
    assert benchmark.own_rows.tolist() == list(range(len(benchmark.gallery)))
    assert not set(benchmark.train.labels) & set(benchmark.gallery.labels)
    assert benchmark.fingerprint != digits().fingerprint


def test_half_of_every_class_is_left_out_to_be_added_later():
    whole, fresh = digits(), datasets.load("digits", incremental=True)
    old, new = fresh.old_gallery, fresh.new_gallery
    assert (old.ids + new.ids, set(fresh.gallery.ids)) == (fresh.gallery.ids, set(whole.gallery.ids))
    assert np.array_equal(np.bincount(new.labels), np.bincount(whole.gallery.labels) // 2)
    assert old.ids == tuple(id_ for id_ in whole.gallery.ids if id_ in set(old.ids))  # both in their old order
    assert new.ids == tuple(id_ for id_ in whole.gallery.ids if id_ in set(new.ids))
    assert set(fresh.train.ids) == set(whole.train.ids) - set(new.ids)
    assert fresh.queries.ids == whole.queries.ids
    assert fresh.fingerprint not in {whole.fingerprint, replace(fresh, incremental=0).fingerprint}
    assert np.array_equal(fresh.positives, whole.positives)
    apart = fresh.positives_among(fresh.old_rows) + fresh.positives_among(fresh.new_rows)
    assert np.array_equal(apart, whole.positives)


def test_of_single_images_none_can_be_added_later(tmp_path):
    (tmp_path / "mine.csv").write_text("path,label,split\na.png,x,gallery\nb.png,y,gallery\nc.png,y,query\n")
    with raises(UsageError, "too-few-images", "mine"):
        datasets.load(tmp_path / "mine.csv", incremental=True, files_must_exist=False)


@given(st.integers(1, 2000))
def test_fewer_queries_are_an_even_spread_and_stamped(wanted):
    whole = digits()
    part = datasets.shorten(whole, wanted)
    if wanted >= len(whole.queries):
        assert part.shortened == {}
        return
    assert part.shortened == {"max_queries": wanted}
    rows = np.array([whole.queries.ids.index(id_) for id_ in part.queries.ids])
    assert len(rows) == wanted
    assert rows[0] == 0
    assert wanted == 1 or np.ptp(np.diff(rows)) <= 1


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ({"crop": "box"}, "unknown-choice", ["--crop 'box'", "'bbox'"]),
        ({"protocol": "closed"}, "unknown-choice", ["--protocol 'closed'", "'closed-set'"]),
        ({"max_queries": 0}, "bad-value", ["--max-queries 0"]),
        ({"crop": "bbox"}, "no-boxes", ["digits"]),
    ],
)
def test_options_that_make_no_sense_are_refused(options, code, named):
    with raises(UsageError, code, *named):
        datasets.load("digits", **options)


def test_a_recipe_names_its_protocols_and_crop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    path, text = tmp_path / "datasets" / "mine.toml", recipes.find("datasets", "digits").text
    path.write_text(text.replace("mirror", 'protocols = ["metric-learning", "closed-set", "hard"]\nmirror'))
    assert datasets.load("mine").protocol == "metric-learning"
    assert datasets.load("mine", protocol="closed-set").fingerprint == datasets.load("digits").fingerprint
    assert (datasets.default_protocol("mine"), datasets.default_protocol("gone")) == ("metric-learning", "closed-set")
    with raises(RecipeError, "unknown-choice", "mine", "'hard'"):
        datasets.load("mine", protocol="hard")
    path.write_text(text.replace("mirror", 'crop = "bbox"\nmirror'))
    with raises(UsageError, "no-boxes", "mine"):
        datasets.load("mine")
    for wrong in ("protocols = []", 'crop = "box"'):
        path.write_text(text.replace("mirror", f"{wrong}\nmirror"))
        with pytest.raises(RecipeError, match=wrong.split()[0]):
            datasets.load("mine")


def test_summary_counts_queries_without_positives(tmp_path):
    files = [*[f"gallery/{c}/{i}.png" for c in "ab" for i in range(3)], "query/a/7.png", "query/z/8.png"]
    told = datasets.summary(datasets.load(tree(tmp_path / "own", *files)))
    assert told["images"] == {"train": 6, "gallery": 6, "queries": 2}
    assert told["classes"] == {"train": 2, "gallery": 2, "queries": 2, "all": 3}
    assert told["positives"] == {"min": 0, "mean": 1.5, "max": 3}
    assert (told["queries_without_positives"], told["queries_in_gallery"]) == (1, 0)


# --- finding them


def test_unknown_names_and_missing_data_tell_what_to_do(tmp_path):
    with raises(UsageError, "unknown-name", "'cars169'", "'cars196'"):
        datasets.load("cars169")
    looked_for = tmp_path / "cub200" / "CUB_200_2011" / "images.txt"
    with raises(DataError, "not-found", "cub200", looked_for, "train_test_split.txt", "https://", "--data"):
        datasets.load("cub200", data=tmp_path)


def test_broken_recipes_name_the_file_and_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("IRBENCH_RECIPES", str(tmp_path))
    good = recipes.find("datasets", "digits").text
    (tmp_path / "datasets").mkdir()
    for change, error, code, named in (
        (("top_k", "top_"), RecipeError, "unknown-key", ["mine.toml", "'top_'", "'top_k'"]),
        (("ks = [1,", "ks = [0,"), RecipeError, "bad-value", ["mine.toml", "ks [0,", "top_k"]),
        (('"tiny"', '"tinny"'), RecipeError, "bad-value", ["mine.toml", "'tinny'", "'tiny'"]),
        (('"digits"', '"digit"'), UsageError, "unknown-name", ["loader", "'digit'", "'digits'"]),
    ):
        (tmp_path / "datasets" / "mine.toml").write_text(good.replace(*change))
        with raises(error, code, *named):
            datasets.load("mine")


def test_absent_images_are_noticed_at_load_or_on_request_later(tmp_path):
    listing = "path,label,split\na.png,x,gallery\nb.png,x,gallery\nc/d.png,x,query\n"
    (tree(tmp_path, "a.png") / "mine.csv").write_text(listing)
    with raises(DataError, "missing-images", "2 of 3", tmp_path / "b.png"):
        datasets.load(tmp_path / "mine.csv")
    assert counts(datasets.load(tmp_path / "mine.csv", files_must_exist=False)) == (2, 2, 1)


@pytest.mark.parametrize(("folder", "name"), [("my phötos ü", "my-ph-tos"), ("_photos", "photos"), ("写真", "images")])
def test_any_folder_has_a_name_that_a_result_can_have(tmp_path, folder, name):
    (tmp_path / folder).mkdir()
    assert datasets.find(str(tmp_path / folder)).name == name


def test_own_images_are_known_by_their_content(tmp_path, monkeypatch):
    files = [f"{c}/{i}.jpg" for c in "ab" for i in range(3)]
    tree(tmp_path / "cars196", *files)
    tree(tmp_path / "my holiday 2024", *files)
    monkeypatch.chdir(tmp_path)
    one, same, apart = (datasets.load(name) for name in ("./cars196", "my holiday 2024", "./cars196"))
    assert (one.name, same.name) == ("cars196", "my-holiday-2024")
    assert one.collection == same.collection == apart.collection
    assert one.fingerprint == same.fingerprint
    (tmp_path / "cars196/a/0.jpg").write_bytes(b"other")
    assert datasets.load("./cars196").collection != one.collection
    assert datasets.load("./cars196").manifest == one.manifest
    with raises(DataError, "not-found", "cars196", "data/cars196"):  # without a slash the known name wins
        datasets.load("cars196")


def test_a_loader_that_finds_no_images_is_an_error_not_an_empty_benchmark(tmp_path):
    class Empty:
        marker, shape = "", "nothing"

        def read(self, root):
            none = np.zeros(0, np.int64)
            return Collection(ids=(), labels=none, split=Split(train=none, gallery=none, queries=none))

    dataset = datasets.Dataset("empty", datasets.find("digits").head, Empty())
    root, collection = dataset.collect(tmp_path)
    with raises(DataError, "no-images", "train"):
        datasets.assemble(dataset, root, collection, crop="none", protocol="closed-set")


# --- the real ones


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "protocol", "expected", "classes"),
    [
        ("cars196-holdout", "closed-set", (5429, 5429, 2715), 196),
        ("cars196-holdout", "metric-learning", (4052, 4092, 4092), 196),
        ("omniglot-small", "closed-set", (2904, 2904, 1936), 242),
        ("omniglot-small", "metric-learning", (2420, 2420, 2420), 242),
        ("cub200", "closed-set", (5994, 5994, 5794), 200),
        ("cub200", "metric-learning", (5864, 5924, 5924), 200),
    ],
)
def test_real_counts(shared_data, name, protocol, expected, classes):
    benchmark = datasets.load(name, data=shared_data, protocol=protocol, files_must_exist=name != "cub200")
    assert counts(benchmark) == expected
    assert benchmark.classes == classes
    assert benchmark.positives.min() > 0


@pytest.mark.data
def test_the_folder_itself_may_be_pointed_to(shared_data):
    above = datasets.load("cars196-holdout", data=shared_data)
    within = datasets.load("cars196-holdout", data=shared_data / "cars196")
    assert above.fingerprint == within.fingerprint
    assert above.queries.ids[:2] == ("cars_train/00001.jpg", "cars_train/00004.jpg")


@pytest.mark.data
def test_what_the_data_folder_lacks_is_said(shared_data):
    with raises(DataError, "missing-file", "cars_test_annos_withlabels.mat", "cars_test/00001.jpg"):
        datasets.load("cars196", data=shared_data)
    with raises(DataError, "missing-images", "11,788 of 11,788"):
        datasets.load("cub200", data=shared_data)
