"""Ctrl-C and SIGTERM: an exception that the program can answer, but an immediate end while libraries are imported.

An exception in the middle of the import of a compiled library can abort the process, or be swallowed. Nothing is under
way then that would have to be put away: processes of cells end with the one that started them.
"""

import os
from types import FrameType
from typing import NoReturn

STATUS = 130  # of a command that was interrupted


def stop(_signal: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal."""
    if _imports(frame):
        os._exit(STATUS)
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Is an import under way where the signal came?"""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
