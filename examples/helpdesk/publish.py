"""Publish documents and feedback as CloudEvents with a plain Kafka client, as any upstream system does.

    python publish.py --bootstrap 127.0.0.1:9092 --project acme --source https://cms.acme.example/kb < documents.jsonl

Each line of standard input is one event: {"subject": KEY, "data": {...}} upserts a document, {"subject": KEY,
"deleted": {...}} deletes it, {"subject": INFERENCE, "feedback": {...}} is feedback on an answer. The program exits at
the first line that cannot be published. Where Kafka asks who it is (SCRAM-SHA-512):
--username NAME --password-file FILE, and beyond this machine --tls.

`--key FILE` signs the events, as these shared topics require, with the file of `tidemill keys create
--publisher`: `signature` is all that there is to it.

The id identifies the event, not its content. A line with an id ("id": "...") is idempotent: publishing it again has no
effect. A line without one gets a new id, so it is a new event each time.
"""

import argparse
import asyncio
import base64
import json
import ssl
import sys
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DOCUMENTS, REACTIONS = "tidemill.ingest.submission.v1", "tidemill.feedback.submission.v1"
KINDS = {
    "data": (DOCUMENTS, "tidemill.ingest.submission.document_upserted.v1"),
    "deleted": (DOCUMENTS, "tidemill.ingest.submission.document_deleted.v1"),
    "feedback": (REACTIONS, "tidemill.feedback.submission.feedback_given.v1"),
}


async def publish(  # noqa: PLR0913 - the whole program
    lines: Iterable[str],
    *,
    login: dict[str, object],
    bootstrap: str,
    project: str,
    source: str,
    publisher: dict[str, str] | None,
) -> int:
    """Publish all lines and return the number of acknowledged events."""
    acknowledged = 0
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, **login) as producer:
        sends = [await producer.send(**record(line, project, source, publisher)) for line in lines if line.strip()]
        for send in sends:
            await send
            acknowledged += 1
    return acknowledged


def record(line: str, project: str, source: str, publisher: dict[str, str] | None = None) -> dict[str, object]:
    """Return topic, key, value and headers of an event in CloudEvents binary mode."""
    entry = json.loads(line)
    (kind,) = entry.keys() & KINDS.keys()
    topic, ce_type = KINDS[kind]
    body = json.dumps(entry[kind], ensure_ascii=False).encode()
    headers = {
        "ce_specversion": "1.0",
        "ce_id": entry.get("id") or str(uuid.uuid4()),
        "ce_type": ce_type,
        "ce_source": source,
        "ce_subject": entry["subject"],
        "ce_project": project,
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    if publisher:
        headers |= signature(publisher, body, headers)
    return {
        "topic": topic,
        "key": entry["subject"].encode(),
        "value": body,
        "headers": [(name, value.encode()) for name, value in headers.items()],
    }


def signature(publisher: dict[str, str], body: bytes, headers: dict[str, str]) -> dict[str, str]:
    """Return the headers that prove who published an event (standardwebhooks.com, with Ed25519: `v1a`)."""
    stamp = str(int(time.time()))
    lines = [headers[f"ce_{name}"] for name in ("type", "source", "subject", "project", "time")]
    content = f"{headers['ce_id']}.{stamp}.".encode() + "".join(f"{line}\n" for line in lines).encode() + body
    private = publisher["private_key"]
    key = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(private + "=" * (-len(private) % 4)))
    return {
        "webhook-id": headers["ce_id"],
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1a,{base64.b64encode(key.sign(content)).decode()}",
        "tidemill-publisher": publisher["certificate"],
    }


def login_of(username: str | None, password_file: Path | None, tls: bool) -> dict[str, object]:  # noqa: FBT001 - one call
    """Return how the client says to Kafka who it is."""
    login: dict[str, object] = {"ssl_context": ssl.create_default_context()} if tls else {}
    if not username or not password_file:
        return login | {"security_protocol": "SSL" if tls else "PLAINTEXT"}
    return login | {
        "security_protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": username,
        "sasl_plain_password": password_file.read_text().strip(),
    }


def main() -> None:
    """Publish standard input, and print the number of acknowledged events."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("bootstrap", "project", "source"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--key", default="", help="the file of a publisher's key, with which events are signed")
    given = vars(parser.parse_args())
    login = login_of(*(given.pop(name) for name in ("username", "password_file", "tls")))
    key = given.pop("key")
    publisher = json.loads(Path(key).read_text("utf-8")) if key else None
    count = asyncio.run(publish(sys.stdin, login=login, publisher=publisher, **given))
    print(json.dumps({"published": count}))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
