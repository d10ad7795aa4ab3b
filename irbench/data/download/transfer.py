"""Files fetched over HTTP: a transfer that broke off goes on where it was, and nothing counts before its checksum does.

Archives of 1 to 26 GB need that, and the libraries at hand lack it: pooch (1.9) deletes what it has when a transfer
breaks off, torchvision's download_url (0.29) opens its target anew. What is missing is two headers (Range, If-Range)
and the care that servers ignore them, which the standard library's urllib allows without another dependency.

While it is under way a file is called NAME.part, with what tells its version apart (ETag or date) in NAME.part.version.
A `.part` outlives an interruption; it is removed when its checksum is wrong.
"""

import errno
import http.client
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError

from irbench.core.errors import DataError, StoreError
from irbench.core.version import VERSION
from irbench.data.download.published import RemoteFile, check
from irbench.runtime.cache import flush
from irbench.runtime.progress import transfer

_PAUSES = (0.5, 1.0, 2.0)  # seconds before each try after one that brought nothing
_TRIES = 1000  # in all, for a server that breaks off again and again
_LONGEST_WAIT = 60.0  # seconds; a server may ask for less patience than this, or for more in vain
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another try may cure


class _Interrupted(Exception):  # noqa: N818 -- not an error yet
    """This try failed in a way that the next one may not."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def download(file: RemoteFile, folder: Path) -> Path:
    """Fetch `file` into `folder`, which exists, and return its path; a whole one that is there already is taken.

    Raises `DataError` when the server does not give the published file, `StoreError` when it cannot be written.
    """
    target = folder / file.name
    if target.exists():
        check(file, target)
        return target
    part = _Part(target)
    wrong = _attempt(file, part)
    if wrong and part.pieced:  # the pieces may have been of two versions: once more, all of it
        wrong = _attempt(file, part)
    if wrong:
        raise DataError(f"{file.url} was fetched whole and is not what was published; it has been deleted: {wrong}")
    return part.finish()


def _attempt(file: RemoteFile, part: "_Part") -> DataError | None:
    """Fetch all that is missing; return what is wrong with the result, which is then removed."""
    _transfer(file, part)
    try:
        check(file, part.path)
    except DataError as error:
        part.remove()
        return error
    return None


class _Part:
    """What has been fetched so far."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._version = target.with_name(f"{target.name}.part.version")
        self.pieced = self.size > 0  # fetched in more than one try

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """ETag or date of the file that these are the first bytes of; empty where the server told neither."""
        text = self._version.read_text("ascii", "ignore") if self._version.exists() else ""
        return " ".join(text.split())

    def open(self, offset: int, version: str) -> IO[bytes]:
        """Open for writing: behind what is there, or (offset 0) in its place."""
        self.pieced |= offset > 0
        if not offset:
            self._version.write_text(version, "ascii", "ignore")
        return self.path.open("ab" if offset else "wb")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self) -> Path:
        """Give it its name, now that it is whole."""
        flush(self.path)
        self.path.replace(self.target)
        self._version.unlink(missing_ok=True)
        flush(self.target.parent)
        return self.target


def _transfer(file: RemoteFile, part: _Part) -> None:
    """Fetch until as many bytes are there as are published."""
    pauses = iter(_PAUSES)
    with transfer(file.name, total=file.bytes) as show:
        for _ in range(_TRIES):
            before = part.size
            if before == file.bytes:
                return
            try:
                _receive(file, part, show)
            except _Interrupted as reason:
                onward = part.size > before
                pauses = iter(_PAUSES) if onward else pauses
                pause = _PAUSES[0] if onward else next(pauses, None)
                if pause is None:
                    raise DataError(_gave_up(file, part, reason)) from None
                time.sleep(min(max(pause, reason.wait), _LONGEST_WAIT))
    raise DataError(_gave_up(file, part, f"it broke off {_TRIES} times"))


