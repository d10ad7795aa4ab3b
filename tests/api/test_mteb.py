"""MTEB both ways: its models as encoders here, and methods from here as models on its tasks, with the same numbers.

The tasks are made of digits, and nothing is fetched.
"""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from raising import raises

import irbench
from irbench.experiments.objects import MtebModel
from irbench.experiments.plan import Request, experiments
from irbench.experiments.settings import Settings
from irbench.report.commands import command_of

RANDOM = "mteb/baseline-random-encoder"  # in MTEB's registry, without weights: a vector by the hash of an image
TEXT = "sentence-transformers/all-MiniLM-L6-v2"
TOKENS = "vidore/colpali-v1.2"


@pytest.fixture
def mteb():
    return pytest.importorskip("mteb")


def column(images: irbench.ImageSet, mteb):
    from datasets import Dataset

    return Dataset.from_dict({"id": list(images.ids), "image": [Image.fromarray(one) for one in images.arrays]})


def task_of(benchmark: irbench.Benchmark, mteb, *, candidates=None, ks=(1, 10), identical=False):
    """A task of MTEB on a benchmark's queries, gallery and labels; its scores include means that are not rounded."""
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Digits(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Digits",
            description="Find digits of the same class.",
            dataset={"path": "digits", "revision": "1"},
            type="Any2AnyRetrieval",
            category="i2i",
            modalities=["image"],
            eval_langs=["eng-Latn"],
            main_score="hit_rate_at_1",
        )
        k_values = ks
        ignore_identical_ids = identical

        def load_data(self, num_proc=None, **kwargs):
            gallery, queries = benchmark.gallery, benchmark.queries
            same = queries.labels[:, None] == gallery.labels
            relevant = {
                id_: {gallery.ids[row]: 1 for row in np.flatnonzero(rows)}
                for id_, rows in zip(queries.ids, same, strict=True)
            }
            split = {"corpus": column(gallery, mteb), "queries": column(queries, mteb)}
            self.dataset = {"default": {"test": split | {"relevant_docs": relevant, "top_ranked": candidates}}}
            self.data_loaded = True

        def task_specific_scores(self, scores, *args, **kwargs):
            means = {name: np.mean([one[name] for one in scores.values()]) for name in ("success_1", "recall_1")}
            return {"hit_rate": float(means["success_1"]), "recall": float(means["recall_1"])}

    return Digits()


def scores_of(model, task, mteb) -> tuple[float, float]:
    """Return hit_rate@1, which is recall@1 in metric learning, and recall@1, the share of what is relevant."""
    done = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    (scores,) = done.task_results[0].scores["test"]
    assert scores["hit_rate_at_1"] == pytest.approx(scores["hit_rate"], abs=5e-6)
    return scores["hit_rate"], scores["recall"]


def measured(result: irbench.Result) -> tuple[float, float]:
    return result.metrics["hit_rate@1"].mean, result.metrics["recall@1"].mean


def exactly(values):
    return pytest.approx(values, rel=0, abs=1e-9)


class Pixels:
    """A model of one's own that keeps MTEB's protocol of encoders; it notes how it was prompted."""

    def __init__(self, model_name, revision, *, device=None, **kwargs):
        self.prompts = set()

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs):
        assert "image" in inputs.dataset.features
        assert "text" not in inputs.dataset.features
        assert task_metadata.get_modalities(prompt_type) == ["image"]
        self.prompts.add(prompt_type.value)
        grey = [[np.asarray(one.convert("RGB"))[:, :, 0].ravel() for one in batch["image"]] for batch in inputs]
        assert all(len(batch) <= 32 for batch in grey)
        return np.concatenate(grey).astype(np.float32)

    def similarity(self, a, b):
        from mteb.similarity_functions import cos_sim

        return cos_sim(a, b)

    similarity_pairwise = similarity


@pytest.fixture
def grey(mteb):
    meta = mteb.get_model_meta(RANDOM).model_copy(
        update={"loader": Pixels, "name": "own/grey", "revision": "7", "modalities": ["image"]}
    )
    return meta.load_model()


