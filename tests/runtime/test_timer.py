"""The harness's timer: stages, charges, live measurements, and a device that works on after a call returns."""

import time

import pytest

from irbench.runtime.conditions import Work
from irbench.runtime.timer import Timer, caches_bypassed, charge, off_the_clock, span, subspan


def test_outside_a_measurement_nothing_is_counted() -> None:
    with span("encode"):
        charge("train", [Work(5.0)], "model")
    assert not caches_bypassed()


def test_stages_add_up_within_the_total() -> None:
    with Timer(bypass_cache=True).run() as timer:
        assert caches_bypassed()
        for _ in range(3):
            with span("encode"):
                time.sleep(0.01)
        with span("search"):
            time.sleep(0.02)
    assert not caches_bypassed()
    assert 0.03 <= timer.seconds["encode"] < timer.seconds["total"]
    assert timer.seconds["encode"] + timer.seconds["search"] <= timer.seconds["total"] == timer.cost


def test_remembered_work_is_charged_once_and_work_just_done_never() -> None:
    with Timer(bypass_cache=False).run() as timer:
        charge("train", [Work(7.0)], "a model of yesterday")
        charge("train", [Work(7.0)], "a model of yesterday")
        charge("train", [], "a model made just now")
        charge("train", [Work(3.0)], "a model made just now")
    assert timer.seconds["train"] == 7.0
    assert 7.0 < timer.cost < 7.1


def test_remembered_work_counts_in_the_stages_under_way_as_if_it_had_just_been_done() -> None:
    with Timer(bypass_cache=False).run() as timer, span("encode"):
        charge("decode", [Work(4.0)], "pixels of yesterday")
    assert timer.seconds["decode"] == 4.0
    assert 4.0 <= timer.seconds["encode"] < 4.1
    assert 4.0 <= timer.cost < 4.1


def test_a_stage_ends_when_the_device_has_done_its_work() -> None:
    pending: list[float] = []

    def wait() -> None:
        while pending:
            time.sleep(pending.pop())

    with Timer(bypass_cache=True, synchronize=wait).run() as timer, span("search"):
        pending.append(0.03)  # the call returns at once, the work goes on
    assert timer.seconds["search"] >= 0.03


def test_an_error_stops_the_clock_it_ran_under() -> None:
    with pytest.raises(ZeroDivisionError), Timer(bypass_cache=True).run():
        _ = 1 / 0
    assert not caches_bypassed()


def test_parts_of_a_stage_count_under_a_fine_clock_only() -> None:
    for detailed in (False, True):
        with Timer(bypass_cache=True, detailed=detailed).run() as timer, span("search"), subspan("trie"):
            time.sleep(0.005)
        assert ("trie" in timer.seconds) == detailed
        assert timer.seconds["search"] >= 0.005


def test_what_is_off_the_clock_is_in_no_span_and_raises_what_it_raises() -> None:
    def fails() -> None:
        with off_the_clock():
            time.sleep(0.2)
            raise KeyError

    timer = Timer(bypass_cache=True, detailed=True)
    with timer.run(), span("search"), subspan("trie"):
        with off_the_clock():
            time.sleep(0.2)
        with pytest.raises(KeyError):
            fails()
    assert set(timer.seconds) == {"total", "search", "trie"}
    assert max(timer.seconds.values()) < 0.2
