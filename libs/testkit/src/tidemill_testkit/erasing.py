"""Erasures of a service that runs as a process: requested as monitor does, and what they leave."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bson import json_util

from tidemill_kit.erasure.erasures import REPORTS, REQUESTS
from tidemill_kit.erasure.events import REQUESTED
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.store.mongo import Database
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.erasure import OF_THE_KIT


def erasing_settings() -> dict[str, str]:
    """Return the settings by which a process erases what it is asked to, without waiting for long."""
    return {
        "ERASURE_RECHECK_S": "0.5",
        "ERASURE_POLL_INTERVAL_S": "0.3",
    }


async def request_erasure(stack: Addresses, project: str, scope: Scope, subject: str = "") -> str:
    """Publish monitor's event, and return the id of the erasure."""
    name, now = str(uuid4()), datetime.now(UTC)
    body = {
        "id": name,
        "project": project,
        "scope": f"ERASURE_SCOPE_{scope.value}",
        "subject": subject,
        "request_time": now.isoformat(),
        "not_before": now.isoformat(),
        "seq": "1",
    }
    event = CloudEvent(
        id=name,
        source="/tidemill/monitor",
        type=REQUESTED,
        subject=name,
        project=project,
        time=now,
        data=json.dumps(body).encode(),
        content_type="application/json",
        seq=1,
        traceparent="",
        extensions={},
    )
    publisher = Publisher(stack.kafka)
    await publisher.start()
    try:
        key = f"{project}/{name}".encode()
        await publisher.publish(OutgoingRecord(topic=REQUESTS, key=key, value=event.data, headers=to_headers(event)))
    finally:
        await publisher.stop()
    return name


async def reports_of(service: str, stack: Addresses, project: str) -> Sequence[Mapping[str, Any]]:
    """Return what a service reported of the erasures of a project; others on the same topics report theirs."""
    key = f"{project}/".encode()
    records = [record async for record in read_topic(stack.kafka, REPORTS)]
    reports = [json.loads(each.value or b"{}") for each in records if (each.key or b"").startswith(key)]
    return [each for each in reports if each["service"] == service]


def counts_of(report: Mapping[str, Any]) -> dict[str, int]:
    """Return how much of each kind was erased."""
    return {each["kind"]: int(each["count"]) for each in report["counts"]}


async def collections_with(database: Database, *words: str) -> set[str]:
    """Return the collections with a document that has one of the words; the audit trail and erasures stay."""
    found = set[str]()
    for name in await database.list_collection_names():
        if name in OF_THE_KIT:
            continue
        documents = await database[name].find({}).to_list(None)
        if any(word in json_util.dumps(documents) for word in words):
            found.add(name)
    return found


async def keys_of(store: ObjectStore, bucket: str, project: str) -> list[str]:
    """Return the keys of a project's objects."""
    return [each.key for each in await store.list(bucket, prefix=f"{project}/")]


def files_with(folder: Path, *words: str) -> set[str]:
    """Return the files and folders with one of the words, in their path or content. Blocks."""
    found = set[str]()
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        content = path.read_bytes() if path.is_file() else b""
        if any(word in name or word.encode() in content for word in words):
            found.add(name)
    return found
