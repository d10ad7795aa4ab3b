"""Objects and Python files as encoders, searchers and retrievers: what they may be, get and return."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_objects import MINE, Backwards, Chance, Grey, grey

import irbench


def test_vectors_of_a_benchmark_made_of_one_split_are_those_that_were_given(digits) -> None:
    one_out = replace(digits, name="one-out", queries=digits.gallery)
    vectors = grey(digits.gallery)
    chance = irbench.evaluate((np.random.default_rng(0).random(vectors.shape), vectors), one_out, progress=False)
    assert chance.metrics["precision@1"].mean < 0.3
    assert irbench.evaluate((vectors, vectors), one_out, progress=False).metrics["precision@1"].mean > 0.9


RETRIEVER = """
class Ret:
    def index(self, images):
        pass

    def search(self, images, k):
        rows = np.tile(np.arange(k), (len(images), 1))
        return irbench.Ranking.from_topk(rows, -rows.astype(float))


"""


KINDS = {
    "retriever": RETRIEVER + "method = Ret()\n",
    "encoder": RETRIEVER + "method = Mine()\n",
    "bad-python-file": 'method = "pixels"\n',
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_object_of_a_file_is_what_it_assigns_to_method(kind, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"import irbench\n{MINE}\n\n{KINDS[kind]}")
    if kind == "bad-python-file":
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.evaluate("./own.py", max_queries=5, progress=False)
        assert raised.value.code == kind
        return
    made = irbench.evaluate("./own.py", max_queries=5, progress=False)
    assert made.search == ("linear" if kind == "encoder" else None)


@pytest.mark.parametrize(
    "described",
    [
        {"backbone": irbench.Backbone(name="n", weights="w", parameters=1.5)},
        {"backbone": "resnet"},
        {"model_bytes": -5},
        {"details": 5},
    ],
    ids=str,
)
def test_a_description_that_no_result_can_hold_is_refused(described, digits) -> None:
    encoder = type("Told", (Grey,), {"describe": lambda self: irbench.Description(**described)})()
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate(encoder, digits, max_queries=5, progress=False)
    assert raised.value.code == "bad-description"


def test_a_module_of_torch_is_a_retriever_that_is_not_trained_and_sees_images(digits) -> None:
    import torch

    class Ret(Chance, torch.nn.Module):
        def index(self, gallery):
            super().index(gallery)
            assert np.asarray(gallery[0]).shape == (8, 8, 3)
            assert len(list(gallery[:3])) == 3

    assert irbench.evaluate(Ret(), digits, max_queries=5, progress=False).method == "Ret"


class Trained:
    """An encoder of one's own with all methods of the protocol."""

    trained = 0

    def train(self, images):
        self.trained = len(images)

    def encode(self, images):
        assert self.trained == 899
        return [np.asarray(images[row])[:, :, 0].ravel() for row in range(len(images))]

    def describe(self):
        return irbench.Description(details={"made": "by hand"})


def test_an_object_that_describes_itself_is_trained_and_checked_as_any_other(digits, monkeypatch) -> None:
    made = irbench.evaluate(Trained(), digits, max_queries=50, progress=False)
    assert made.metrics == irbench.evaluate(Grey(), digits, max_queries=50, progress=False).metrics
    assert made.retriever["made"] == "by hand"
    monkeypatch.setattr(Trained, "encode", lambda self, images: [[1.0], [1.0, 2.0]])
    with pytest.raises(irbench.ContractError) as raised:
        irbench.evaluate(Trained(), digits, progress=False)
    assert raised.value.code == "not-vectors"
    monkeypatch.setattr(Backwards, "describe", lambda self: {}, raising=False)
    with pytest.raises(irbench.ContractError) as raised:
        irbench.evaluate(Grey(), digits, search=Backwards(), progress=False)
    assert raised.value.code == "not-a-description"
    monkeypatch.setattr(Chance, "search", lambda self, queries, k: irbench.Ranking.from_topk([[1]], [[1.0]]))
    with pytest.raises(irbench.ContractError) as raised:
        irbench.evaluate(Chance(), digits, progress=False)
    assert raised.value.code == "wrong-shape"


def test_a_torch_module_is_left_as_it_was() -> None:
    import torch

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2, dtype=torch.float64)
            self.drop = torch.nn.Dropout()

        def forward(self, x):
            return self.drop(self.layer(x))

    encoder = irbench.TorchEncoder(Small(), torch.tensor, batch_size=2)
    images = [[1.0, 2.0, 3.0, 4.0]] * 3
    first, again = encoder.encode(images), encoder.encode(images)
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((3, 2), np.float32)
    assert encoder.module.training
    for wrong in ({"transform": None}, *({"transform": torch.tensor, "batch_size": size} for size in (0, 2.5, "64"))):
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.TorchEncoder(Small(), **wrong)
        assert raised.value.code == "bad-value"


def test_wrong_vectors_are_refused_by_shape_and_kind(digits) -> None:
    good = grey(digits.queries), grey(digits.gallery)
    for bad in (
        (good[0][1:], good[1]),
        (good[0], good[1][:, :9]),
        (good[0].astype(str), good[1]),
        (good[0] * np.nan, good[1]),
    ):
        with pytest.raises(irbench.IrbenchError):
            irbench.evaluate(bad, digits, progress=False)
    assert not list(Path("runs/results").rglob("*.json"))


def test_arrays_are_known_again_and_live_objects_are_not(digits, monkeypatch) -> None:
    vectors = grey(digits.queries), grey(digits.gallery)
    first, mine = (irbench.evaluate(one, digits, progress=False) for one in (vectors, Grey()))
    assert irbench.evaluate(vectors, digits, progress=False).created == first.created
    assert irbench.evaluate(tuple(vectors), digits, progress=False).inputs == first.inputs
    assert irbench.evaluate(Grey(), digits, progress=False).inputs != mine.inputs
