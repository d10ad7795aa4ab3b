"""A web server on this machine that misbehaves as it is told to."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Site:
    """A web server of this machine. Each path has content, and answers that are given in turn, the last for ever."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str]] = []  # path and Range of each request
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, self.headers.get("Range", "")))
                answers = site.answers.get(self.path, [whole])
                (answers.pop(0) if len(answers) > 1 else answers[0])(self, site.content.get(self.path, b""))
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, path: str, content: bytes, *answers: Answer) -> str:
        """Return the address at which `content` is now offered."""
        self.content[path], self.answers[path] = content, list(answers or [whole])
        return self.url + path


def whole(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Answer as a good server does: with the part that is asked for."""
    start = range_start(request)
    if start >= len(content):
        request.send_error(416)
        return
    head(request, content, start, len(content) - start)
    request.wfile.write(content[start:])


def range_start(request: BaseHTTPRequestHandler) -> int:
    same = request.headers.get("If-Range") in (None, getattr(request, "tag", '"1"'))
    asked = request.headers.get("Range", "")
    return int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0


def head(request: BaseHTTPRequestHandler, content: bytes, start: int, length: int, tag: str = '"1"') -> None:
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(length))
    request.send_header("ETag", tag)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    request.end_headers()


def ignores_range(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def breaks_off(after: int) -> Answer:
    """Promise all of the rest, and send so many bytes of it."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        start = range_start(request)
        head(request, content, start, len(content) - start)
        request.wfile.write(content[start : start + after])

    return answer


def hangs(after: int, seconds: float) -> Answer:
    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        breaks_off(after)(request, content)
        request.wfile.flush()
        time.sleep(seconds)

    return answer


def states_length(length: int) -> Answer:
    """Send all of it under a false length."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        head(request, content, 0, length)
        request.wfile.write(content)

    return answer


def states_no_length(content_type: str = "application/octet-stream") -> Answer:
    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.end_headers()
        request.wfile.write(content)

    return answer


def sends(other: bytes, content_type: str = "text/html") -> Answer:
    """Send something else in its place."""

    def answer(request: BaseHTTPRequestHandler, _: bytes) -> None:
        states_no_length(content_type)(request, other)

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler, _: bytes) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def another_part(offset: int) -> Answer:
    """Answer a question for a part with a part that begins elsewhere."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        head(request, content, offset, len(content) - offset)
        request.wfile.write(content[offset:])

    return answer


def another_version(other: bytes) -> Answer:
    """Offer a file of another tag from now on; whoever asks for the rest of the first gets all of this one."""

    def answer(request: BaseHTTPRequestHandler, _: bytes) -> None:
        head(request, other, 0, len(other), tag='"2"')
        request.wfile.write(other)

    return answer
