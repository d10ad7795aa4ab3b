"""Faiss, loaded when it is needed."""

from importlib import import_module
from typing import Any

from irbench.core.errors import MissingLibrary, is_out_of_memory


def library() -> Any:
    """Import Faiss, or tell how to install it."""
    try:
        return import_module("faiss")
    except (ImportError, OSError) as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise MissingLibrary(f"this search needs Faiss ({error}): pip install faiss-cpu") from error


def index_bytes(index: Any) -> int:
    """Size of the index as Faiss writes it to disk, counted without keeping a copy."""
    faiss = library()
    total = 0

    def count(piece: bytes) -> None:
        nonlocal total
        total += len(piece)

    writer = faiss.PyCallbackIOWriter(count)
    faiss.write_index(index, writer)
    del writer  # hands over what is left in its buffer
    return total
