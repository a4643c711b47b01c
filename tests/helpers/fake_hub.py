"""A Hugging Face Hub on this machine, as far as its client needs one for models."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.file_server import running

TOKEN = "hf_token"


@dataclass
class FakeHub:
    """Models by name: files by revision; private ones want the token."""

    models: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        self._file()

    def do_POST(self) -> None:
        hub = self.server.hub
        hub.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._fail(401, "Unauthorized")
        if self.path == "/api/validate-yaml":
            return self._reply({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            values = json.loads(body)
            name = f"{values['organization']}/{values['name']}"
            status = 409 if name in hub.models else 200
            hub.models.setdefault(name, {"main": {}})
            return self._reply({"url": f"http://{self.headers['Host']}/{name}"}, status)
        match = re.fullmatch(r"/api/models/(\w+/\w+)/(preupload|commit)/(\w+)", self.path)
        assert match is not None
        name, action, revision = match.groups()
        if action == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            return self._reply({"files": [{"path": path, **mode} for path in paths]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                hub.models[name][revision][line["value"]["path"]] = content
        commit = _commit(name, revision)
        url = f"http://{self.headers['Host']}/{name}/commit/{commit}"
        return self._reply({"commitUrl": url, "commitOid": commit, "success": True})

    def _file(self) -> None:
        hub = self.server.hub
        hub.requests.append(f"{self.command} {self.path}")
        match = re.fullmatch(r"/(\w+/\w+)/resolve/(\w+)/([\w.]+)", self.path)
        name, revision, file = match.groups() if match else ("", "", "")
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in hub.models or (name in hub.private and not allowed):
            return self._fail(401, "RepoNotFound")
        by_commit = {_commit(name, branch): branch for branch in hub.models[name]}
        branch = by_commit.get(revision, revision)
        if branch not in hub.models[name]:
            return self._fail(404, "RevisionNotFound")
        commit = {"X-Repo-Commit": _commit(name, branch)}
        if file not in hub.models[name][branch]:
            return self._fail(404, "EntryNotFound", commit)
        content = hub.models[name][branch][file]
        etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return self._send(200, content, {**commit, "ETag": f'"{etag}"'})

    def _reply(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: FakeHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.daemon_threads = True


def _commit(name: str, revision: str) -> str:
    return hashlib.sha1(f"{name}@{revision}".encode(), usedforsecurity=False).hexdigest()


@contextmanager
def fake_hub(hub: FakeHub) -> Iterator[str]:
    """Serve a hub in a thread; yields its address."""
    with running(_Server(hub)) as address:
        yield address
