import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from services.inference.tests.engines.names import Names
from services.inference.tests.engines.openai_server import GOOD, WORDS, openai_server, streams
from services.inference.tests.engines.operator_keys import OperatorKeys
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed, TidemillError
from tidemill_core.origins import AllowedHosts, Origin
from tidemill_inference.engines.openai import OpenAiEngine
from tidemill_inference.engines.ports import Piece, Prompt, RemoteModel
from tidemill_inference.engines.remote import Keys, RemoteEngines, RemoteOptions
from tidemill_inference.errors import AddressRefused
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_kit.outgoing.resolver import SystemResolver

ASKED = (Message.of(Role.USER, "What does os.walk do?"),)
HERE = RemoteOptions(allowed=AllowedHosts.of(["127.0.0.1"]), stall_s=2)


@asynccontextmanager
async def engines(
    options: RemoteOptions = HERE, *, secrets: Keys | None = None, resolve: Names | None = None
) -> AsyncIterator[RemoteEngines]:
    made = RemoteEngines(secrets or OperatorKeys(), options, resolve=resolve)
    try:
        yield made
    finally:
        await made.close()


async def asked(made: RemoteEngines, model: RemoteModel, *, project: str = "acme") -> str:
    async with made.use(project, model) as engine:
        return await said(engine)


async def said(engine: OpenAiEngine) -> str:
    pieces = engine.generate(Prompt(messages=ASKED), timeout_s=5)
    return "".join([piece.text async for piece in pieces if isinstance(piece, Piece)])


class Listener:
    """Counts the bytes that arrive at a port of loopback."""

    def __init__(self) -> None:
        self.received = b""
        self.connections = 0
        self.port = 0

    async def taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.received += await reader.read(65536)
        writer.close()


