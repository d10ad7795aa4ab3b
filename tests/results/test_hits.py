"""What is kept of a ranking says the same as the ranking, bit by bit; what does not belong to a result is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from raising import raises

from irbench.core.benchmark import Benchmark, ImageSet
from irbench.core.errors import StoreError
from irbench.core.ranking import Ranking
from irbench.metrics import retrieval
from irbench.metrics.retrieval import Judged
from irbench.results import hits

CASES = st.tuples(st.integers(0, 9), st.integers(0, 19)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(np.int64, shape[:1], elements=st.integers(1, 10**6)))
)


@settings(max_examples=40, deadline=None)
@given(whole=CASES, part=CASES)
def test_what_is_kept_is_read_back(tmp_path_factory, whole, part):
    folder = tmp_path_factory.mktemp("hits")
    written = {"": Judged(*whole), "new": Judged(*part)}
    stored = hits.save(written, folder, seed=3)
    assert [path.name for path in folder.iterdir()] == [stored.file]
    read = hits.load(stored, folder)
    assert read.keys() == written.keys()
    for name, judged in written.items():
        assert (read[name].hits == judged.hits).all()
        assert read[name].hits.shape == judged.hits.shape
        assert (read[name].positives == judged.positives).all()


def a_benchmark(fresh: int = 0) -> Benchmark:
    def images(name: str, labels: list[int]) -> ImageSet:
        return ImageSet(name=name, ids=tuple(f"{name}{i}" for i in range(len(labels))), labels=np.array(labels))

    train, gallery = images("train", [0, 1]), images("gallery", [0, 1, 0, 1, 2, 0])
    queries = images("query", [0, 1, 3, 2])
    return Benchmark(
        name="toy",
        protocol="closed-set",
        crop="none",
        train=train,
        gallery=gallery,
        queries=queries,
        ks=(1, 2),
        top_k=6,
        incremental=fresh,
    )


@pytest.mark.parametrize("fresh", [0, 3])
def test_every_metric_follows_from_what_is_kept(tmp_path, fresh):
    benchmark = a_benchmark(fresh)
    rng = np.random.default_rng(0)
    scores = rng.random((4, 6))
    ranking = Ranking.from_topk(np.where(rng.random((4, 6)) < 0.2, -1, np.tile(np.arange(6), (4, 1))), scores)
    kept = hits.load(hits.save(retrieval.judgements(ranking, benchmark), tmp_path, seed=0), tmp_path)
    names = retrieval.names(benchmark)
    assert any("new" in name for name in names) == bool(fresh)
    scored = retrieval.score(ranking, benchmark, names).values
    assert scored.keys() == set(names)
    for name, values in scored.items():
        assert retrieval.per_query(kept, name) == pytest.approx(values, abs=0), name


def test_damaged_missing_or_anothers_hits_are_refused(tmp_path):
    stored = hits.save({"": Judged(np.eye(4, 7, dtype=bool), np.ones(4, np.int64))}, tmp_path, seed=0)
    path = tmp_path / stored.file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with raises(StoreError, "wrong-hash", path):
        hits.load(stored, tmp_path)
    path.unlink()
    with raises(StoreError, "unreadable-file", path):
        hits.load(stored, tmp_path)
    path.write_bytes(b"{}")
    with raises(StoreError, "damaged-file", path):
        hits.load(replace(stored, sha256="44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"), tmp_path)