@pytest.mark.slow
def test_a_model_scores_here_as_it_does_on_a_task_of_mteb(digits, mteb) -> None:
    here = irbench.evaluate(f"mteb:{RANDOM}+linear", "digits", progress=False)  # in a process of its own
    assert measured(here) == exactly(scores_of(mteb.get_model(RANDOM), task_of(digits, mteb), mteb))
    assert (here.method, here.search) == ("mteb-mteb-baseline-random-encoder", "linear")
    again = f"irbench run --method {here.method}=mteb:{RANDOM} --search linear --dataset digits --seed 0"
    assert command_of(here) == again
    assert here.backbone.name == RANDOM
    assert mteb.get_model_meta(RANDOM).revision in here.backbone.weights


def test_a_loaded_model_scores_here_as_it_does_on_a_task_of_mteb(digits, grey, mteb) -> None:
    here = irbench.evaluate(grey, digits, progress=False)
    assert grey.prompts == {"query", "document"}
    assert here.method == "mteb-own-grey"
    assert (here.backbone.name, "7" in here.backbone.weights) == ("own/grey", True)
    assert 0.9 < here.metrics["hit_rate@1"].mean < 1
    assert measured(here) == exactly(scores_of(grey, task_of(digits, mteb), mteb))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pixels+linear", "irgen"])
def test_a_method_scores_on_a_task_of_mteb_as_it_does_here(method, digits, mteb) -> None:
    options = {} if method == "pixels+linear" else {"scale": "tiny", "epochs": 1}
    here = irbench.evaluate(method, digits, progress=False, **options)
    there = irbench.MtebRetriever(method, digits, top_k=digits.top_k, progress=False, **options)  # as many beams
    assert 0.1 < here.metrics["hit_rate@1"].mean < 1
    assert scores_of(there, task_of(digits, mteb, ks=(1, 1000)), mteb) == exactly(measured(here))


def test_equal_scores_rank_on_a_task_of_mteb_as_they_do_here(digits, mteb) -> None:
    """MTEB alone sorts equal scores by the ids of documents, backwards; here the lower row comes first."""

    class Equal:
        def index(self, gallery):
            self.size = len(gallery)

        def search(self, queries, k):
            rows = np.tile(np.arange(k), (len(queries), 1))
            return irbench.Ranking.from_topk(rows, np.ones(rows.shape))

    here = irbench.evaluate(Equal(), digits, progress=False)
    first = float((digits.queries.labels == digits.gallery.labels[0]).mean())
    there = irbench.MtebRetriever(Equal(), progress=False)
    assert scores_of(there, task_of(digits, mteb), mteb) == exactly(measured(here))
    assert here.metrics["hit_rate@1"].mean == exactly(first)
    assert 0 < first < 1


def test_a_query_in_the_gallery_finds_itself_unless_the_task_ignores_it(digits, mteb) -> None:
    same = replace(digits, name="same", queries=digits.gallery)
    there = irbench.MtebRetriever("pixels+linear", digits, progress=False)
    assert scores_of(there, task_of(same, mteb), mteb)[0] == 1
    here = irbench.evaluate("pixels+linear", same, set={"image_size": 8}, progress=False)
    assert scores_of(there, task_of(same, mteb, identical=True), mteb)[0] == exactly(measured(here)[0])


def test_candidates_are_ranked_alone(digits, mteb) -> None:
    few = replace(digits, name="few", queries=digits.queries.take(np.arange(3)))
    chosen = {id_: list(digits.gallery.ids[5 * row : 5 * row + 5]) for row, id_ in enumerate(few.queries.ids)}
    there = irbench.MtebRetriever("pixels+linear", digits, progress=False)
    there.index(column(few.gallery, mteb))
    found = there.search(column(few.queries, mteb), top_k=4, top_ranked=chosen)
    everything = there.search(column(few.queries, mteb), top_k=len(few.gallery))
    for id_, scores in found.items():
        assert list(scores) == [one for one in everything[id_] if one in chosen[id_]][:4]


