"""How long the worst request for each repeated field of each RPC keeps the event loop of its service from its turns.

`python -m tests.bench.worst_requests [service ...]` puts each service together without its servers, sends every RPC,
for each path to a repeated field in its request, as many items as `MAX_REQUEST_ITEMS` allows, once empty and once
short, and prints what took longer than 20 ms. What comes before the first store is all that is measured.
"""

import asyncio
import importlib
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tidemill_client.connection import SERVICES
from tidemill_kit.grpc.server import GrpcServer
from tidemill_testkit.access import access_of, admin_headers, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.loop_lag import loop_lag

if TYPE_CHECKING:
    from tidemill_kit.runtime.settings import ServiceSettings

DEPTH = 5
ACME = tuple(admin_headers("acme").items())
SHOWN_S = 0.02
GIVEN: dict[str, object] = {
    "grpc_port": 0,
    "access_issuers": (installation().setting,),
    "http_port": 0,
    "kafka_bootstrap_servers": "127.0.0.1:1",
    "mongo_uri": "mongodb://127.0.0.1:1",
    "s3_endpoint": "127.0.0.1:1",
    "s3_access_key": "key",
    "s3_secret_key": "secret",
    "dependency_timeout_s": 0.1,
    **{f"{name}_address": "127.0.0.1:1" for name in SERVICES},
}
Path_ = tuple[FieldDescriptor, ...]


def paths(kind: Descriptor, before: Path_ = ()) -> Iterator[Path_]:
    """Yield the ways to the repeated fields of a message."""
    for field in kind.fields:
        way = (*before, field)
        if field.is_repeated:
            yield way
        if field.message_type is not None and len(way) < DEPTH and not field.message_type.GetOptions().map_entry:
            yield from paths(field.message_type, way)


def fill(message: Message, way: Path_, count: int, text: str) -> None:
    """Give the field at the end of a way so many items, and those before it one."""
    field, rest = way[0], way[1:]
    place: Any = getattr(message, field.name)
    if rest:
        inner = place.add() if field.is_repeated else place
        inner.SetInParent()
        fill(inner, rest, count, text)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        for number in range(count):
            _put(place, field.message_type, number, text)
    elif field.message_type is not None:
        item = message_factory.GetMessageClass(field.message_type)
        place.extend(item() for _ in range(count))
    else:
        place.extend(itertools.repeat(text if field.type == FieldDescriptor.TYPE_STRING else 0, count))


def _put(place: Any, entry: Descriptor, number: int, text: str) -> None:  # noqa: ANN401 - a map of any kind
    kind = entry.fields_by_name["value"]
    if kind.message_type is not None:
        place[f"{text}{number}"].SetInParent()
    else:
        place[f"{text}{number}"] = text if kind.type == FieldDescriptor.TYPE_STRING else 0


async def measure(service: str) -> None:
    """Print the slowest requests of a service."""
    package = f"tidemill_{service}"
    settings_module = importlib.import_module(f"{package}.settings")
    kind: type[ServiceSettings] = getattr(settings_module, f"{service.capitalize()}Settings")
    with tempfile.TemporaryDirectory() as folder:
        given: Any = GIVEN | {"data_dir": Path(folder)}
        settings = kind(**given)
        build = importlib.import_module(f"{package}.app").build_app
        app = await (build(settings, environment={}) if service == "inference" else build(settings))
        server = GrpcServer(settings, app.servicers, access=access_of(), audit=RecordedCalls())
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                for _, servicer in app.servicers:
                    await _measure_rpcs(service, servicer, channel, settings.max_request_items)
        finally:
            await server.stop(0)


async def _measure_rpcs(service: str, servicer: object, channel: grpc.aio.Channel, count: int) -> None:
    pool = descriptor_pool.Default()
    contract = next(base for base in type(servicer).__mro__ if base.__module__.endswith("_pb2_grpc"))
    found = pool.FindServiceByName(f"tidemill.{service}.v1.{contract.__name__.removesuffix('Servicer')}")
    for method in found.methods:
        for way in paths(method.input_type):
            for text in ("", "x"):
                request = message_factory.GetMessageClass(method.input_type)()
                fill(request, way, count - len(way), text)
                raw = request.SerializeToString()
                call: Any = channel.stream_stream if method.client_streaming else channel.unary_stream
                made = call(f"/{found.full_name}/{method.name}")
                sent = iter([raw]) if method.client_streaming else raw
                code = grpc.StatusCode.OK
                async with loop_lag() as lag:
                    try:
                        async for _ in made(sent, timeout=2, metadata=ACME):
                            pass
                    except grpc.aio.AioRpcError as error:
                        code = error.code()
                if lag.worst_s > SHOWN_S:
                    name = ".".join(field.name for field in way)
                    print(f"{lag.worst_s * 1000:5.0f} ms {method.name} {name} {text!r} {len(raw)} bytes: {code.name}")  # noqa: T201 - a bench


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for each in sys.argv[1:] or SERVICES:
        print(each)  # noqa: T201 - a bench
        asyncio.run(measure(each))
