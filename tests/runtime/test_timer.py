"""The harness's clock: stages, charges, live measurements, and a device that works on after a call returns."""

import time

import pytest

from irbench.runtime.timer import Clock, charge, is_live, part, stage


def test_outside_a_measurement_nothing_is_counted() -> None:
    with stage("encode"):
        charge("train", 5.0, "model")
    assert not is_live()


def test_stages_add_up_within_the_total() -> None:
    with Clock(live=True).run() as clock:
        assert is_live()
        for _ in range(3):
            with stage("encode"):
                time.sleep(0.01)
        with stage("search"):
            time.sleep(0.02)
    assert not is_live()
    assert 0.03 <= clock.seconds["encode"] < clock.seconds["total"]
    assert clock.seconds["encode"] + clock.seconds["search"] <= clock.seconds["total"] == clock.cost


def test_remembered_work_is_charged_once_and_work_just_done_never() -> None:
    with Clock(live=False).run() as clock:
        charge("train", 7.0, "a model of yesterday")
        charge("train", 7.0, "a model of yesterday")
        charge("train", 0.0, "a model made just now")
        charge("train", 3.0, "a model made just now")
    assert clock.seconds["train"] == 7.0
    assert 7.0 < clock.cost < 7.1


def test_remembered_work_counts_in_the_stages_under_way_as_if_it_had_just_been_done() -> None:
    with Clock(live=False).run() as clock, stage("encode"):
        charge("decode", 4.0, "pixels of yesterday")
    assert clock.seconds["decode"] == 4.0
    assert 4.0 <= clock.seconds["encode"] < 4.1
    assert 4.0 <= clock.cost < 4.1


def test_a_stage_ends_when_the_device_has_done_its_work() -> None:
    pending: list[float] = []

    def wait() -> None:
        while pending:
            time.sleep(pending.pop())

    with Clock(live=True, synchronize=wait).run() as clock, stage("search"):
        pending.append(0.03)  # the call returns at once, the work goes on
    assert clock.seconds["search"] >= 0.03


def test_an_error_stops_the_clock_it_ran_under() -> None:
    with pytest.raises(ZeroDivisionError), Clock(live=True).run():
        _ = 1 / 0
    assert not is_live()


def test_parts_of_a_stage_count_under_a_fine_clock_only() -> None:
    for fine in (False, True):
        with Clock(live=True, fine=fine).run() as clock, stage("search"), part("trie"):
            time.sleep(0.005)
        assert ("trie" in clock.seconds) == fine
        assert clock.seconds["search"] >= 0.005
