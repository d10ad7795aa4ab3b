"""SPANN where it searches everything, and its engine: files, noise, and a crash."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import needs_spann
from raising import raises

from irbench.config import recipes
from irbench.core.embeddings import Embeddings
from irbench.core.errors import IrbenchError, MissingLibrary
from irbench.retrievers.searchers import _sptag
from irbench.retrievers.searchers.spann import Config, SpannSearcher
from irbench.runtime.machine import Runtime
from irbench.testing import toys


def make(runtime: Runtime, **changes: Any) -> Any:
    config = recipes.find("methods/search", "spann").config(Config, scale="tiny", dataset="none", **changes)
    return SpannSearcher(config, runtime)


@needs_spann
def test_reading_every_list_equals_exact_search(runtime: Runtime) -> None:
    gallery, queries = toys.vectors(2000, seed=1), toys.vectors(60, seed=2)
    searcher = make(runtime, search_heads=2000, max_check=100_000, posting_vectors=2000)
    searcher.build(Embeddings(gallery))
    found = searcher.search(Embeddings(queries), 50)
    assert "heads" in searcher.describe().details
    assert np.array_equal(found.rows, toys.nearest(queries, gallery, 50))
    distances = np.take_along_axis(toys.squared_distances(queries, gallery), found.rows, 1)
    np.testing.assert_allclose(-found.scores, distances, rtol=1e-4)


@needs_spann
def test_a_gallery_with_few_distinct_vectors_is_scanned(runtime: Runtime) -> None:
    searcher = make(runtime)
    searcher.build(Embeddings(np.full((400, 8), 0.1, np.float32)))
    assert searcher.search(Embeddings(np.zeros((2, 8), np.float32)), 3).rows.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_an_engine_that_does_not_load_is_named_with_its_system_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libSPTAGLib.so").write_text("not a library")
    spec = spec_from_file_location("sptag", tmp_path / "__init__.py")
    monkeypatch.setattr(_sptag, "find_spec", lambda _: spec)
    monkeypatch.setattr(_sptag, "processor_flags", lambda: _sptag._INSTRUCTIONS)
    with raises(MissingLibrary, "missing-library", "libnuma1"):
        _sptag.library.__wrapped__()


def test_a_processor_without_the_instructions_of_the_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sptag, "find_spec", lambda _: spec_from_file_location("sptag", "__init__.py"))
    monkeypatch.setattr(_sptag, "processor_flags", lambda: _sptag._INSTRUCTIONS - {"avx512vl"})
    with raises(MissingLibrary, "missing-library", "avx512vl"):
        _sptag.library.__wrapped__()
    monkeypatch.setattr(_sptag, "processor_flags", frozenset)  # a system that does not tell
    assert _sptag.lacking_instructions() == []


@needs_spann
def test_spann_removes_its_folder(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    searcher = make(runtime)
    searcher.build(Embeddings(toys.vectors(400, seed=1)))
    searcher.build(Embeddings(toys.vectors(500, seed=1)))
    (folder,) = tmp_path.glob("irbench-spann-*")
    assert sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file()) == (
        searcher.describe().index_bytes
    )
    del searcher
    gc.collect()
    assert not folder.exists()


@needs_spann
def test_spann_answers_every_thread_that_asks(runtime: Runtime) -> None:
    searcher, queries = make(runtime), Embeddings(toys.vectors(5, seed=2))
    searcher.build(Embeddings(toys.vectors(400, seed=1)))
    expected = searcher.search(queries, 5).rows
    for _ in range(2):  # threads that end and others that come
        with ThreadPoolExecutor(8) as threads:
            found = [threads.submit(searcher.search, queries, 5) for _ in range(16)]
            for one in found:
                np.testing.assert_array_equal(one.result(timeout=20).rows, expected)


@needs_spann
def test_as_many_threads_share_a_batch_as_the_runtime_has(runtime: Runtime) -> None:
    for threads in (1, 2):
        searcher = make(replace(runtime, threads=threads))
        searcher.build(Embeddings(toys.vectors(400, seed=1)))
        searcher.search(Embeddings(toys.vectors(5, seed=2)), 5)
        limit = _sptag._searching_thread().submit(_sptag._openmp().omp_get_max_threads).result()
        assert limit == min(threads, os.cpu_count())


@needs_spann
def test_spann_keeps_quiet(runtime: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    searcher = make(runtime)
    searcher.build(Embeddings(toys.vectors(400, seed=1)))
    searcher.search(Embeddings(toys.vectors(5, seed=2)), 5)
    assert capfd.readouterr().out == ""


@needs_spann
def test_spann_reports_an_engine_that_dies(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irbench.retrievers.searchers.spann._FEWEST", 1)  # ten vectors crash the engine
    with raises(IrbenchError, "engine-failed", 10, 8):
        make(runtime).build(Embeddings(np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)))
