"""One file by HTTP: resumed where it broke off, and refused if it is not the expected one."""

import hashlib
import http.client
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vl.data.errors import FormatError
from vl.version import __version__

_BLOCK = 1 << 18  # bytes
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")  # RFC 9110, section 14.4
_PAGE = re.compile(rb"\s*<(!doctype\s+html|html|head)\b", re.I)


class _Version(NamedTuple):
    """Which version of a file a server has, to resume no other: see If-Range in RFC 9110."""

    validator: str  # a strong ETag or a Last-Modified; empty if the server gives neither
    length: int | None  # bytes


def fetch(
    url: str,
    part: Path,
    *,
    size: int | None = None,
    digest: str = "",
    timeout: float = 60.0,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Download a file, or the rest of it, and check it.

    Args:
        url: http or https; redirects lead to no other scheme, and not from https to http.
        part: where the file goes. What was received of it before is continued, if the server still
            has the same version and can send a part; else it starts again.
        size: expected, in bytes.
        digest: expected, ``"sha256:..."``; empty if none is known.
        timeout: seconds without a byte after which the connection counts as broken.
        on_bytes: called with each number of bytes received, first with those from before; with a
            negative number if it starts again.

    Raises:
        FormatError: the server has another file: of another size or digest, or a web page. What
            was received is deleted.
        OSError: no connection, an error of the server, or the transfer broke off again and again
            without a byte in between; what was received stays.
    """
    transfer = _Transfer(url, part, size, timeout, on_bytes)
    try:
        before, again = -1, False
        while not transfer.receive():
            if transfer.done < 0:
                if again:
                    raise OSError(
                        f"{url}: the lengths that the server states contradict each other"
                    )
                before, again = -1, True
                continue
            if transfer.done <= before:
                problem = f"broke off after {transfer.done:,} bytes"
                raise OSError(f"{url}: {problem}; the same command continues there")
            before = transfer.done
        _check(url, part, size, digest)
    except FormatError:
        transfer.forget()
        raise
    transfer.state.unlink()


class _Transfer:
    """The attempts to receive one file."""

    def __init__(
        self,
        url: str,
        part: Path,
        size: int | None,
        timeout: float,
        on_bytes: Callable[[int], None],
    ) -> None:
        self.url, self.part, self.size, self.timeout = url, part, size, timeout
        self.state = part.with_name(f"{part.name}.json")
        self.done = 0  # bytes; -1 after an attempt that found that it must start again
        self._on_bytes, self._reported = on_bytes, 0

    def receive(self) -> bool:
        """Receive what is missing; whether all of it is there then.

        Raises:
            FormatError, OSError: as ``fetch``.
        """
        version = self._version()
        offset = self.part.stat().st_size if version and self.part.is_file() else 0
        self._move(offset)
        if version and offset and offset == version.length:
            return True
        response = self._open(version, offset)
        if response is None:
            return False
        with response:
            start, length = _range(response.status, response.headers)
            if start and (version is None or start != offset or length != version.length):
                self.forget()
                return False
            if not start:
                version = _Version(_validator(response.headers), length)
                self.state.write_text(json.dumps(version))
                self._move(0)
            whole = self._copy(response, length)
        return whole and length in (None, self.done)

    def forget(self) -> None:
        """Delete what was received."""
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        self.done = -1

    def _open(self, version: _Version | None, offset: int) -> http.client.HTTPResponse | None:
        """The response to a request for what is missing; None if it must start again."""
        request = Request(self.url, headers={"User-Agent": f"vl/{__version__}"})
        if version and offset:
            request.add_header("Range", f"bytes={offset}-")
            if version.validator:
                request.add_header("If-Range", version.validator)
        try:
            response: http.client.HTTPResponse = build_opener(_Redirects).open(
                request, timeout=self.timeout
            )
        except HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                self.forget()
                return None
            raise OSError(f"{self.url}: {error.code} {error.reason}") from error
        except URLError as error:
            raise OSError(f"{self.url}: no connection: {error.reason}") from error
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise OSError(f"{self.url}: no answer: {error or type(error).__name__}") from error
        return response

    def _copy(self, response: http.client.HTTPResponse, length: int | None) -> bool:
        """Write the body of a response until it ends, or is broken off: then False."""
        html = response.headers.get_content_type() == "text/html"
        with self.part.open("ab" if self.done else "wb") as file:
            while True:
                try:
                    block = response.read1(_BLOCK)
                except (OSError, http.client.HTTPException):
                    return False
                if self.done == 0 and (html or _PAGE.match(block)):
                    raise FormatError(self.url, "a web page, not the file")
                if self.size is not None and length not in (None, self.size):
                    raise FormatError(self.url, f"{length:,} bytes, expected {self.size:,}")
                if not block:
                    return True
                if self.size is not None and self.done + len(block) > self.size:
                    raise FormatError(self.url, f"more bytes than the expected {self.size:,}")
                try:
                    file.write(block)
                except OSError as error:  # a full disk; the error does not name the file
                    raise OSError(error.errno, error.strerror, str(self.part)) from error
                self._move(self.done + len(block))

    def _move(self, done: int) -> None:
        self.done = done
        self._on_bytes(done - self._reported)
        self._reported = done

    def _version(self) -> _Version | None:
        try:
            return _Version(*json.loads(self.state.read_text()))
        except (OSError, ValueError, TypeError):  # none, or half of one: start again
            return None


def _range(status: int, headers: http.client.HTTPMessage) -> tuple[int, int | None]:
    """The first byte of a response in the file, and the file's length if the server says it."""
    if status == http.client.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        return (int(match[1]), int(match[2])) if match else (-1, None)
    length = headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(headers: http.client.HTTPMessage) -> str:
    etag: str = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _check(url: str, part: Path, size: int | None, digest: str) -> None:
    """Check a file's size and digest."""
    if size not in (None, part.stat().st_size):
        raise FormatError(url, f"{part.stat().st_size:,} bytes, expected {size:,}")
    algorithm, _, expected = digest.partition(":")
    if not algorithm:
        return
    actual = hashlib.new(algorithm, usedforsecurity=False)
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            actual.update(block)
    if actual.hexdigest() != expected:
        problem = f"its {algorithm} is {actual.hexdigest()}, expected {expected}: another file"
        raise FormatError(url, problem)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to the web alone, and to nothing less safe than the link itself."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """The request of the new place."""
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise OSError(f"{req.full_url}: refused: it redirects to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
