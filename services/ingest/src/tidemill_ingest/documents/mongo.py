"""Documents in MongoDB, and how far their sweep is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from google.protobuf.message import Message

from tidemill_core.aggregate import Event, ObjectRef
from tidemill_ingest.documents.domain.document import (
    Document,
    DocumentState,
    DocumentStep,
    Rejection,
    Step,
    TextUse,
    TextUses,
)
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.domain.version import Provenance, Text, Version
from tidemill_ingest.documents.messages import payload_of
from tidemill_ingest.documents.ports import SWEEP
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, document_id, translated

TOPIC = "tidemill.ingest.document.v1"
_TEXT_FIELDS = {"id": 1, "state.source": 1} | {
    f"state.versions.{name}": 1 for name in ("object.key", "text", "superseded_at")
}


class DocumentCodec:
    """Document <-> state; `source` and `state` are what lists are filtered by."""

    schema = 1

    def encode(self, aggregate: Document) -> dict[str, Any]:
        """See `Codec.encode`."""
        rejection = aggregate.last_rejection
        return {
            "source": aggregate.source,
            "key": aggregate.key,
            "state": aggregate.state.value,
            "revision": aggregate.revision,
            "version_count": aggregate.version_count,
            "versions": [_version_state(version) for version in aggregate.versions],
            "last_rejection": asdict(rejection) if rejection else None,
            "steps": [asdict(step) | {"happened": step.happened.value} for step in aggregate.steps],
        }

    def decode(self, identity: Identity, state: dict[str, Any], schema: int) -> Document:  # noqa: ARG002 - one so far
        """See `Codec.decode`."""
        rejection = state["last_rejection"]
        return Document(
            **identity.fields(),
            source=state["source"],
            key=state["key"],
            state=DocumentState(state["state"]),
            revision=state["revision"],
            version_count=state["version_count"],
            versions=tuple(_version(each) for each in state["versions"]),
            last_rejection=Rejection(**rejection) if rejection else None,
            steps=tuple(Step(**{**step, "happened": DocumentStep(step["happened"])}) for step in state["steps"]),
        )

    def event(self, aggregate: Document, event: Event, seq: int) -> tuple[str, Message]:
        """See `Codec.event`."""
        return payload_of(aggregate, event, seq)


class MongoOutbox:
    """Implements `ports.Outbox`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def waiting(self, project: str, document_id_: str) -> frozenset[int]:
        """See `ports.Outbox.waiting`."""
        with translated():
            found = await self._collection.find_one({"_id": document_id(project, document_id_)}, {"outbox.seq": True})
        return frozenset(entry["seq"] for entry in (found or {}).get("outbox", []))


class MongoVersionTexts:
    """Implements `ports.VersionTexts`."""

    def __init__(self, documents: Collection) -> None:
        self._documents = documents

    async def of(self, project: str, document_ids: Sequence[str]) -> Mapping[str, TextUses]:
        """See `VersionTexts.of`."""
        keys = [document_id(project, each) for each in document_ids]
        with translated():
            found = await self._documents.find({"_id": {"$in": keys}}, _TEXT_FIELDS).to_list(len(keys))
        return {
            each["id"]: TextUses(
                each["state"]["source"],
                tuple(
                    TextUse(version["object"]["key"], Text(version["text"]), version.get("superseded_at"))
                    for version in each["state"].get("versions", [])
                ),
            )
            for each in found
        }


class MongoSweepCursor:
    """Implements `ports.SweepCursor`: how far the sweep is stands beside its lease."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def position(self) -> str:
        """See `SweepCursor.position`."""
        with translated():
            found = await self._collection.find_one({"_id": SWEEP.key}, {"after": True})
        return str((found or {}).get("after", ""))

    async def advance(self, after: str, *, epoch: int) -> None:
        """See `SweepCursor.advance`."""
        with translated():
            await self._collection.update_one({"_id": SWEEP.key, "lease.epoch": epoch}, {"$set": {"after": after}})


def _version_state(version: Version) -> dict[str, Any]:
    state = asdict(version)
    provenance = state["provenance"]
    provenance["submission"]["door"] = version.provenance.submission.door.value
    # Names from outside are values here, because a field's name has no dots in it.
    state["metadata"] = _pairs(version.metadata)
    return state | {"text": version.text.value, "readers": list(version.readers)}


def _version(state: dict[str, Any]) -> Version:
    provenance = state["provenance"]
    submission = provenance["submission"]
    return Version(
        **{
            **state,
            "readers": tuple(state["readers"]),
            "metadata": dict(state["metadata"]),
            "object": ObjectRef(**state["object"]),
            "text": Text(state["text"]),
            "provenance": Provenance(
                **{
                    **provenance,
                    "masking": tuple(provenance["masking"]),
                    "steps": tuple(provenance["steps"]),
                    "submission": Submission(**{**submission, "door": SubmissionChannel(submission["door"])}),
                }
            ),
        }
    )


def _pairs(mapping: Mapping[str, Any]) -> list[list[Any]]:
    return [[name, value] for name, value in mapping.items()]
