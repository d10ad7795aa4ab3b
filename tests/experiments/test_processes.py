"""What is called in a process of its own leaves nothing behind: no process, no descriptor, no thread."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from irbench.experiments.processes import _PRELOADED, Ended, apart, each_apart

ENDINGS: dict[str, Callable[[], object]] = {
    "answers": lambda: None,
    "exits": lambda: os._exit(5),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hangs": lambda: time.sleep(300),
}


def leave(place: Path, how: str, ending: str) -> str:
    """Start a process that outlives this one if it can, write its number to `place`, and end."""
    if os.fork() == 0:
        if how != "group":
            os.setsid()
        if how == "orphan" and os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (place.parent / "new").write_text(str(os.getpid()))
        (place.parent / "new").rename(place)
        time.sleep(300)
    while not place.exists():
        time.sleep(0.01)
    ENDINGS[ending]()
    return "answer"


def lives(process: int) -> bool:
    return Path("/proc", str(process), "exe").exists()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("how", ["group", "session", "orphan"])
def test_nothing_outlives_a_call(tmp_path: Path, how: str, ending: str) -> None:
    place = tmp_path / "pid"
    if ending == "answers":
        assert apart(leave, place, how, ending, timeout=60) == "answer"
    else:
        with pytest.raises(Ended) as ended:
            apart(leave, place, how, ending, timeout=2 if ending == "hangs" else 60)
        assert ended.value.status == ("timeout" if ending == "hangs" else "failed")
        named = {"crashes": "SIGSEGV", "is killed": "SIGKILL", "exits": "5", "hangs": "2 s"}
        assert named[ending] in ended.value.reason
    assert not lives(int(place.read_text()))


def imported() -> set[str]:
    return set(sys.modules)


def test_what_is_heavy_is_imported_once_and_not_in_each_process() -> None:
    assert set(_PRELOADED) <= apart(imported, timeout=None)


def test_many_calls_leave_no_descriptor_and_no_thread() -> None:
    def held() -> tuple[int, int]:
        gc.collect()  # what other tests left is not let go meanwhile
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208

    assert apart(os.getpid, timeout=None) != os.getpid()
    before = held()
    for _ in range(5):
        apart(os.getpid, timeout=None)
        with pytest.raises(Ended):
            apart(os._exit, 3, timeout=None)
    assert held() == before


def counts(ending: str) -> Iterator[int]:
    yield 1
    yield 2
    ENDINGS[ending]()


@pytest.mark.parametrize("ending", ["answers", "is killed"])
def test_what_was_answered_before_a_process_ended_has_arrived(ending: str) -> None:
    found = list[int]()
    with pytest.raises(Ended, match="SIGKILL") if ending == "is killed" else nullcontext():
        for number in each_apart(counts, ending, timeout=60):
            found.append(number)
    assert found == [1, 2]
