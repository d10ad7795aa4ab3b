"""Calls a function in a fork of this process, which may be killed at one of its file operations."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def in_a_fork(function: Callable[..., object], *arguments: object, root: Path, kill_at: int = 0) -> int:
    """Return how a fork ended that calls a function: killed before its so-many-th change of files below `root`."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(function, arguments, root, kill_at))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(function: Callable[..., object], arguments: tuple[object, ...], root: Path, kill_at: int) -> None:
    if kill_at:
        _die_at(kill_at, root)
    function(*arguments)


def _die_at(number: int, root: Path) -> None:
    left = [number]

    def watch(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        if (writes or event in _WRITES) and Path(str(arguments[0])).absolute().is_relative_to(root):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
