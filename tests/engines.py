"""Which searches run on this machine: some engines are compiled for one kind of processor, or need a GPU."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from irbench.retrievers.searchers import _sptag
from irbench.runtime.conditions import processor_name

SPANN_RUNS = not _sptag.lacking_instructions()  # a missing library is no reason to skip: CI installs it
needs_spann = pytest.mark.skipif(not SPANN_RUNS, reason="SPANN's engine needs a processor with AVX-512")
_NEEDS = {
    "spann": (SPANN_RUNS, "its engine needs a processor with AVX-512"),
    "vamana-lvq": ("intel" in processor_name().lower(), "LVQ needs a processor of Intel"),
    "cagra": (torch.cuda.is_available(), "CAGRA needs a GPU"),
}
ABSENT = frozenset(name for name, (runs, _) in _NEEDS.items() if not runs)


def needs(search: str) -> Any:
    """Return the mark of a test of this search; none where it runs everywhere."""
    runs, reason = _NEEDS.get(search, (True, ""))
    return pytest.mark.skipif(not runs, reason=reason)


def searchers(names: Iterable[str]) -> list[Any]:
    """Return names of searches as parameters of a test, those skipped that do not run here."""
    return [pytest.param(name, marks=needs(name)) for name in names]
