"""A gallery that grows and shrinks, against one that was indexed at once; orders of results against a plain sort."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from raising import raises

from irbench.core.benchmark import ImageSet
from irbench.core.description import Description
from irbench.core.errors import ContractError
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import MISSING, Ranking
from irbench.data.pixels import View, pixels
from irbench.networks.backbones import Featurizer, center_crop
from irbench.protocols import Generative, SupportsUpdates
from irbench.retrievers.irgen.gallery import by_similarity
from irbench.retrievers.irgen.retriever import LEAST_BEAMS, Config, IrgenRetriever
from irbench.runtime import batches
from irbench.runtime.cache import Store
from irbench.runtime.machine import Runtime

LENGTH, CODES = 2, 4  # 16 identifiers for 40 images: some are shared, some are nobody's
CONFIG = Config(
    backbone="test_resnet",
    image_size=32,
    resize_size=32,
    epochs=2,
    batch=8,
    lr=1e-2,
    backbone_lr=1.0,
    num_layers=1,
    width=16,
    num_heads=2,
    beam_size=5,
    search_batch=7,
)


class ByNumber:
    """An identifier that needs no training: an image's codes are drawn from its number."""

    def encode(self, images: ImageSet) -> Identifiers:
        numbers = [int(id_.removesuffix(".png")) for id_ in images.ids]
        return Identifiers(np.array([np.random.default_rng(n).integers(0, CODES, LENGTH) for n in numbers]), CODES)

    def describe(self) -> Description:
        return Description()


class Components:
    def identifier(self) -> ByNumber:
        return ByNumber()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """A work folder for the whole file: the training happens once."""
    return Runtime(store=Store(tmp_path_factory.mktemp("work")))


@pytest.fixture
def make(images: ImageSet, runtime: Runtime) -> Any:
    """Build retrievers that are trained alike on the first 30 images, and search as `changes` of the recipe say."""

    def made(**changes: Any) -> IrgenRetriever:
        retriever = IrgenRetriever(replace(CONFIG, **changes), runtime, Components())  # type: ignore[arg-type]
        retriever.train(images.take(slice(30)))
        return retriever

    return made


def same(a: Ranking, b: Ranking) -> bool:
    return np.array_equal(a.rows, b.rows) and np.allclose(a.scores, b.scores, atol=1e-5)


ORDERS = [{}, {"within": "similarity"}, {"rerank": 8}, {"within": "similarity", "rerank": 4}]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_adding_equals_having_indexed_all_at_once(make: Any, images: ImageSet, order: dict[str, Any]) -> None:
    grown, whole = make(**order), make(**order)
    grown.index(images.take(slice(15)))
    for part in (slice(15, 30), slice(30, 40)):
        grown.add(images.take(part))
    whole.index(images)
    assert same(grown.search(images, 20), whole.search(images, 20))
    assert np.array_equal(grown.identifiers().codes, whole.identifiers().codes)
    assert grown.describe() == whole.describe()
    assert isinstance(grown, SupportsUpdates)
    assert isinstance(grown, Generative)


@pytest.mark.parametrize("decode", ["beam", "exact"])
def test_queries_for_which_memory_does_not_suffice_are_answered_in_smaller_batches(
    make: Any, images: ImageSet, monkeypatch: pytest.MonkeyPatch, decode: str
) -> None:
    retriever = make(decode=decode)
    retriever.index(images)
    expected, generated = retriever.search(images, 10), retriever.generate(images)
    tokens = IrgenRetriever._tokens

    def limited(self: IrgenRetriever, images_uint8: torch.Tensor) -> torch.Tensor:
        if len(images_uint8) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tokens(self, images_uint8)

    batches.start_anew()
    monkeypatch.setattr(IrgenRetriever, "_tokens", limited)
    assert same(retriever.search(images, 10), expected)
    assert np.array_equal(retriever.generate(images), generated)
    assert batches.halved() == {"search": 3}
    batches.start_anew()


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_removing_equals_never_having_had_them(make: Any, images: ImageSet, order: dict[str, Any]) -> None:
    gone = np.r_[0, 3:9, 20, 38:40]
    shrunk, without = make(**order), make(**order)
    shrunk.index(images.take(slice(35)))
    shrunk.remove(gone[gone < 35])
    shrunk.add(images.take(slice(35, 40)))
    shrunk.remove(gone[gone >= 35])
    left = np.setdiff1d(np.arange(40), gone)
    without.index(images.take(left))
    expected = without.search(images, 20)
    rows = np.where(expected.rows == MISSING, MISSING, left[expected.rows])
    assert same(shrunk.search(images, 20), Ranking(rows, expected.scores))
    codes = shrunk.identifiers().codes
    images_each = np.unique(codes[left], axis=0, return_counts=True)[1]
    assert shrunk.describe().details["images_per_identifier_max"] == images_each.max()
    assert len(codes) == 40


