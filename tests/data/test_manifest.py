"""Lists of images that one process stores and others take up: what they hold, and when they are not used."""

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import raises

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.data import datasets, manifest, sources
from irbench.data import pixels as module
from irbench.data.pixels import View, pixels
from irbench.experiments import images as experiment_images
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings

ODD = os.fsdecode(b"odd \xff name")  # a name that is no UTF-8


@pytest.fixture
def photos(tmp_path) -> Path:
    """Return a folder of three classes, with names that are hard to store."""
    for label, name in enumerate(("plain", "with\nline", ODD)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (20, 20), (40 * number, 80 * label, 7)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def same(one: Benchmark, other: Benchmark) -> None:
    for part in fields(Benchmark):
        mine, theirs = getattr(one, part.name), getattr(other, part.name)
        if not isinstance(mine, ImageSet):
            assert mine == theirs
            assert type(mine) is type(theirs)
            continue
        for column in fields(ImageSet):
            mine_, theirs_ = getattr(mine, column.name), getattr(theirs, column.name)
            assert type(mine_) is type(theirs_)
            if isinstance(mine_, np.ndarray):
                assert mine_.dtype == theirs_.dtype
                assert np.array_equal(mine_, theirs_)
            else:
                assert mine_ == theirs_


@pytest.mark.parametrize("incremental", [False, True])
def test_what_is_taken_up_is_what_was_loaded(photos, runtime, incremental):
    loaded = datasets.load(photos, incremental=incremental, max_queries=2)
    loaded = replace(loaded, remarks=("a remark",), queries=replace(loaded.queries, boxes=np.ones((2, 4), np.int32)))
    digest = manifest.save(loaded, runtime.store)
    assert digest == manifest.save(loaded, runtime.store)
    same(manifest.load(digest, runtime.store), loaded)
    assert digest != manifest.save(replace(loaded, ks=(1,)), runtime.store)
    assert digest != manifest.save(replace(loaded, train=loaded.train.take(slice(1, None))), runtime.store)


def test_images_in_memory_and_ids_that_are_no_paths_are_not_listed(photos, images):
    benchmark = datasets.load(photos)
    assert manifest.can_be_stored(benchmark)
    assert not manifest.can_be_stored(datasets.load("digits"))
    odd = replace(benchmark.queries, ids=("a\0b", *benchmark.queries.ids[1:]))
    assert not manifest.can_be_stored(replace(benchmark, queries=odd))


def test_another_process_neither_loads_a_data_set_nor_asks_for_its_files(photos, tmp_path, monkeypatch):
    places = {name: tmp_path / name for name in ("data", "work", "results")}
    request = Request(methods=("pixels",), datasets=(str(photos),))
    (here,) = experiments(request, Settings(**places))
    here.check()
    sent = here.sent()
    assert sent.listed
    monkeypatch.setattr(datasets, "load", None)
    monkeypatch.setattr(sources.Source, "state", None)
    monkeypatch.setattr(experiment_images, "_load", None)
    same(sent.benchmark, here.benchmark)
    assert sent.inputs == here.inputs
    monkeypatch.undo()
    for entry in (tmp_path / "work" / "manifests").glob("*/benchmark.json"):
        entry.write_text("{}")
    again = here.sent()
    assert again.benchmark.fingerprint == here.benchmark.fingerprint  # loaded, since the list is damaged


def test_a_file_that_is_replaced_meanwhile_is_not_decoded_for_the_one_that_was_there(photos, runtime, monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 1)
    benchmark = datasets.load(photos)
    first = benchmark.gallery.ids[0]
    Image.new("RGB", (20, 20), "red").save(benchmark.gallery.root / first)
    with raises(sources.DataError, "changed-image", Path(first).name):
        pixels(benchmark.gallery, View(8), runtime)
    again = datasets.load(photos)
    assert (pixels(again.gallery, View(8), runtime)[:][0] == [255, 0, 0]).all()
