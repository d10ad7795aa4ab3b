"""Advice: what is named keeps to the limits, what is not does not, and the best stands first."""

import json
from pathlib import Path
from statistics import mean, median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raising import raises
from typer.testing import CliRunner

from irbench.cli.main import app
from irbench.core.errors import UsageError
from irbench.report.advice import Limits, advise
from irbench.report.table import name_of
from irbench.results.files import read_all
from irbench.results.hits import Reader
from irbench.results.schema import Result

STORED = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def digits() -> list[Result]:
    return [one for one in read_all(STORED)[0] if name_of(one.dataset) == "digits"]


@settings(max_examples=8, deadline=None)
@given(
    st.none() | st.floats(0.5, 40, allow_nan=False),
    st.none() | st.integers(100_000, 5_000_000),
    st.sampled_from([1, 10, 30]),
)
def test_limits_part_what_is_stored(digits: list[Result], latency: float | None, memory: int | None, k: int) -> None:
    advice = advise(digits, Limits(k=k, latency_ms=latency, memory_bytes=memory), Reader(STORED))
    cells = [choice.cell for choice in (*advice.within, *advice.beyond)]
    assert len(cells) == len(set(cells))
    here = [one for one in digits if one.environment.get("cpu") == advice.machine]  # times of others do not compare
    assert set(cells) == {one.cell for one in here if not one.shortened and one.status == "ok"}
    assert len(cells) > 20
    for place, choice in enumerate(advice.within):
        assert not choice.beyond
        assert choice.as_good == (not place or (choice.quality.p is not None and choice.quality.p >= 0.05))
        assert latency is None or choice.p95_ms <= latency
        assert memory is None or choice.memory_bytes <= memory
    for choice in advice.beyond:
        assert choice.beyond
        assert not choice.as_good
        slow = latency is not None and (choice.p95_ms is None or choice.p95_ms > latency)
        large = memory is not None and (choice.memory_bytes is None or choice.memory_bytes > memory)
        assert slow or large
    for choices in (advice.within, advice.beyond):
        values = [choice.quality.value for choice in choices]
        assert values == sorted(values, reverse=True)


def test_numbers_are_those_of_the_results(digits: list[Result]) -> None:
    advice = advise(digits, Limits(), Reader(STORED))
    assert (advice.metric, advice.beyond) == ("precision@10", ())
    (pixels,) = [choice for choice in advice.within if choice.cell == "pixels+linear"]
    results = [one for one in digits if one.cell == pixels.cell]
    assert pixels.seeds == len(results) == 3
    assert pixels.quality.value == pytest.approx(100 * mean(one.metrics["precision@10"].mean for one in results))
    assert pixels.memory_bytes == mean(one.cost.index_bytes + (one.cost.model_bytes or 0) for one in results)
    assert pixels.p95_ms == median(one.cost.query_ms.total_p95 for one in results)


def test_results_that_do_not_compare_get_no_advice(digits: list[Result]) -> None:
    every = [one for one in read_all(STORED)[0] if one.dataset.name == "digits"]
    with raises(UsageError, "several-tasks"):
        advise(every, Limits(), Reader(STORED))  # half of a gallery is added later in some
    with raises(UsageError, "no-results"):
        advise([], Limits(), Reader(STORED))
    with raises(UsageError, "bad-value", "--precision-at 7"):
        advise(digits, Limits(k=7), Reader(STORED))


@pytest.mark.parametrize(
    ("words", "code"),
    [("--latency 20", "bad-value"), ("--memory 2TB", "bad-value"), ("--latency 0ms", "bad-value")],
)
def test_limits_have_units(words: str, code: str) -> None:
    done = CliRunner().invoke(app, ["advise", "-d", "digits", "--results", str(STORED), *words.split()])
    assert getattr(done.exception, "code", None) == code


def test_the_command_prints_a_document_or_lines() -> None:
    asked = ["advise", "-d", "digits", "--results", str(STORED), "--latency", "2ms", "--memory", "2MB"]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["limits"] == {"k": None, "latency_ms": 2.0, "memory_bytes": 2_000_000}
    printed = CliRunner().invoke(app, asked).stdout
    assert all(choice["cell"] in printed for choice in found["within"])