@asynccontextmanager
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    server = await asyncio.start_server(made.taken, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def test_an_address_of_the_attacker_gets_not_a_byte_of_a_foreign_key(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "FILE").write_text("sk-CANARY")
    (tmp_path / "acme" / "FILE.hosts").write_text("https://api.openai.com")
    environment = {"INFERENCE_SECRET_ACME__KEY": "sk-CANARY", "INFERENCE_SECRET_ACME__KEY__HOSTS": "api.openai.com"}
    async with listener() as evil, engines(secrets=OperatorKeys(environment, tmp_path)) as made:
        for base in ("http://127.0.0.1:{}/v1", "http://127.0.0.1:{}/api.openai.com", "http://LOCALHOST:{}"):
            for project in ("acme", "globex", "globex/../acme"):
                for name in ("KEY", "FILE", "ACME__KEY", "../acme/FILE", "FILE.hosts"):
                    model = RemoteModel(model="gpt", base_url=base.format(evil.port), secret=name)
                    with pytest.raises((SecretMissing, AddressRefused)):
                        await asked(made, model, project=project)

    assert evil.received == b""


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "0.0.0.1", "[::]", "10.0.0.1", "169.254.169.254", "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]", "inner.example", "224.0.0.1", "100.64.0.1", "[fd00::1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_inner_address_is_not_even_connected_to(host: str, scheme: str) -> None:
    options = RemoteOptions(stall_s=2)
    async with listener() as inner, engines(options, resolve=Names("127.0.0.1")) as made:
        with pytest.raises((DependencyUnavailable, AddressRefused)):
            await asked(made, RemoteModel(model="gpt", base_url=f"{scheme}://{host}:{inner.port}/v1"))

    assert inner.connections == 0


async def test_a_refused_address_reads_like_one_without_a_server() -> None:
    reported = set()
    options = RemoteOptions(stall_s=2)
    for address in ("10.0.0.1", "2001:db8::1", "127.0.0.1"):
        async with engines(options, resolve=Names(address)) as made:
            with pytest.raises(DependencyUnavailable) as refused:
                await asked(made, RemoteModel(model="gpt", base_url="https://name.example/v1"))
        reported.add((refused.value.message, str(refused.value.metadata)))

    assert len(reported) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_neither_with_a_body_nor_with_a_key(status: int) -> None:
    environment: dict[str, str] = {"INFERENCE_SECRET_ACME__KEY": "sk-CANARY"}
    async with listener() as inner:

        async def away(_request: Request) -> Response:
            return RedirectResponse(f"http://127.0.0.1:{inner.port}/internal", status)

        async with openai_server(away) as server:
            environment["INFERENCE_SECRET_ACME__KEY__HOSTS"] = server.url
            async with engines(secrets=OperatorKeys(environment, None)) as made:
                with pytest.raises(DependencyUnavailable, match=str(status)):
                    await asked(made, RemoteModel(model="gpt", base_url=server.url, secret="KEY"))  # noqa: S106

    assert server.keys == ["Bearer sk-CANARY"]
    assert inner.connections == 0


async def test_without_tls_a_host_has_to_be_named_by_the_operator() -> None:
    async with engines(RemoteOptions()) as made:
        with pytest.raises(AddressRefused, match="INFERENCE_REMOTE_HOSTS"):
            await made.check("acme", RemoteModel(model="gpt", base_url="http://api.example/v1"))
        await made.check("acme", RemoteModel(model="gpt", base_url="https://api.example/v1"))


async def test_a_changed_key_is_sent_with_the_next_request(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    async with openai_server(streams(*GOOD)) as server, engines(secrets=OperatorKeys({}, tmp_path)) as made:
        (tmp_path / "acme" / "KEY.hosts").write_text(server.url)
        model = RemoteModel(model="gpt", base_url=server.url, secret="KEY")  # noqa: S106 - a name
        for value in ("sk-1", "sk-2"):
            (tmp_path / "acme" / "KEY").write_text(value)
            assert await asked(made, model) == "".join(WORDS)

    assert server.keys == ["Bearer sk-1", "Bearer sk-2"]


class Changing:
    """Implements `Keys`: one key, which a test changes or takes away."""

    def __init__(self, value: str) -> None:
        self.value = value

    async def key_for(self, project: str, name: str, *, origin: Origin) -> SecretStr:
        await asyncio.sleep(0)
        if not self.value:
            raise SecretMissing(name, project=project, origin=str(origin), variable="")
        return SecretStr(self.value)


async def test_the_client_of_a_superseded_key_is_let_go_after_its_last_request() -> None:
    keys = Changing("sk-1")
    async with openai_server(streams(*GOOD)) as server, engines(secrets=keys) as made:
        model = RemoteModel(model="gpt", base_url=server.url, secret="KEY")  # noqa: S106 - a name
        async with made.use("acme", model) as before:
            keys.value = "sk-2"
            assert await asked(made, model) == "".join(WORDS)
            assert await said(before) == "".join(WORDS)  # a request that runs is not broken off
        with pytest.raises(DependencyUnavailable, match="cannot be reached"):
            await said(before)
        assert len(made._clients) == 1  # noqa: SLF001 - told nowhere else
        keys.value = ""
        with pytest.raises(SecretMissing):
            await asked(made, model)
        assert not made._clients  # noqa: SLF001 - ditto

    assert server.keys == ["Bearer sk-2", "Bearer sk-1"]


async def test_clients_that_are_unused_are_let_go_and_those_in_use_stay() -> None:
    options = RemoteOptions(allowed=HERE.allowed, stall_s=2, max_clients=3)
    async with openai_server(streams(*GOOD)) as server, engines(options) as made:
        async with made.use("acme", RemoteModel(model="first", base_url=server.url)) as first:
            for number in range(20):
                await asked(made, RemoteModel(model=f"m{number}", base_url=server.url))
            assert await said(first) == "".join(WORDS)
        assert len(made._clients) == 3  # noqa: SLF001 - told nowhere else


async def endless(_request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"data: " + b"x" * 65536
            await asyncio.sleep(0)

    return StreamingResponse(body(), 200)


async def failing_without_end(_request: Request) -> Response:
    response = await endless(_request)
    response.status_code = 500
    return response


async def of_too_many_parts(_request: Request) -> Response:
    return Response(b'data: {"choices":[' + b"{}," * 40_000 + b'{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


async def packed(_request: Request) -> Response:
    return Response(gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})


@pytest.mark.parametrize("answer", [endless, failing_without_end, of_too_many_parts, packed])
async def test_an_answer_that_would_fill_the_memory_is_broken_off(answer: object) -> None:
    async with openai_server(answer) as server, engines() as made:  # type: ignore[arg-type] # one of three handlers
        with pytest.raises(TidemillError):
            await asked(made, RemoteModel(model="gpt", base_url=server.url))


async def test_what_a_caller_can_fix_is_said_to_every_caller() -> None:
    async def unknown(_request: Request) -> Response:
        await asyncio.sleep(0)
        return PlainTextResponse("?", 404)

    async with openai_server(unknown) as server, engines() as made:
        with pytest.raises(PreconditionFailed, match="has no model gpt"):
            await asked(made, RemoteModel(model="gpt", base_url=server.url))


async def test_names_that_take_long_keep_a_project_from_its_own_look_ups_only(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slowly(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host == "slow.evil":
            gate.wait(30)
        return [(2, 1, 6, "", ("8.8.8.8", port))]

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    resolve = SystemResolver()
    try:
        for _ in range(8):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(resolve("evil", "slow.evil", 443), 0.01)  # the caller has left
        async with asyncio.timeout(20):
            assert [str(each) for each in await resolve("acme", "api.example", 443)] == ["8.8.8.8"]
    finally:
        gate.set()
        resolve.close()


async def test_unused_clients_go_with_their_secret_and_with_their_project() -> None:
    keys = Changing("sk-1")
    async with openai_server(streams(*GOOD)) as server, engines(secrets=keys) as made:
        model = RemoteModel(model="gpt", base_url=server.url, secret="KEY")  # noqa: S106 - a name
        open_model = RemoteModel(model="gpt", base_url=server.url)
        await asked(made, model)
        await asked(made, open_model, project="globex")
        await made.recheck()
        assert made.projects == {"acme", "globex"}

        keys.value = ""
        await made.recheck()
        assert made.projects == {"globex"}
        keys.value = "sk-2"
        await asked(made, model)
        keys.value = "sk-3"
        async with made.use("acme", model):
            keys.value = "sk-4"
            await made.recheck()
            assert made.projects == {"acme", "globex"}, "one in use goes with its request"
        await made.recheck()
        assert made.projects == {"globex"}

        async with made.use("globex", open_model) as engine:
            assert await made.forget("globex") == 1
            assert await said(engine), "what is being asked is answered"
        assert made.projects == set()
        assert await made.forget("globex") == 0
