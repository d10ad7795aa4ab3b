"""Arguments of the Python functions that cannot be what they are: an error with a code, before anything runs."""

import numpy as np
import pytest
from own_objects import Grey

import irbench

WRONG = {
    "not-vectors": {"method": type("Flat", (), {"encode": lambda self, images: np.zeros(len(images))})()},
    "not-a-method": {"method": object()},
    "not-a-searcher": {"method": Grey(), "search": Grey()},
    "name-taken": {"method": Grey(), "name": "irgen"},
    "unknown-key": {"method": Grey(), "set": {"nprobe": 3}},
    "no-such-file": {"method": "./absent.py"},
    "unknown-option": {"method": Grey(), "max_querys": 3},
    "bad-file-name": {"method": Grey(), "name": "a+b"},
    "bad-override": {"method": "pixels", "set": "image_size=4"},
    "unused-option": {"method": "pixels", "name": "mine"},
}


BAD_VALUES = (
    {"seed": -1}, {"seed": True}, {"seed": 1.5}, {"epochs": "1"}, {"epochs": -3}, {"max_queries": 2.5},
    {"max_queries": True}, {"results": None}, {"data": 3}, {"incremental": "no"}, {"progress": "no"}, {"scale": 1},
)  # fmt: skip


@pytest.mark.parametrize("code", WRONG)
def test_what_cannot_be_evaluated_is_an_error_with_a_code(code, digits) -> None:
    with pytest.raises(irbench.IrbenchError) as raised:
        irbench.evaluate(dataset=digits, progress=False, **WRONG[code])
    assert raised.value.code == code


@pytest.mark.parametrize("wrong", BAD_VALUES, ids=str)
def test_an_argument_of_the_wrong_type_is_refused(wrong) -> None:
    with pytest.raises(irbench.UsageError) as raised:
        irbench.evaluate("pixels", **wrong)
    assert raised.value.code == "bad-value"
    with pytest.raises(irbench.UsageError) as raised:
        irbench.run("pixels", seeds=3)
    assert raised.value.code == "bad-value"


def test_a_numpy_integer_is_a_whole_number(digits) -> None:
    made = irbench.evaluate(Grey(), digits, seed=np.int64(3), max_queries=np.int32(40), progress=False)
    assert (made.seed, made.shortened) == (3, {"max_queries": 40})


def test_nothing_is_not_taken_for_everything() -> None:
    for nothing in ({"methods": []}, {"datasets": []}, {"seeds": ()}, {"search": []}):
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.run(**({"methods": ["pixels"]} | nothing))
        assert raised.value.code == "nothing-to-run"
    for wrong in (None, Grey):
        with pytest.raises(irbench.IrbenchError) as raised:
            irbench.evaluate(wrong)
        assert raised.value.code == "not-a-method"


@pytest.mark.parametrize(
    "call",
    [
        lambda benchmark, ranking: irbench.score(ranking, benchmark, None),
        lambda benchmark, ranking: irbench.score(ranking, benchmark, [5]),
        lambda benchmark, ranking: irbench.score(ranking, "digits", "precision@1"),
        lambda benchmark, ranking: irbench.load_results(5),
        lambda benchmark, ranking: irbench.load_dataset(benchmark),
        lambda benchmark, ranking: irbench.load_dataset("digits", data=None),
        lambda benchmark, ranking: irbench.load_results(".").table(width=0),
        lambda benchmark, ranking: irbench.load_results(".").table("precison"),
    ],
)
def test_a_wrong_argument_is_an_error_with_a_code(call, digits) -> None:
    ranking = irbench.Ranking.from_topk(np.zeros((898, 1), int), np.zeros((898, 1)))
    with pytest.raises(irbench.UsageError):
        call(digits, ranking)