def _receive(file: RemoteFile, part: _Part, show: Callable[[int], None]) -> None:
    with closing(_answer(file, part)) as response:
        offset = _offset(file, part, response)
        with _writing(part, offset, _validator(response)) as out:
            show(offset)
            while chunk := _read(response):
                if not offset and _is_page(chunk):
                    raise DataError(_page(file))
                offset += len(chunk)
                if offset > file.bytes:
                    part.remove()
                    raise DataError(f"{file.url} sends more than the {file.bytes:,} bytes that are published. {_MOVED}")
                _write(out, chunk, part)
                show(offset)
    if offset < file.bytes:
        raise _Interrupted(f"it broke off after {offset:,} of {file.bytes:,} bytes")


def _answer(file: RemoteFile, part: _Part) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"irbench/{VERSION}", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.version:
            headers["If-Range"] = part.version
    try:
        return _opener().open(request.Request(file.url, headers=headers), timeout=_TIMEOUT)  # noqa: S310 -- HTTP only
    except HTTPError as error:
        with error:
            raise _refusal(file, part, error) from None
    except (URLError, http.client.HTTPException, OSError) as error:
        raise _Interrupted(f"no connection ({_reason(error)})") from None


def _opener() -> request.OpenerDirector:
    """HTTP alone: no redirection leads to a file of this machine, which urllib's usual opener would read."""
    opener = request.OpenerDirector()
    for handler in (request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler,
                    request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor, request.UnknownHandler):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _refusal(file: RemoteFile, part: _Part, error: HTTPError) -> Exception:
    said = f"{error.code} {_reason(error)}"
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.size:
        part.remove()  # longer than the file that is offered now
        return _Interrupted(said)
    if error.code in _PASSING:
        wait = error.headers.get("Retry-After", "")
        return _Interrupted(f"the server answers {said}", float(wait) if wait.isdecimal() else 0.0)
    return DataError(f"{file.url}: the server answers {said}. {_MOVED}")


def _offset(file: RemoteFile, part: _Part, response: http.client.HTTPResponse) -> int:
    """Return how many bytes that are here stay: none, when the server sends the file from its start."""
    if response.headers.get_content_type() == "text/html" and not file.name.endswith((".html", ".htm")):
        raise DataError(_page(file))
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != file.bytes:
            raise DataError(f"{file.url} offers {int(length):,} bytes, and {file.bytes:,} are published. {_MOVED}")
        return 0
    offered = response.headers.get("Content-Range", "").removeprefix("bytes ")
    if offered.rpartition("/")[2] not in ("*", str(file.bytes)) or offered.partition("-")[0] != str(part.size):
        part.remove()  # not the rest of this file: from the start, without asking for a part
        raise _Interrupted(f"the server sends another part ({offered or 'it does not say which'})")
    return part.size


def _validator(response: http.client.HTTPResponse) -> str:
    """Return what If-Range takes: a strong ETag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)  # what has come so far: none of it is lost when the transfer breaks off
    except (http.client.HTTPException, OSError) as error:
        raise _Interrupted(_reason(error)) from None


def _writing(part: _Part, offset: int, version: str) -> IO[bytes]:
    try:
        return part.open(offset, version)
    except OSError as error:
        raise StoreError(_unwritable(part, error)) from None


def _write(out: IO[bytes], chunk: bytes, part: _Part) -> None:
    try:
        out.write(chunk)
        out.flush()
    except OSError as error:
        raise StoreError(_unwritable(part, error)) from None


def _is_page(start: bytes) -> bool:
    return start[:512].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return " ".join(str(reason).split()) or type(error).__name__


_MOVED = "It may have moved, or be another version"


def _page(file: RemoteFile) -> str:
    return f"{file.url} answers with a web page in place of {file.name}: it asks for a login, or has moved. {_MOVED}"


def _gave_up(file: RemoteFile, part: _Part, reason: object) -> str:
    kept = f"; {part.size:,} of {file.bytes:,} bytes are kept, and the same command goes on from there"
    return f"cannot fetch {file.url}: {reason}{kept if part.size else '; try again later'}"


def _unwritable(part: _Part, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "; what is there is kept: make room, and the same command goes on" if full else "; see --data"
    return f"cannot write {part.path}: {error.strerror}{hint}"
