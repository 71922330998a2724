"""A repository that is served by HTTP on this machine, by dulwich's server and by Git's own, where it is installed."""

import asyncio
import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

from dulwich.objects import Blob, Commit, Tag, Tree
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

from tidemill_core.origins import AllowedHosts
from tidemill_ingest.limits import OriginLimits
from tidemill_ingest.polling.domain.origin import GitOrigin, Polling
from tidemill_ingest.polling.origins import DeclaredOrigins
from tidemill_kit.runtime.operator_secrets import OperatorSecrets

R = TypeVar("R")
GIT = shutil.which("git")
_NAME = "/kb.git"


class ProcessesHere:
    """Implements `git.Processes` in threads; what goes through a real process is copied as here."""

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        assert project
        given = pickle.loads(pickle.dumps(arguments))  # noqa: S301 - of this process
        outcome: R = pickle.loads(pickle.dumps(await asyncio.to_thread(work, *given)))  # noqa: S301 - ditto
        return outcome


@dataclass
class Served:
    """A repository, and what was asked of its server."""

    repository: Repo
    folder: Path
    port: int = 0
    authorization: str = ""
    """What requests must have, where it is set."""
    answer: str = ""
    """A status that the server answers instead, where it is set."""
    asked: list[str] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        """Make a commit without parents, as a branch that was forced has."""
        store, tree = self.repository.object_store, Tree()
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            blob = Blob.from_string(content)
            store.add_object(blob)
            if not folder:
                tree.add(name.encode(), 0o100644, blob.id)
                continue
            below = Tree()
            below.add(name.encode(), 0o100644, blob.id)
            store.add_object(below)
            tree.add(folder.encode(), 0o040000, below.id)
        tree.add(b"link.md", 0o120000, Blob.from_string(b"a.md").id)
        store.add_object(Blob.from_string(b"a.md"))
        store.add_object(tree)
        made = Commit()
        made.tree, made.parents, made.message = tree.id, [], b"a change"
        made.author = made.committer = b"Ada <ada@acme.example>"
        made.author_time = made.commit_time = made.author_timezone = made.commit_timezone = 0
        store.add_object(made)
        self.repository.refs[f"refs/heads/{branch}".encode()] = made.id  # type: ignore[index] # dulwich's own type
        return made.id.decode()

    def tag(self, name: str, commit: str) -> None:
        """Make an annotated tag."""
        made = Tag()
        made.name, made.object, made.message = name.encode(), (Commit, commit.encode()), b"a version"
        made.tagger, made.tag_time, made.tag_timezone = b"Ada <ada@acme.example>", 0, 0
        self.repository.object_store.add_object(made)
        self.repository.refs[f"refs/tags/{name}".encode()] = made.id  # type: ignore[index] # ditto

    def polling(self, *, ref: str = "", path: str = _NAME, username: str = "", **rest: Any) -> Polling:  # noqa: ANN401 - handed on
        origin = GitOrigin(
            url=f"http://127.0.0.1:{self.port}{path}", ref=ref, username=username, secret="KB" if username else ""
        )
        return Polling(git=origin, **rest)

    def origins(
        self,
        *,
        secret: str = "hush",  # noqa: S107 - of the test
        max_pack_bytes: int = 1_000_000,
        max_bytes: int = 1000,
    ) -> DeclaredOrigins:
        """Return what opens it, with a secret for its host."""
        host = f"http://127.0.0.1:{self.port}"
        environment = {"INGEST_SECRET_ACME__KB": secret, "INGEST_SECRET_ACME__KB__HOSTS": host}
        return DeclaredOrigins(
            secrets=OperatorSecrets("INGEST_SECRET_", environment, None),
            allowed=AllowedHosts.of([f"127.0.0.1:{self.port}"]),
            limits=OriginLimits(max_pack_bytes=max_pack_bytes, max_bytes=max_bytes, max_objects=5, timeout_s=20),
            processes=ProcessesHere(),
            folder=self.folder / "polls",
        )


@contextmanager
def served(folder: Path, *, by: str) -> Iterator[Served]:
    """Serve an empty repository."""
    at = folder / "kb.git"
    at.mkdir()
    repository = Repo.init_bare(at)
    repository.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")  # type: ignore[arg-type] # dulwich's own type
    config = repository.get_config()
    for name in (b"allowFilter", b"allowAnySHA1InWant"):
        config.set((b"uploadpack",), name, b"true")
    config.write_to_path()
    found = Served(repository=repository, folder=folder)
    inner = (
        make_wsgi_chain(DictBackend(cast("dict[str, Any]", {_NAME: repository})))
        if by == "dulwich"
        else _backend(folder)
    )

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Any:  # noqa: ANN401 - of WSGI
        found.asked.append(environ["PATH_INFO"])
        if found.authorization and environ.get("HTTP_AUTHORIZATION") != found.authorization:
            start("401 Unauthorized", [("Content-Length", "0")])
            return []
        if found.answer:
            start(found.answer, [("Content-Length", "0"), ("Location", "http://127.0.0.1:1/elsewhere")])
            return []
        return inner(environ, start)

    server = make_server("127.0.0.1", 0, app, handler_class=_Silent)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        repository.close()


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _backend(folder: Path) -> Callable[..., Any]:
    """Return Git's own server, `git http-backend`, as an app."""
    passed = ("PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "CONTENT_TYPE")

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        variables = {
            **{name: environ.get(name, "") for name in passed},
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": environ.get("HTTP_GIT_PROTOCOL", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = environ["wsgi.input"].read(length) if length else b""
        command = [GIT or "git", "http-backend"]
        said = subprocess.run(command, input=body, env=variables, capture_output=True, check=False)  # noqa: S603 - Git itself
        head, _, rest = said.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        start(headers.pop("Status", "200 OK"), list(headers.items()))
        return [rest]

    return app
