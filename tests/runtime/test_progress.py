import sys

import pytest

from irbench.runtime import progress


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def terminal(request, monkeypatch):
    """Standard error as a terminal, and as a file."""
    monkeypatch.setattr(progress, "_reported", set())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: request.param, raising=False)
    return request.param


@pytest.mark.parametrize("quiet", ["", "1"])
@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_bar_appears_on_standard_error_only_and_only_for_long_work(monkeypatch, capsys, terminal, patience, quiet):
    monkeypatch.setattr(progress, "_PATIENCE", patience)
    monkeypatch.setenv("IRBENCH_QUIET", quiet)
    assert list(progress.track(iter(range(5)), "Counting sheep", total=5)) == [0, 1, 2, 3, 4]
    out, err = capsys.readouterr()
    assert out == ""
    assert ("Counting sheep" in err) == (patience == 0 and not quiet)


def test_work_that_stops_early_takes_its_bar_away(monkeypatch, capsys, terminal):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    for item in progress.track([1, 2, 3], "Counting"):
        if item == 2:
            break
    assert list(progress.track([4], "Again")) == [4]  # a bar left behind would refuse a second one
    assert "Again" in capsys.readouterr().err


def test_where_there_is_no_terminal_repeated_work_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_reported", set())
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    for batch in range(20):
        assert list(progress.track([batch], "encode queries")) == [batch]
    list(progress.track([0], "encode gallery"))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("encode queries: ")
    assert second.startswith("encode gallery: ")
