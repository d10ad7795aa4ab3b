"""Optional libraries: imported when they are needed, and named with their install line where they are missing."""

from typing import Any

from irbench.core.errors import MissingLibrary


def pyarrow() -> Any:
    """Import the library behind Parquet; it is optional, because it takes 55 MB that nothing else here needs."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingLibrary(f"Parquet needs pyarrow: pip install 'irbench-retrieval[parquet]' ({error})") from error
    return pa
