"""Which search engines run on this machine: SPANN's is compiled for AVX-512."""

from collections.abc import Iterable
from typing import Any

import pytest

from irbench.retrievers.searchers import _sptag

SPANN_RUNS = not _sptag.lacking_instructions()  # a missing library is no reason to skip: CI installs it
needs_spann = pytest.mark.skipif(not SPANN_RUNS, reason="SPANN's engine needs a processor with AVX-512")


def searchers(names: Iterable[str]) -> list[Any]:
    """Return names of searchers as parameters of a test, SPANN's skipped where its engine does not run."""
    return [pytest.param(name, marks=needs_spann if name == "spann" else ()) for name in names]
