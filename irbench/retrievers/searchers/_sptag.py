"""The SPANN engine of the `sptag` wheel, through its plain C interface.

The wheel's own Python module is linked to Python 3.9 and loads on no other. Beside it lie `libSPTAGLib.so`, the engine,
and `libCSHARPSPTAG.so`, a C interface to it that was made for C#; these need no Python.

An index is built in a process of its own (`build` starts this file with `-m`): the engine draws from generators that
start once in a process, so that only the first index of each is the same every time, and what crashes it must not
take a grid down.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from irbench.core.errors import IrbenchError, MissingLibrary, is_out_of_memory
from irbench.runtime.conditions import processor_flags, processor_name
from irbench.runtime.silence import STDOUT, silenced

Sections = dict[str, dict[str, str]]  # the engine's parameters by its own names: section, name, value

_VECTORS, _JOB, _INDEX = "vectors.f32", "job.json", "index"  # what a build's folder holds
_CHILD = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait by spinning make a build slow on a machine that is shared
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_QUERIES_AT_ONCE = 1024  # each answer is an object of the engine's until it is read


class _Array(ctypes.Structure):
    """An array on its way in or out, passed by value: its address, and its size in bytes (in) or elements (out)."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


_P, _S, _I, _BOOL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint
_SIGNATURES = {
    "new_AnnIndex__SWIG_1": (_P, _S, _S, _I),
    "delete_AnnIndex": (None, _P),
    "AnnIndex_SetBuildParam": (None, _P, _S, _S, _S),
    "AnnIndex_SetSearchParam": (None, _P, _S, _S, _S),
    "AnnIndex_Build": (_BOOL, _P, _Array, _I, _BOOL),
    "AnnIndex_Save": (_BOOL, _P, _S),
    "AnnIndex_Load": (_P, _S),
    "AnnIndex_BatchSearch": (_Array, _P, _Array, _I, _I, _BOOL),
    "BasicResult_VID_get": (_I, _P),
    "BasicResult_Dist_get": (ctypes.c_float, _P),
    "delete_BasicResult": (None, _P),
    "deleteArrayOfWrapperArray": (None, _Array),
}


@cache
def library() -> ctypes.CDLL:
    """Load the engine with its functions declared, or tell what is missing."""
    spec = find_spec("sptag")  # does not import it
    if spec is None or spec.origin is None:
        raise MissingLibrary("SPANN needs the package sptag (Linux on x86-64): pip install sptag")
    if lacking := lacking_instructions():
        raise MissingLibrary(
            f"SPANN's engine is compiled for processors with AVX-512; {processor_name()} has no {', '.join(lacking)}"
        )
    folder = Path(spec.origin).parent
    try:
        with silenced(STDOUT):
            ctypes.CDLL(str(folder / "libSPTAGLib.so"), mode=ctypes.RTLD_GLOBAL)  # the next one finds its names there
            engine = ctypes.CDLL(str(folder / "libCSHARPSPTAG.so"))
    except OSError as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise MissingLibrary(f"SPANN's engine does not load ({error}): apt-get install {_SYSTEM_PACKAGES}") from error
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(engine, f"CSharp_{name}")
        function.restype, function.argtypes = result, arguments
    return engine


