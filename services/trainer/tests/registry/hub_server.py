"""A local server with the part of the Hugging Face hub's HTTP API that downloads use."""

import hashlib
import json
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

INFO = re.compile(r"/api/models/(?P<repository>[^?]+)/revision/(?P<revision>[^?/]+)")
FILE = re.compile(r"/(?P<repository>[^?]+)/resolve/(?P<commit>[0-9a-f]{40})/(?P<path>[^?]+)")
STORED = re.compile(r"/stored/(?P<commit>[0-9a-f]{40})/(?P<path>[^?]+)")


@dataclass(kw_only=True)
class HubServer:
    """Weights have a sha256 and are served by redirect, as large files of the hub; other files have a blob id."""

    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Path and range of every request for bytes."""
    breaks_after: dict[str, int] = field(default_factory=dict)
    """Path -> bytes sent, once, before the connection breaks."""
    stalls_after: dict[str, int] = field(default_factory=dict)
    """Path -> bytes sent, once, before the connection stalls."""
    replaced: dict[str, bytes] = field(default_factory=dict)
    """Path -> bytes that differ from the announced ones."""
    status: int = 0
    """Status of every response, unless 0."""
    token: str = ""
    """The required token, unless empty."""
    storage: str = ""
    """Where weights are redirected to, unless it is this server."""
    credentials: list[str] = field(default_factory=list)
    """The Authorization of every request."""

    def __enter__(self) -> Self:
        hub = self
        self._stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, repository: str, commit: str, files: dict[str, bytes], *, branch: str = "main") -> None:
        self.branches[repository, branch] = commit
        self.commits[commit] = files

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.credentials.append(request.headers.get("authorization", ""))
        if self.status or (self.token and request.headers.get("authorization") != f"Bearer {self.token}"):
            _reply(request, self.status or 401, b"{}")
        elif info := INFO.match(request.path):
            self._info(request, info["repository"], info["revision"])
        elif (found := FILE.match(request.path)) and found["path"].endswith(".safetensors"):
            request.send_response(302)
            request.send_header("location", f"{self.storage or self.endpoint}/stored/{found['commit']}/{found['path']}")
            request.send_header("content-length", "0")
            request.end_headers()
        elif found := found or STORED.match(request.path):
            self._bytes(request, found["path"], self.commits[found["commit"]][found["path"]])
        else:
            _reply(request, 404, b"{}")

    def _info(self, request: BaseHTTPRequestHandler, repository: str, revision: str) -> None:
        known = {name for name, _ in self.branches}
        commit = revision if revision in self.commits else self.branches.get((repository, revision), "")
        if repository not in known or not commit:
            error = "RevisionNotFound" if repository in known else "RepoNotFound"
            _reply(request, 404, b"{}", {"x-error-code": error})
            return
        siblings = [_announced(path, content) for path, content in self.commits[commit].items()]
        listed = {} if "expand%5B%5D=sha" in request.path else {"siblings": siblings}
        _reply(request, 200, json.dumps({"id": repository, "sha": commit, **listed}).encode())

    def _bytes(self, request: BaseHTTPRequestHandler, path: str, content: bytes) -> None:
        self.requests.append(f"{path} {request.headers.get('range', '')}".strip())
        content = self.replaced.get(path, content)
        begin = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        request.send_response(206 if begin else 200)
        request.send_header("content-length", str(len(content) - begin))
        request.end_headers()
        end = begin + self.breaks_after.pop(path, len(content))
        with suppress(ConnectionError):  # a client may leave at any point
            if stalled := self.stalls_after.pop(path, 0):
                request.wfile.write(content[begin : begin + stalled])
                self._stopping.wait()
                return
            request.wfile.write(content[begin:end])
        request.close_connection = True


def _announced(path: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if path.endswith(".safetensors"):
        sha256 = hashlib.sha256(content).hexdigest()
        lfs = {"sha256": sha256, "size": len(content), "pointerSize": 130}
        return {"rfilename": path, "size": len(content), "blobId": "0" * 40, "lfs": lfs}
    return {"rfilename": path, "size": len(content), "blobId": blob}


def _reply(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
