"""Rankings and what led to them, stored in the work folder so that a metric added later needs no new run."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from irbench.core.errors import ContractError, StoreError, writing
from irbench.core.filestate import size_of
from irbench.core.identifiers import Identifiers
from irbench.core.ranking import Ranking
from irbench.results.schema import StoredRanking
from irbench.runtime.cache import make_folder, write_atomically


def save_ranking(ranking: Ranking, folder: Path, identifiers: Identifiers | None = None) -> StoredRanking:
    """Store a ranking in `folder` under a name made of its content, so that no other result's ranking is replaced.

    With it the gallery's identifiers, for a retriever that generates identifiers.
    """
    arrays = {"rows": ranking.rows.astype(np.int32), "scores": np.ascontiguousarray(ranking.scores)}
    if identifiers is not None:
        arrays["codes"] = identifiers.codes.astype(np.min_scalar_type(identifiers.codebook_size - 1))
    content = save(arrays)
    digest = hashlib.sha256(content).hexdigest()
    stored = StoredRanking(file=f"{digest[:32]}.safetensors", sha256=digest, k=ranking.top_k)
    with writing(f"the ranking to {folder}", "--work"):
        make_folder(folder)
        write_atomically(folder / stored.file, content)
    return stored


def load_ranking(stored: StoredRanking, folder: Path) -> Ranking:
    """Read a ranking that `save_ranking` stored, refusing a file that is not the one of that hash."""
    arrays = _load_arrays(stored, folder)
    try:
        return Ranking(arrays["rows"].astype(np.int64), arrays["scores"])
    except (KeyError, ContractError) as error:
        raise StoreError(f"{folder / Path(stored.file).name}: not a ranking: {error}", code="damaged-file") from error


def load_codes(stored: StoredRanking, folder: Path) -> NDArray[np.int64] | None:
    """Read the identifiers codes[N,M] of the gallery behind a ranking; None where none were generated."""
    codes = _load_arrays(stored, folder).get("codes")
    return None if codes is None else codes.astype(np.int64)


def _load_arrays(stored: StoredRanking, folder: Path) -> dict[str, NDArray[Any]]:
    path = folder / Path(stored.file).name
    content = read_stored(path, stored.sha256, "the ranking of a result is stored in the work folder")
    try:
        return load(content)
    except SafetensorError as error:
        raise StoreError(f"{path}: not a ranking: {error}", code="damaged-file") from error


def read_stored(path: Path, sha256: str, place: str) -> bytes:
    """Read a file that was stored with a result, refusing one that is not of that hash; `place` says where it is."""
    try:
        size_of(path)  # refuses a pipe, which reading would wait for
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; {place}", code="unreadable-file") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(
            f"{path}: not what was stored with the result: its hash differs; run the cell again", code="wrong-hash"
        )
    return content
