"""Imported by the server of processes: does once what every cell would begin with.

That is to import heavy libraries, and to read irbench's own files as digests of code and the discovery of classes do.
"""

import irbench.experiments.run  # noqa: F401 -- what carries out a cell
from irbench.config.registry import ENCODERS, IDENTIFIERS, LOADERS, RETRIEVERS, SEARCHERS
from irbench.results import scoring
from irbench.retrievers import dense
from irbench.retrievers.irgen import retriever
from irbench.runtime.code import code_digest

code_digest(dense, retriever, scoring)
for registry in (ENCODERS, IDENTIFIERS, LOADERS, RETRIEVERS, SEARCHERS):
    registry.read_shipped()
