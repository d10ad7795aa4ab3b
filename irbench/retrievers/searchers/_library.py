"""Libraries that are loaded when they are needed, and may be absent."""

from importlib import import_module
from typing import Any

from irbench.core.errors import MissingLibrary, is_out_of_memory


def load(module: str, name: str, install: str) -> Any:
    """Import the module of a library; `MissingLibrary` with how to install it where it is absent or broken."""
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise MissingLibrary(f"this search needs {name} ({error}): {install}") from error
