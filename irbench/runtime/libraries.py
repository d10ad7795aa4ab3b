"""Optional libraries: imported when they are needed, and named with their install line where they are missing."""

from importlib import import_module
from typing import Any

from irbench.core.errors import MissingLibrary


def pyarrow() -> Any:
    """Import the library behind Parquet; it is optional, because it takes 55 MB that nothing else here needs."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingLibrary(f"Parquet needs pyarrow: pip install 'irbench-retrieval[parquet]' ({error})") from error
    return pa


def mteb() -> Any:
    """Import MTEB of version 2; it is optional, because it brings Transformers and Datasets: 450 MB."""
    install = "pip install 'irbench-retrieval[mteb]'"
    try:
        import mteb as library
    except ImportError as error:
        raise MissingLibrary(f"models and tasks of MTEB need the package mteb: {install} ({error})") from error
    if not hasattr(library, "evaluate"):
        raise MissingLibrary(f"MTEB {library.__version__} is too old, 2.0 is the first that will do: {install}")
    return library


def hub_datasets() -> Any:
    """Import the library Datasets of Hugging Face, which MTEB brings; a folder of recipes has its name too."""
    mteb()
    return import_module("datasets")