def test_what_is_not_there_cannot_be_removed(make: Any, images: ImageSet) -> None:
    retriever = make()
    with raises(ContractError, "not-indexed"):
        retriever.add(images)
    retriever.index(images.take(slice(3)))
    retriever.remove(np.array([1]))
    for rows, named in (([1], "row 1"), ([7], "row 7"), ([-1], "row -1")):
        with raises(ContractError, "no-such-row", named):
            retriever.remove(np.array(rows))
    with raises(ContractError, "empty-gallery"):
        retriever.remove(np.array([0, 2]))
    assert set(retriever.search(images, 3).rows.ravel()) == {0, 2, MISSING}


def features(retriever: IrgenRetriever, images: ImageSet) -> np.ndarray:
    """Of the decoder's own network, one image at a time."""
    pictures = pixels(images, View(32, "center-crop"), retriever.runtime)
    module = Featurizer(retriever._trained.backbone)
    with torch.inference_mode():
        return np.concatenate(
            [module(center_crop(torch.from_numpy(pictures[[row]]), 32)) for row in range(len(images))]
        )


@pytest.mark.parametrize("order", ORDERS[1:], ids=str)
def test_results_are_in_the_order_of_a_plain_sort(make: Any, images: ImageSet, order: dict[str, Any]) -> None:
    plain, ordered = make(), make(**order)
    for retriever in (plain, ordered):
        retriever.index(images)
    found, answered = plain.search(images, 40), ordered.search(images, 12)
    vectors = features(plain, images).astype(np.float64)
    changed = 0
    for query in range(len(images)):
        distance = ((vectors - vectors[query]) ** 2).sum(axis=1)
        answers = [(s, r) for s, r in zip(found.scores[query], found.rows[query], strict=True) if r != MISSING]
        if "within" in order:
            answers.sort(key=lambda answer: (-answer[0], distance[answer[1]]))
        best = sorted(answers[: order.get("rerank", 0)], key=lambda answer: distance[answer[1]])
        expected = [row for _, row in best + answers[len(best) :]][:12]
        assert answered.rows[query][: len(expected)].tolist() == expected
        assert (answered.rows[query][len(expected) :] == MISSING).all()
        changed += expected != found.rows[query][: len(expected)].tolist()
    assert changed > 20  # else this would show nothing


def test_more_candidates_are_gathered_than_are_returned(make: Any, images: ImageSet) -> None:
    retriever = make(rerank=30)
    retriever.index(images)
    assert np.array_equal(retriever.search(images, 3).rows, retriever.search(images, 30).rows[:, :3])


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(0, 10), st.booleans())
def test_by_similarity_against_a_plain_sort(seed: int, depth: int, rerank: int, within: bool) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(0, depth + 1)
    rows = np.full((1, depth), MISSING)
    rows[0, :count] = rng.permutation(20)[:count]
    found = Ranking.from_topk(rows, rng.integers(-3, 0, (1, depth)).astype(np.float32))
    distances = np.where(found.rows == MISSING, np.inf, rng.integers(0, 3, (1, depth))).astype(np.float32)
    answers = list(zip(-found.scores[0], distances[0], found.rows[0], strict=True))[:count]
    if within:
        answers.sort()
    answers = sorted(answers[:rerank], key=lambda a: a[1:]) + answers[rerank:]
    made = by_similarity(found, distances, within=within, rerank=rerank)
    assert made.rows[0].tolist() == [row for _, _, row in answers] + [MISSING] * (depth - count)
    assert made.scores[0].tolist() == [-place for place in range(count)] + [-np.inf] * (depth - count)


