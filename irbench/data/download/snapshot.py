"""Parquet files of a data set on the Hugging Face hub, by huggingface_hub, which keeps them in its cache.

Its `snapshot_download` fetches the files that match a pattern at a commit, and without a network returns what is in the
cache (huggingface/huggingface_hub:src/huggingface_hub/_snapshot_download.py).
"""

import re
import shlex
from pathlib import Path

from irbench.core.errors import DataError

_COMMIT = re.compile("[0-9a-f]{40}")
_KINDS = ("parquet", "tsv")
_PROBE = 4.0  # seconds in which the hub has to respond before a download starts


def is_commit(revision: str) -> bool:
    """Is it the hash of a commit, which means the same files for ever, and no branch or tag?"""
    return _COMMIT.fullmatch(revision) is not None


def snapshot(repository: str, revision: str, subset: str = "") -> Path:
    """Return the folder of the Parquet and TSV files of a data set, whose name is the commit; download what is missing.

    Raises `DataError` where the hub does not have it, or where it is not in the cache and the hub does not respond.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        # one request, without the minutes of retries that a download spends on a machine without a network
        commit = HfApi().dataset_info(repository, revision=revision, timeout=_PROBE).sha
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(
            f"hf:{repository}@{revision}: the Hugging Face hub has no such data set or revision, or shows it only "
            f"after hf auth login ({_said(error)})",
            code="not-found",
        ) from error
    except Exception as error:  # offline, refused: one message, no traceback
        found = cached(repository, revision, subset)
        if found is None:
            raise _unreachable(repository, revision, subset, error) from error
        return found
    try:
        patterns = _patterns(subset)
        return Path(snapshot_download(repository, repo_type="dataset", revision=commit, allow_patterns=patterns))
    except Exception as error:  # interrupted, disk full; what has arrived is not fetched again
        raise _unreachable(repository, revision, subset, error) from error


def cached(repository: str, revision: str, subset: str = "") -> Path | None:
    """Return the folder of a data set in the hub's cache on this machine; None where it is not there."""
    from huggingface_hub import snapshot_download

    patterns = _patterns(subset)
    try:
        found = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=patterns, local_files_only=True
        )
    except OSError:  # of which LocalEntryNotFoundError is one
        return None
    return Path(found)


def _unreachable(repository: str, revision: str, subset: str, reason: Exception) -> DataError:
    includes = " ".join(f"--include {shlex.quote(pattern)}" for pattern in _patterns(subset))
    return DataError(
        f"hf:{repository}@{revision} is not in the hub's cache on this machine, and cannot be had from the hub "
        f"({_said(reason)}). With a network, this gets it: hf download {repository} --repo-type dataset --revision "
        f"{revision} {includes}",
        code="hub-unreachable",
    )


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _patterns(subset: str) -> list[str]:
    """Return which files are fetched: of a subset those in its folder, or in folders such as subset-corpus."""
    tops = (f"{subset}/", f"{subset}-*/", f"data/{subset}/") if subset else ("",)
    return [f"{top}*.{kind}" for top in tops for kind in _KINDS]