def test_what_tells_results_and_scores_of_mteb_apart(digits, mteb, tmp_path, monkeypatch) -> None:
    from mteb.models.model_implementations import MODEL_REGISTRY

    def inputs(model):
        settings = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path)
        (one,) = experiments(Request(methods=(f"mine=mteb:{model}",), datasets=(digits,)), settings)
        return one.inputs

    before = inputs(RANDOM)
    assert before == inputs(RANDOM)
    meta = MODEL_REGISTRY[RANDOM]
    monkeypatch.setitem(MODEL_REGISTRY, "own/random", meta.model_copy(update={"name": "own/random"}))
    monkeypatch.setitem(MODEL_REGISTRY, RANDOM, meta.model_copy(update={"revision": "another"}))
    assert len({before, inputs(RANDOM), inputs("own/random")}) == 3

    asked = ({"seed": 0}, {"seed": 1}, {"set": {"image_size": 16}}, {"top_k": 5})
    metas = [irbench.MtebRetriever("pixels+linear", digits, **one).mteb_model_meta for one in asked]
    assert len({(one.name, one.revision, str(one.experiment_kwargs)) for one in metas}) == len(asked)
    again = irbench.MtebRetriever("pixels+linear", digits).mteb_model_meta
    assert (again.name, again.revision) == (metas[0].name, metas[0].revision)


@pytest.mark.parametrize(
    ("model", "code"),
    [("openai/clip-vit-base-patch23", "unknown-name"), (TEXT, "no-image-vectors"), (TOKENS, "no-image-vectors")],
)
def test_a_name_that_leads_to_no_vectors_of_images_is_refused(model, code, mteb) -> None:
    near = "openai/clip-vit-base-patch32" if code == "unknown-name" else model
    with raises(irbench.UsageError, code, model, near):
        irbench.evaluate(f"mteb:{model}", progress=False)


def test_a_model_whose_dot_products_order_otherwise_is_refused(digits, grey) -> None:
    from mteb.models.model_meta import ScoringFunction

    dot = {"similarity_fn_name": ScoringFunction.DOT_PRODUCT}
    grey.mteb_model_meta = grey.mteb_model_meta.model_copy(update=dot)
    with raises(irbench.NotApplicable, "not-applicable", "own/grey"):
        irbench.evaluate(grey, digits, progress=False)


def test_what_a_task_cannot_be_given_is_refused(digits, mteb) -> None:
    from datasets import Dataset

    with raises(irbench.UsageError, "not-trained", "irgen"):
        irbench.MtebRetriever("irgen", scale="tiny", progress=False).index(column(digits.gallery, mteb))
    with raises(irbench.UsageError, "needs-images", "text"):
        irbench.MtebRetriever("pixels").index(Dataset.from_dict({"id": ["a"], "text": ["b"]}))
    with raises(irbench.UsageError, "unused-option", "protocol"):
        irbench.MtebRetriever("pixels", digits, protocol="closed-set")
    with raises(irbench.ContractError, "not-indexed"):
        irbench.MtebRetriever("pixels").search(column(digits.queries, mteb), top_k=1)


def test_without_mteb_a_model_is_missing_and_the_rest_is_not(digits, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mteb", None)
    MtebModel("a/b").check()
    settings = Settings(data=tmp_path, work=tmp_path / "work", results=tmp_path)
    (one,) = experiments(Request(methods=("mteb:a/b+ivfpq",), datasets=(digits,)), settings)
    assert (one.cell.method, one.cell.search) == ("mteb-a-b", "ivfpq")
    with raises(irbench.MissingLibrary, "missing-library", "irbench-retrieval[mteb]"):
        one.trained()
    with raises(irbench.MissingLibrary, "missing-library", "irbench-retrieval[mteb]"):
        irbench.MtebRetriever("pixels")
