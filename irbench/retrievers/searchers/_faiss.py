"""Faiss, loaded when it is needed, and what all searchers do with its indexes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irbench.retrievers.searchers import _library
from irbench.runtime.machine import Runtime

_GPU_LIMIT = 2048  # most neighbours that Faiss finds on a GPU


def library() -> Any:
    """Import Faiss, or tell how to install it."""
    return _library.load("faiss", "Faiss", "pip install faiss-cpu")


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


@dataclass(frozen=True, eq=False)
class Searched:
    """An index where it is searched."""

    index: Any  # in host memory
    on_gpu: Any = None  # its copy, and what that needs as long as it lives
    device: str = "CPU"
    resources: Any = None

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return squared distances [Q,K] and rows [Q,K], -1 where nothing was found."""
        index = self.index if self.on_gpu is None or k > _GPU_LIMIT else self.on_gpu
        distances, rows = index.search(queries, k)
        return distances, rows


def searched(index: Any, probe: NDArray[np.float32], runtime: Runtime) -> Searched:
    """Copy an index to a GPU that takes it; `probe` [1,D] is searched, for some limits show only then."""
    faiss = library()
    if runtime.device != "cuda" or faiss.get_num_gpus() == 0:
        return Searched(index)
    try:
        resources = faiss.StandardGpuResources()
        copy = faiss.index_cpu_to_gpu(resources, 0, index)
        copy.search(probe, 1)
    except RuntimeError as error:  # kinds, bits and subspaces that Faiss does not have there
        return Searched(index, device=f"CPU: Faiss refuses these parameters on a GPU ({reason(error)})")
    return Searched(index, copy, "GPU", resources)


def count_distances(index: Any, queries: NDArray[np.float32], k: int) -> float | None:
    """Return how many distances a query [Q,D] takes on average, by Faiss's own counters; None where it counts none."""
    faiss = library()
    counters = faiss.cvar.indexIVF_stats, faiss.cvar.hnsw_stats
    for counter in counters:
        counter.reset()
    index.search(queries, k)
    counted = sum(counter.ndis for counter in counters)
    if counted:
        return counted / len(queries) + _centres(index)
    whole = faiss.downcast_index(index)
    compares_all = isinstance(whole, faiss.IndexFlatCodes | faiss.IndexFastScan) and not hasattr(whole, "nprobe")
    return float(index.ntotal) if compares_all else None


def _centres(index: Any) -> int:
    """Return how many centres of cells are compared with each query, which Faiss does not count where it scans them."""
    faiss = library()
    found = faiss.try_extract_index_ivf(index)
    scanned = found is not None and isinstance(faiss.downcast_index(found.quantizer), faiss.IndexFlat)
    return int(found.nlist) if scanned else 0


def exact_distances(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the squared distances [Q,C] of queries [Q,D] to their own `rows` [Q,C] of vectors [N,D].

    From differences: as |q|² + |g|² - 2qg, Faiss's own way, they lose digits. Infinite where the row is -1.
    """
    faiss = library()
    rows = np.ascontiguousarray(rows, np.int64)
    out = np.empty(rows.shape, np.float32)
    arrays = (faiss.swig_ptr(array) for array in (out, queries, vectors, rows))
    faiss.fvec_L2sqr_by_idx(*arrays, queries.shape[1], *rows.shape)
    out[rows < 0] = np.inf
    return out


def reason(error: RuntimeError) -> str:
    """Return what Faiss says is wrong, without the place in its source that stands before it."""
    said = str(error).rpartition("failed: ")[2]
    return " ".join(said.rpartition(".cpp:")[2].partition(": ")[2].split() if ".cpp:" in said else said.split())
