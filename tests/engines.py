"""Which search engines run on this machine: SPANN's is compiled for AVX-512."""

from collections.abc import Iterable
from typing import Any

import pytest

from irbench.core.errors import MissingLibrary
from irbench.retrievers.searchers import _sptag


def _spann_runs() -> bool:
    try:
        _sptag.library()
    except MissingLibrary:
        return False
    return True


SPANN_RUNS = _spann_runs()
needs_spann = pytest.mark.skipif(not SPANN_RUNS, reason="SPANN's engine does not run on this machine")


def searchers(names: Iterable[str]) -> list[Any]:
    """Return names of searchers as parameters of a test, SPANN's skipped where its engine does not run."""
    return [pytest.param(name, marks=needs_spann if name == "spann" else ()) for name in names]
