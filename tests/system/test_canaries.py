"""A secret, an API key and the text of a document go through a running stack: none is left where it does not belong."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.system.places import CLOCKS_S, Places, forms, hits, kinds
from tests.system.random_model import write_example
from tests.system.running import Platform, wait_until
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_client.connection import Connection
from tidemill_client.tidemill import Tidemill
from tidemill_testkit.stack import unique_name

NAME = "CANARY_KEY"
TEXT_BELONGS = {
    "files": ("data/rag/vectors/", "data/s3/tidemill-ingest-"),
    "objects": ("tidemill-ingest-exchange", "tidemill-ingest-quarantine"),
}
"""Where the text of a document may stand, by kind of place: in ingest's buckets and in the chunks of rag."""
KNOWN = {
    "logs": "rpc_finished",
    "topics": "tidemill.ingest.document.ingested.v1",
    "databases": NAME,
    "metrics": "tidemill_",
    "processes": "tidemill_inference",
}
"""What is known to be there, by kind of place; of the others, which are larger, the names are."""
Found = Mapping[str, Mapping[str, set[str]]]
"""By kind of place and text: where it stands; "" stands everywhere."""


class Provider:
    """A provider of models on loopback: it refuses the first call, repeating the key, and answers later ones."""

    def __init__(self) -> None:
        self.received: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                key = self.headers.get("authorization", "")
                self.rfile.read(int(self.headers.get("content-length", 0)))
                provider.received.append(key)
                if len(provider.received) == 1:
                    provider.reply(self, 401, "application/json", json.dumps({"error": {"message": f"bad key {key}"}}))
                    return
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                events = [
                    {**chunk, "choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": None}]},
                    {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                ]
                body = "".join(f"data: {json.dumps(each)}\n\n" for each in events) + "data: [DONE]\n\n"
                provider.reply(self, 200, "text/event-stream", body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @staticmethod
    def reply(request: BaseHTTPRequestHandler, status: int, media_type: str, body: str) -> None:
        request.send_response(status)
        request.send_header("content-type", media_type)
        request.send_header("content-length", str(len(body)))
        request.send_header("connection", "close")
        request.end_headers()
        request.wfile.write(body.encode())
        request.close_connection = True


@dataclass(kw_only=True)
class Spread:
    """What went through the stack, and what its users were shown of it."""

    secret: str
    key: str
    text: str
    document: str
    provider: Provider
    since: float
    """Before it was made."""
    shown: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def spread(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spread]:
    """Have a stack take in a secret, an API key and a document, use each, well and badly, and show all it has."""
    given = Platform(platform.folder, platform.addresses, unique_name("canaries"))
    provider, since = Provider(), time.time() - CLOCKS_S
    _, key = given.api_key("admin")
    made = Spread(
        secret=f"sk-{uuid4().hex}{uuid4().hex}",
        key=key,
        text=f"The heliotrope {uuid4().hex} turns towards the sun in nine minutes.",
        document=f"{unique_name('flower')}.txt",
        provider=provider,
        since=since,
    )
    loop = write_example(tmp_path_factory.mktemp("loop"))
    try:
        add_document(given, made, loop, tmp_path_factory.mktemp("canaries"))
        set_secret(given, made)
        asyncio.run(deploy(given, made))
        ask(given, made)
        read_everything(given, made, loop)
        yield made
    finally:
        provider.server.shutdown()


def add_document(platform: Platform, made: Spread, loop: Path, folder: Path) -> None:
    applied = platform.tidemill("apply", "-f", str(loop), "--json")
    assert applied.code == 0, applied.output + applied.errors
    (folder / made.document).write_text(made.text)
    added = platform.tidemill("documents", "add", str(folder), "--recursive", "--below", str(folder), "--json")
    assert added.code == 0, added.output + added.errors


def set_secret(platform: Platform, made: Spread) -> None:
    """Set the secret by the command, well and in each way that is refused."""
    host = made.provider.url.removesuffix("/v1")
    for hosts, value in ((host, made.secret), ("https://evil.example", made.secret), (host, f"{made.secret} ")):
        done = platform.tidemill("secrets", "set", NAME, "--host", hosts, piped=value)
        made.shown.append(done.output + done.errors)
    assert [each for each in made.shown if NAME in each], made.shown


async def deploy(platform: Platform, made: Spread) -> None:
    """Deploy a remote model that is called with the secret, and wait for the document."""
    async with Tidemill(platform.project, platform.addresses) as tidemill:
        await tidemill.models.import_openai("canary", "m", base_url=made.provider.url, api_key_secret=NAME)
        prompt = (await tidemill.deployments.get("helpdesk")).prompt
        await tidemill.deployments.create(Deployment(id="canary", model="canary", prompt=prompt))
    async with Connection(platform.project, platform.addresses) as connection:

        async def found() -> bool:
            request = SearchRequest(collection="handbook", query="heliotrope", top_k=1)
            return bool((await connection.retrieval.Search(request)).passages)

        await wait_until(found, "the document to be found")


def ask(platform: Platform, made: Spread) -> None:
    """Ask by HTTP with the key: the remote model, a local one, and with a key that was cut."""
    for model, credential in (("canary", made.key), ("canary", made.key), ("helpdesk", made.key), ("x", made.key[:-8])):
        answer = httpx.post(
            f"http://{platform.addresses.http}/v1/chat/completions",
            headers={"Authorization": f"Bearer {credential}"},
            json={"model": model, "messages": [{"role": "user", "content": "What turns towards the sun?"}]},
            timeout=120,
        )
        made.shown.append(answer.text)


def read_everything(platform: Platform, made: Spread, loop: Path) -> None:
    """Have everything shown that could show a secret or a key."""
    for command in (
        "secrets list --json", "keys list --json", "models show canary@1 --json", "deployments list --json",
        "inferences list --json", "status --json", f"diff -f {loop} --json",
    ):  # fmt: skip
        done = platform.tidemill(*command.split())
        made.shown.append(done.output + done.errors)


@pytest.fixture(scope="module")
def found(platform: Platform, spread: Spread) -> Found:
    """Give where each of the texts stands, by kind of place: all places are read once for all of them."""
    texts = spread.secret, signature_of(spread.key), spread.text
    held = kinds(Places(platform.folder, spread.since))
    return {kind: hits(each, *texts, KNOWN.get(kind, "")) for kind, each in held.items()}


def signature_of(key: str) -> str:
    """Return the part of a key's signature that is in one that was cut, too."""
    return key.rpartition(".")[2][:40]


def test_the_secret_was_used_and_is_left_nowhere(spread: Spread, found: Found) -> None:
    assert f"Bearer {spread.secret}" in spread.provider.received
    assert len(spread.provider.received) > 1, "refused once, then answered"
    assert spread.secret not in "".join(spread.shown)
    for kind, places in found.items():
        assert places[spread.secret] == set(), kind


def test_the_api_key_was_used_and_is_left_nowhere(spread: Spread, found: Found) -> None:
    signature = signature_of(spread.key)
    assert signature not in "".join(spread.shown)
    for kind, places in found.items():
        assert places[signature] == set(), kind


def test_the_text_of_a_document_stands_only_where_it_belongs(spread: Spread, found: Found) -> None:
    for kind, places in found.items():
        elsewhere = {each for each in places[spread.text] if not each.startswith(TEXT_BELONGS.get(kind, ()))}
        assert elsewhere == set(), kind


def test_each_place_is_really_searched(spread: Spread, found: Found) -> None:
    """Of each place something is known to be there: a search that cannot find it finds no canary either."""
    for kind, text in {**KNOWN, "objects": spread.text}.items():
        assert found[kind][text], kind
    assert {"config/access/secrets.keys", "stack.json"} <= found["files"][""]


def test_a_leak_is_found_in_every_form(tmp_path: Path) -> None:
    """Left on purpose: in a log, in base64 within other text, in hexadecimal, and on a command line."""
    canary = f"sk-{uuid4().hex}"
    (tmp_path / "logs").mkdir()
    for number, form in enumerate(forms(f"Bearer {canary} and more")):
        (tmp_path / "logs" / f"{number}.log").write_bytes(b"before " + form + b" behind")
    found = hits(Places(tmp_path).logs(), canary)[canary]
    assert {"0.log", "1.log"} <= found
    assert len(found) >= len(forms(canary)) - 2
    sleeper = subprocess.Popen(["/bin/sleep", "60"], env={"KEY": canary, "FOLDER": str(tmp_path)})
    try:
        assert hits(Places(tmp_path).processes(), canary)[canary]
    finally:
        sleeper.kill()
        sleeper.wait()
