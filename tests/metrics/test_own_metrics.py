"""Metrics that a user adds: found in their folder, refused where they are not what they claim, gone with the folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from irbench.core.errors import ContractError, RecipeError
from irbench.metrics import own
from irbench.metrics.retrieval import METRICS, Judged, per_query

HALF = """
from irbench.metrics.retrieval import Metric

METRIC: Metric = Metric("half", "Half", "half of Σh/K", lambda judged, k: judged.hits_in(k) / k / 2)
"""
JUDGED = {"": Judged(np.array([[True, False], [True, True]]), np.array([1, 2]))}


@pytest.fixture(autouse=True)
def built_in() -> Iterator[dict]:
    before = dict(METRICS)
    yield before
    own.load([])
    assert before == METRICS


@pytest.fixture
def write(tmp_path: Path):
    """Write a file into the folder of metrics."""

    def written(name: str, text: str) -> None:
        (tmp_path / "metrics").mkdir(exist_ok=True)
        (tmp_path / "metrics" / name).write_text(text)

    return written


def test_a_metric_is_known_while_its_folder_is(tmp_path: Path, write, built_in: dict) -> None:
    write("half.py", HALF)
    write("others.py", "raise AssertionError('imported, though it has no METRIC')\n")
    write("broken.py", "print 'of another Python'\n")
    for _ in range(2):
        own.load([tmp_path])
        assert METRICS.keys() - built_in.keys() == {"half"}
        assert per_query(JUDGED, "half@2").tolist() == [0.25, 0.5]
    own.load([])
    assert built_in == METRICS


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("METRIC = 3\n", "bad-metric"),
        ('from irbench import Metric\nMETRIC = Metric("b/c", "", "", len)\n', "bad-metric"),
        ('from irbench import Metric\nMETRIC = Metric("", "", "", len)\n', "bad-metric"),
        ('from irbench import Metric\nMETRIC = Metric(5, "", "", len)\n', "bad-metric"),
        ('from irbench import Metric\nMETRIC = Metric("cost", "", "", len)\n', "bad-metric"),
        ('from irbench import Metric\nMETRIC = Metric("good", "", "", 3)\n', "bad-metric"),
        ('from irbench import Metric\nMETRIC = Metric("good", "", "", len, part="mid")\n', "bad-metric"),
        ("METRIC = nothing\n", "bad-python-file"),
        ("METRIC = (\n", "bad-python-file"),
        ("METRIC = exit(3)\n", "bad-python-file"),
        (HALF.replace('"half"', '"precision"'), "name-taken"),
    ],
)
def test_what_is_no_new_metric_is_refused(tmp_path: Path, write, built_in: dict, text: str, code: str) -> None:
    write("mine.py", text)
    with pytest.raises(RecipeError) as error:
        own.load([tmp_path])
    assert error.value.code == code
    assert built_in == METRICS


@pytest.mark.parametrize("values", ["1.0", "judged.hits", "judged.positives * float('nan')"])
def test_a_metric_gives_a_number_for_each_query(tmp_path: Path, write, values: str) -> None:
    write("half.py", HALF.replace("judged.hits_in(k) / k / 2", values))
    own.load([tmp_path])
    with pytest.raises(ContractError):
        per_query(JUDGED, "half@2")