def test_an_added_image_gets_an_identifier_that_the_decoder_knows(make: Any, images: ImageSet) -> None:
    old, new = images.take(slice(30)), images.take(slice(30, 40))
    nearest, write, plain = make(unseen="nearest"), make(unseen="generate"), make(beam_size=1)
    for retriever in (nearest, write, plain):
        retriever.index(old)
    written = plain.search(new, 1).rows[:, 0]
    codes = plain.identifiers().codes
    vectors = features(plain, images).astype(np.float64)
    like = ((vectors[30:, None] - vectors[None, :30]) ** 2).sum(-1).argmin(1)
    for retriever, rows in ((write, written), (nearest, like)):
        retriever.add(new)
        assert np.array_equal(retriever.identifiers().codes[30:], codes[rows])
    assert (written != like).any()


def test_without_a_trie_the_best_sequences_are_those_of_the_whole_table(make: Any, images: ImageSet) -> None:
    retriever = make(beam_size=CODES**LENGTH)
    retriever.index(images)
    generated = retriever.generate(images)
    assert generated.shape == (40, CODES**LENGTH, LENGTH)
    every = torch.cartesian_prod(*[torch.arange(CODES)] * LENGTH)
    pictures = pixels(images, View(32, "center-crop"), retriever.runtime)
    for query in range(40):
        with torch.inference_mode():
            tokens = retriever._trained.backbone(center_crop(torch.from_numpy(pictures[[query]]), 32))
            logp = retriever._trained.decoder(tokens.expand(len(every), -1, -1), every).log_softmax(-1)
        score = logp.gather(-1, every[..., None]).sum((1, 2))
        expected = score.sort(descending=True).values
        got = score[generated[query] @ [CODES, 1]]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        assert len(np.unique(generated[query], axis=0)) == CODES**LENGTH
    few = make(beam_size=3)
    few.index(images)
    assert few.generate(images).shape == (40, 3, LENGTH)


@pytest.mark.parametrize("changes", [{}, {"rerank": 36}, {"within": "similarity"}, {"decode": "exact"}], ids=str)
def test_a_ranking_is_as_deep_as_it_is_asked_for_unless_the_recipe_has_fewer_beams(make, images, changes) -> None:
    full, few = make(**{"beam_size": None} | changes), make(**{"beam_size": 2} | changes)
    for retriever in (full, few):
        retriever.index(images)
    assert (full.search(images, 33).rows != MISSING).all()
    assert full.describe().details["beam_size"] >= 33
    assert (full.search(images, 5).rows != MISSING).all()
    assert full.describe().details["beam_size"] >= LEAST_BEAMS  # a short ranking is searched for no less
    leaves = len(np.unique(few.identifiers().codes, axis=0))
    assert leaves > 2
    assert (few.search(images, 40).rows == MISSING).any()


def mislead(retriever: IrgenRetriever, seed: int) -> None:
    """Make a decoder whose second code is surer than its first: what a beam is misled by."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        retriever._trained.decoder.head.weight.normal_(std=0.3, generator=random)
        retriever._trained.decoder.code_embedding.weight.normal_(std=2.0, generator=random)


def test_exact_decoding_finds_the_best_of_all_and_reports_what_beams_miss(make: Any, images: ImageSet) -> None:
    everything, exact, beam = make(beam_size=CODES**LENGTH), make(beam_size=1, decode="exact"), make(beam_size=1)
    for seed in (0, 6):  # by the second of these most beams are misled
        for retriever in (everything, exact, beam):
            mislead(retriever, seed)
            retriever.index(images)
        best, found, by_beam = (retriever.search(images, 40) for retriever in (everything, exact, beam))
        for query in range(40):
            answers = (found.rows[query] != MISSING).sum()
            assert found.rows[query][:answers].tolist() == best.rows[query][:answers].tolist()
            assert len(np.unique(exact.identifiers().codes[found.rows[query][:answers]], axis=0)) == 1
        missed = (found.rows[:, 0] != by_beam.rows[:, 0]).mean()
        told = exact.describe().details["beam_misses"]
        assert told["queries"] == pytest.approx(missed, abs=0.1)  # there, scores that hardly differ are no miss
    assert "beam_misses" not in beam.describe().details