@cache
def _searching_thread() -> ThreadPoolExecutor:
    """Return the one thread from which every index is loaded and searched; a batch it shares out among others.

    The engine gives each thread that has ever asked it a queue of its own to the disk, by a running number; it has as
    many queues as an index has threads, and a thread beyond them waits without end. How many threads share a batch is
    a setting of the thread that asks, which loading an index changes.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spann")


@cache
def _openmp() -> ctypes.CDLL:
    """Return the library by which the engine shares a batch out."""
    return ctypes.CDLL("libgomp.so.1")


def lacking_instructions() -> list[str]:
    """Return which instruction sets of the engine the processor lacks; none where the system does not list its own."""
    here = processor_flags()
    return sorted(_INSTRUCTIONS - here) if here else []


_SYSTEM_PACKAGES = "libnuma1 libgomp1 libzstd1"
_INSTRUCTIONS = {"avx512f", "avx512vl", "avx512bw", "avx512dq"}  # used without asking: SIGILL on other processors


def build(vectors: NDArray[np.float32], sections: Sections, *, seed: int, folder: Path) -> None:
    """Index `vectors` [N,D] into `folder`, in a process of its own."""
    library()  # what is missing is told here, not by the child
    vectors.tofile(folder / _VECTORS)
    places = {"Base": {"IndexDirectory": str(folder / _INDEX)}, "BuildSSDIndex": {"TmpDir": str(folder)}}
    sections = {name: values | places.get(name, {}) for name, values in sections.items()}
    job = {"shape": vectors.shape, "sections": sections, "seed": seed % 2**32}
    (folder / _JOB).write_text(json.dumps(job))
    child = subprocess.run(
        [sys.executable, "-m", __name__, str(folder)],
        env=os.environ | _CHILD | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    (folder / _VECTORS).unlink()
    if child.returncode:
        last = child.stdout.decode(errors="replace").strip().rpartition("\n")[2]
        raise IrbenchError(
            f"SPANN's engine could not index {len(vectors)} vectors of {vectors.shape[1]} dimensions (exit status "
            f"{child.returncode}, last words: {last!r}): change methods/search/spann.toml, or use another searcher",
            code="engine-failed",
        )


def _build_here(folder: Path) -> None:
    """Do the job that `build` left in `folder`."""
    system = ctypes.CDLL(None)
    system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a run that is stopped leaves nobody working
    job = json.loads((folder / _JOB).read_text())
    size, dim = job["shape"]
    vectors = np.fromfile(folder / _VECTORS, np.float32)
    system.srand(job["seed"])  # the engine draws from C's rand()
    engine, place = library(), str(folder / _INDEX).encode()
    index = engine.CSharp_new_AnnIndex__SWIG_1(b"SPANN", b"Float", dim)
    for section, values in job["sections"].items():
        for name, value in values.items():
            engine.CSharp_AnnIndex_SetBuildParam(index, name.encode(), value.encode(), section.encode())
    built = engine.CSharp_AnnIndex_Build(index, _Array(vectors.ctypes.data, vectors.nbytes), size, 0)
    if not (built and engine.CSharp_AnnIndex_Save(index, place)):
        sys.exit(1)


class Index:
    """An index that `build` has left in a folder, which has to stay: the vectors are read from it."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._engine = library()
        self._folder = folder / _INDEX
        self._threads = threads  # that share a batch
        with silenced(STDOUT):
            place = str(self._folder).encode()
            self._index = _searching_thread().submit(self._engine.CSharp_AnnIndex_Load, place).result()
        if not self._index:
            raise IrbenchError(
                f"SPANN's engine cannot read the index that it wrote to {folder}: is the disk full?",
                code="engine-failed",
            )

    def set(self, parameters: dict[str, str]) -> None:
        """Set parameters of the search by the engine's own names."""
        set_parameter = self._engine.CSharp_AnnIndex_SetSearchParam
        with silenced(STDOUT):
            for name, value in parameters.items():
                set_parameter(self._index, name.encode(), value.encode(), b"BuildSSDIndex")

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows [Q,k], -1 for no answer, and squared distances [Q,k]; callers in several threads wait in turn."""
        return _searching_thread().submit(self._search_all, queries, k).result()

    def _search_all(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        _openmp().omp_set_num_threads(self._threads)
        parts = range(0, len(queries), _QUERIES_AT_ONCE)
        found = [self._search(queries[start : start + _QUERIES_AT_ONCE], k) for start in parts]
        rows, distances = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return rows.reshape(-1, k), distances.reshape(-1, k)

    def _search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        given = _Array(queries.ctypes.data, queries.nbytes)
        answers = self._engine.CSharp_AnnIndex_BatchSearch(self._index, given, len(queries), k, 0)
        results = np.ctypeslib.as_array((ctypes.c_size_t * (2 * answers.size)).from_address(answers.data))[::2].tolist()
        rows = np.fromiter(map(self._engine.CSharp_BasicResult_VID_get, results), np.int64, len(results))
        distances = np.fromiter(map(self._engine.CSharp_BasicResult_Dist_get, results), np.float32, len(results))
        deque(map(self._engine.CSharp_delete_BasicResult, results), maxlen=0)
        self._engine.CSharp_deleteArrayOfWrapperArray(answers)
        return rows, distances

    @property
    def heads(self) -> int:
        """Number of vectors that are held in memory."""
        return (self._folder / "SPTAGHeadVectorIDs.bin").stat().st_size // 8

    @property
    def bytes(self) -> int:
        """Size of everything that the engine wrote."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def close(self) -> None:
        """Give the engine's memory and files back."""
        with silenced(STDOUT):
            self._engine.CSharp_delete_AnnIndex(self._index)


if __name__ == "__main__":
    _build_here(Path(sys.argv[1]))
