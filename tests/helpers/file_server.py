"""A small HTTP server on this machine that serves bytes, as well or as badly as a test wants."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server has and how it serves it; the test may change it between requests."""

    content: bytes = b""
    etag: str = '"1"'
    content_type: str = "application/octet-stream"
    ranges: bool = True  # else a Range is ignored
    length: int | None = None  # that it claims; -1 to claim none, by a chunked body
    cuts: list[int] = field(default_factory=list)  # bytes after which each next answer breaks off
    stall: float = 0.0  # seconds before the body
    redirect: str = ""  # of every path but /target
    status: int = 200
    requests: list[dict[str, str]] = field(default_factory=list)  # headers of those so far


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        serve = self.server.behaviour
        serve.requests.append({"path": self.path, **dict(self.headers)})
        self.close_connection = True
        if serve.redirect and self.path != "/target":
            return self._head(302, {"Location": serve.redirect, "Content-Length": "0"})
        if serve.status != 200:
            return self._head(serve.status, {"Content-Length": "0"})
        body, total = serve.content, len(serve.content)
        headers = {"Content-Type": serve.content_type, "ETag": serve.etag}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, serve.etag)
        status = 200
        if match and serve.ranges and same:
            start = int(match[1])
            if start >= total:
                return self._head(416, {"Content-Range": f"bytes */{total}"})
            status, body = 206, body[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        chunked = serve.length == -1
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            headers["Content-Length"] = str(serve.length or len(body))
        self._head(status, headers)
        if serve.stall:
            self.server.stopped.wait(serve.stall)
        cut = serve.cuts.pop(0) if serve.cuts else len(body)
        self.wfile.write(body[:cut])
        return None

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.stopped = threading.Event()


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[str]:
    """Serve in a thread; yields the address, without a slash at its end."""
    server = _Server(behaviour)
    with running(server) as address:
        try:
            yield address
        finally:
            server.stopped.set()


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread; yields its address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
