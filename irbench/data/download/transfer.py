"""HTTP downloads that resume after an interruption, and are accepted by their checksum only.

Archives of 1 to 26 GB need that, and available libraries lack it: pooch (1.9) deletes a partial file when a transfer is
interrupted, torchvision's download_url (0.29) truncates its target. All it takes is two headers (Range, If-Range) and
the handling of servers that ignore them, for which the standard library's urllib suffices.

A file in transfer is named NAME.part, and its version (ETag or date) is in NAME.part.version. A `.part` survives an
interruption; it is removed when its checksum is wrong.
"""

import http.client
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError

from irbench.core.errors import DataError, writing
from irbench.core.version import VERSION
from irbench.data.download.published import RemoteFile, check
from irbench.runtime.cache import flush
from irbench.runtime.progress import transfer

_PAUSES = (0.5, 1.0, 2.0)  # seconds before a retry, after tries without progress
_TRIES = 1000  # in all, for a server that interrupts again and again
_LONGEST_WAIT = 60.0  # seconds; a longer Retry-After of a server is ignored
_TIMEOUT = 30.0  # seconds without data
_CHUNK = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that are worth a retry


class _Interrupted(Exception):  # noqa: N818 -- not an error yet
    """A try failed in a way that is worth a retry."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def download(file: RemoteFile, folder: Path) -> Path:
    """Download `file` into the existing `folder` and return its path; a complete one is not downloaded again.

    Raises `DataError` if the server does not provide the published file, `StoreError` if it cannot be written.
    """
    target = folder / file.name
    if target.exists():
        check(file, target)
        return target
    part = _Part(target)
    wrong = _attempt(file, part)
    if wrong and part.pieced:  # the pieces may be of two versions: download all of it again
        wrong = _attempt(file, part)
    if wrong:
        raise DataError(
            f"{file.url} was fetched whole and is not what was published; it has been deleted: {wrong}", code="checksum"
        )
    return part.finish()


def _attempt(file: RemoteFile, part: "_Part") -> DataError | None:
    """Download the missing rest; return the error of a result that is not as published, which is then removed."""
    _transfer(file, part)
    try:
        check(file, part.path)
    except DataError as error:
        part.remove()
        return error
    return None


class _Part:
    """A partial download."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._version = target.with_name(f"{target.name}.part.version")
        self.pieced = self.size > 0  # downloaded in more than one try

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """ETag or date of the file being downloaded; empty if the server sent neither."""
        text = self._version.read_text("ascii", "ignore") if self._version.exists() else ""
        return " ".join(text.split())

    def open(self, offset: int, version: str) -> IO[bytes]:
        """Open for writing: append, or with offset 0 replace."""
        self.pieced |= offset > 0
        if not offset:
            self._version.write_text(version, "ascii", "ignore")
        return self.path.open("ab" if offset else "wb")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self) -> Path:
        """Rename the complete file to its target."""
        flush(self.path)
        self.path.replace(self.target)
        self._version.unlink(missing_ok=True)
        flush(self.target.parent)
        return self.target


def _transfer(file: RemoteFile, part: _Part) -> None:
    """Download until the file has the published size."""
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
                    raise DataError(_gave_up(file, part, reason), code="transfer") from None
                time.sleep(min(max(pause, reason.wait), _LONGEST_WAIT))
    raise DataError(_gave_up(file, part, f"it broke off {_TRIES} times"), code="transfer")


def _receive(file: RemoteFile, part: _Part, show: Callable[[int], None]) -> None:
    with closing(_answer(file, part)) as response:
        offset = _offset(file, part, response)
        with _opened(part, offset, _validator(response)) as out:
            show(offset)
            while chunk := _read(response):
                if not offset and _is_page(chunk):
                    raise DataError(_page(file), code="web-page")
                offset += len(chunk)
                if offset > file.bytes:
                    part.remove()
                    raise DataError(
                        f"{file.url} sends more than the {file.bytes:,} bytes that are published. {_MOVED}",
                        code="checksum",
                    )
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
    """Return an opener for HTTP only: urllib's default one would follow a redirection to a local file."""
    opener = request.OpenerDirector()
    for handler in (request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler,
                    request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor, request.UnknownHandler):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _refusal(file: RemoteFile, part: _Part, error: HTTPError) -> Exception:
    status = f"{error.code} {_reason(error)}"
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.size:
        part.remove()  # longer than the file on the server
        return _Interrupted(status)
    if error.code in _PASSING:
        wait = error.headers.get("Retry-After", "")
        return _Interrupted(f"the server responds {status}", float(wait) if wait.isdecimal() else 0.0)
    return DataError(f"{file.url}: the server responds {status}. {_MOVED}", code="transfer")


def _offset(file: RemoteFile, part: _Part, response: http.client.HTTPResponse) -> int:
    """Return the offset at which the response continues; 0 if the server sends the file from its start."""
    if response.headers.get_content_type() == "text/html" and not file.name.endswith((".html", ".htm")):
        raise DataError(_page(file), code="web-page")
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != file.bytes:
            raise DataError(
                f"{file.url} offers {int(length):,} bytes, and {file.bytes:,} are published. {_MOVED}", code="checksum"
            )
        return 0
    offered = response.headers.get("Content-Range", "").removeprefix("bytes ")
    if offered.rpartition("/")[2] not in ("*", str(file.bytes)) or offered.partition("-")[0] != str(part.size):
        part.remove()  # not the rest of this file: start again without a range
        raise _Interrupted(f"the server sends another part ({offered or 'unknown'})")
    return part.size


def _validator(response: http.client.HTTPResponse) -> str:
    """Return the value for If-Range: a strong ETag, else the date of the last modification."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)  # available data: none of it is lost on an interruption
    except (http.client.HTTPException, OSError) as error:
        raise _Interrupted(_reason(error)) from None


def _opened(part: _Part, offset: int, version: str) -> IO[bytes]:
    with writing(part.path, _OPTION):
        return part.open(offset, version)


def _write(out: IO[bytes], chunk: bytes, part: _Part) -> None:
    with writing(part.path, _OPTION):
        out.write(chunk)
        out.flush()


def _is_page(start: bytes) -> bool:
    return start[:512].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return " ".join(str(reason).split()) or type(error).__name__


_OPTION = "--data; what has arrived is kept, and the same command continues"
_MOVED = "It may have moved, or be another version"


def _page(file: RemoteFile) -> str:
    return f"{file.url} returns a web page instead of {file.name}: it requires a login, or has moved. {_MOVED}"


def _gave_up(file: RemoteFile, part: _Part, reason: object) -> str:
    partial = f"; {part.size:,} of {file.bytes:,} bytes are stored, and the same command continues from there"
    return f"cannot fetch {file.url}: {reason}{partial if part.size else '; try again later'}"
