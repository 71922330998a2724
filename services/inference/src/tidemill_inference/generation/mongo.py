"""Inferences as documents, and their retention."""

from collections.abc import Sequence

from tidemill_core.application import ResourceKey
from tidemill_inference.caching.domain.use import CacheUse
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Candidate, Part, Passage
from tidemill_inference.generation.domain.inference import Inference, State, Usage, Variant
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.domain.tools import ToolMode
from tidemill_inference.generation.messages import payload_of
from tidemill_inference.generation.ports import KeptRecords, OldRecords
from tidemill_kit.mapping import DocumentCodec, Form, as_json
from tidemill_kit.store.mongo import Collection, Document, ids_of, translated

INFERENCES = DocumentCodec(
    Inference,
    {
        Inference: Form(
            fields={"variables": as_json},  # names that MongoDB may not take
            omits={"restricted", "logprobs"},
            sparse={"alternatives", "cache", "cost", "budget_hold", "queue_wait_s", "parameters", "examples"},
        ),
        CacheUse: Form(sparse={"saved_time_s", "saved_nanos", "currency", "similarity"}),
        Candidate: Form(omits={"logprobs"}),
        Part: Form(sparse={"tool_call", "tool_result", "reasoning", "json"}),
        Usage: Form(sparse={"cached_input_tokens"}),
        Variant: Form(sparse={"provider_model", "system_fingerprint"}),
        Passage: Form(
            omits={"text"}, sparse={"places", "rerank_score"}, derived={"text": lambda _: ""}
        ),  # stored as a span, never as text
    },
    enums_by_name=(State, Purpose, RecordMode, ToolMode),
    event=payload_of,
)
"""Answers as they are stored."""

_LIMITED: Document = {"state.spec.record_days": {"$gt": 0}}


class MongoRecords:
    """Implements `ports.Records`."""

    def __init__(self, deployments: Collection, inferences: Collection) -> None:
        self._deployments = deployments
        self._inferences = inferences

    async def ensure_indexes(self) -> None:
        """Create what finds the deployments that say how long; repeating it changes nothing."""
        with translated():
            await self._deployments.create_index([("state.spec.record_days", 1)], partialFilterExpression=_LIMITED)

    async def limited(self) -> Sequence[KeptRecords]:
        """See `Records.limited`."""
        fields = {"project": True, "id": True, "state.spec.record_days": True}
        with translated():
            return [
                KeptRecords(
                    deployment=ResourceKey(project=each["project"], id=each["id"]),
                    days=each["state"]["spec"]["record_days"],
                )
                async for each in self._deployments.find(_LIMITED, fields)
            ]

    async def naming(self, project: str, document: str, *, limit: int) -> list[str]:
        """Return ids of records that say how a document is called. No index leads to them: it is asked for seldom."""
        named = [{name: {"$ne": ""}} for name in ("source", "key", "title", "uri")]
        shown: Document = {"state.passages": {"$elemMatch": {"document": document, "$or": named}}}
        with translated():
            found = self._inferences.find({**ids_of(project), **shown}, {"id": True}).limit(limit)
            return [each["id"] for each in await found.to_list(limit)]

    async def remove(self, old: OldRecords, *, limit: int) -> int:
        """See `Records.remove`. The index of the list, of the deployment or of all, leads to the oldest."""
        where: Document = {
            "project": old.project,
            "deleted": False,
            "create_time": {"$lt": old.before},
            "outbox": [],
            **({"state.deployment": old.deployment} if old.deployment else {}),
        }
        with translated():
            cursor = self._inferences.find(where, {"_id": True}).sort([("create_time", 1), ("id", 1)])
            ids = [each["_id"] for each in await cursor.limit(limit).to_list(limit)]
            removed = await self._inferences.delete_many({"_id": {"$in": ids}, "outbox": []})
        return removed.deleted_count
