"""Optional libraries: imported when they are needed, and named with their install line where they are missing."""

from importlib import import_module
from typing import Any

from irbench.core.errors import MissingLibrary

_OLDEST_MTEB = (2, 12)  # that can choose models by what they encode


def pyarrow() -> Any:
    """Import the library behind Parquet; it is optional, because it takes 55 MB that nothing else here needs."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingLibrary(f"Parquet needs pyarrow: pip install 'irbench-retrieval[parquet]' ({error})") from error
    return pa


def mteb() -> Any:
    """Import MTEB; it is optional, because it brings Transformers, Datasets and Polars: 450 MB."""
    install = "pip install 'irbench-retrieval[mteb]'"
    try:
        import mteb as library
    except ImportError as error:
        raise MissingLibrary(f"models and tasks of MTEB need the package mteb: {install} ({error})") from error
    if tuple(map(int, library.__version__.split(".")[:2])) < _OLDEST_MTEB:
        oldest = ".".join(map(str, _OLDEST_MTEB))
        raise MissingLibrary(f"MTEB {library.__version__} is older than {oldest}: {install}")
    return library


def hub_datasets() -> Any:
    """Import the library Datasets of Hugging Face, which MTEB brings; a folder of recipes has its name too."""
    mteb()
    return import_module("datasets")
