"""Batches of curations, and parts of dataset versions, in an S3 store."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC

from google.protobuf.json_format import MessageToDict, Parse, ParseError

from tidemill.feedback.v1.curation_pb2 import EXAMPLE_KIND_PREFERENCE, EXAMPLE_KIND_UNPAIRED_PREFERENCE
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Page, ResourceKey
from tidemill_core.errors import InvalidInput, NotFound, TidemillError, Violation
from tidemill_ingest.datasets.domain.example import CitedPassage, Example
from tidemill_ingest.datasets.domain.parts import canonical, context_of, text_of
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.datasets.domain.version import Batch
from tidemill_ingest.datasets.ports import ErasedSubject, LeftOfPart, StoredPart
from tidemill_ingest.errors import BatchUnusable
from tidemill_ingest.limits import Limits
from tidemill_ingest.listed_objects import ListedObjects
from tidemill_kit.store.objects import ExchangeBucket, ObjectDamaged

_JSON_LINES = "application/jsonl"
_PAGE = 1000
_AFTER_DIGESTS = "~"


class FeedbackBatches:
    """Implements `ports.Batches` on feedback's exchange bucket."""

    def __init__(self, store: ListedObjects, bucket: str, *, limits: Limits) -> None:
        self._bucket = bucket
        self._exchange = ExchangeBucket(store, bucket)
        self._limits = limits

    def check(self, project: str, batch: Batch) -> None:
        """See `ports.Batches.check`."""
        ref, limits = batch.object, self._limits
        violations = []
        if ref.bucket != self._bucket:
            violations.append(Violation("batch.bucket", f"is {ref.bucket[:80]!r}, not {self._bucket}"))
        if not ref.key.startswith(f"{project}/") or not ref.key.endswith(f"/{ref.sha256}") or not ref.sha256:
            text = f"is {ref.key[:200]!r}, and does not begin with the project and end with the sha256"
            violations.append(Violation("batch.key", text))
        if not 0 <= ref.size <= limits.batch_bytes:
            violations.append(Violation("batch.size", f"is {ref.size}, and {limits.batch_bytes} bytes is the limit"))
        if not 0 <= batch.examples <= limits.batch_examples:
            text = f"is {batch.examples}, and {limits.batch_examples} is the limit"
            violations.append(Violation("batch.examples", text))
        if violations:
            raise InvalidInput.of(*violations)

    async def read(self, batch: Batch) -> Sequence[Example]:
        """See `ports.Batches.read`."""
        try:
            data = await self._exchange.get(batch.object)
        except NotFound as error:
            message = "the batch is not in feedback's exchange bucket any more"
            raise BatchUnusable(reason="BATCH_GONE", message=message) from error
        except ObjectDamaged as error:
            message = "the batch does not have the announced size and sha256"
            raise BatchUnusable(reason="BATCH_DAMAGED", message=message) from error
        examples = await asyncio.to_thread(examples_of, data)
        if len(examples) != batch.examples:
            message = f"the batch has {len(examples)} examples, but {batch.examples} were announced"
            raise BatchUnusable(reason="BATCH_INVALID", message=message)
        if len({each.id for each in examples}) != len(examples):
            message = "two examples of the batch have the same id"
            raise BatchUnusable(reason="BATCH_INVALID", message=message)
        return examples


class DatasetParts:
    """Implements `ports.Parts`: key `<project>/<dataset>/<sha256>`."""

    def __init__(self, store: ListedObjects, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._exchange = ExchangeBucket(store, bucket)

    async def put_part(self, name: ResourceKey, lines: bytes) -> ObjectRef:
        """See `ports.Parts.put_part`."""
        return await self._exchange.put(name.project, name.id, lines, media_type=_JSON_LINES)

    async def split(self, ref: ObjectRef) -> Split:
        """See `ports.Parts.split`."""
        read = await asyncio.to_thread(json.loads, await self._exchange.get(ref))
        return Split(train=frozenset(read["train"]), held_out=frozenset(read["held_out"]), held_out_debt=read["owed"])

    async def lines(self, ref: ObjectRef) -> bytes:
        """See `ports.Parts.lines`."""
        return await self._exchange.get(ref)

    async def examples(self, ref: ObjectRef) -> Sequence[Example]:
        """See `ports.Parts.examples`."""
        return await asyncio.to_thread(examples_of, await self._exchange.get(ref))

    async def delete(self, keys: Sequence[str]) -> None:
        """See `ports.Parts.delete`."""
        for key in keys:
            await self._store.delete(self._bucket, key)

    async def of_dataset(self, name: ResourceKey) -> Sequence[StoredPart]:
        """See `ports.Parts.of_dataset`."""
        found = self._store.scan(self._bucket, prefix=f"{name.project}/{name.id}/")
        return [StoredPart(key=each.key, stored_at=each.modified_at) async for each in found]

    async def datasets_of(self, project: str) -> Sequence[ResourceKey]:
        """See `ports.Parts.datasets_of`."""
        ids = {each.key.split("/", 2)[1]: None async for each in self._store.scan(self._bucket, prefix=f"{project}/")}
        return [ResourceKey(project=project, id=each) for each in ids]

    async def left_without(self, key: str, subject: ErasedSubject) -> LeftOfPart | None:
        """See `ports.Parts.left_without`."""
        try:
            data = await self._store.get(self._bucket, key)
        except NotFound:
            return None
        return await asyncio.to_thread(_left_without, data, subject)

    async def pending(self, token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:  # noqa: ARG002 - all are read
        """Return the datasets that have objects, for the sweep. Implements `controller.Pending`."""
        names: list[ResourceKey] = []
        async for each in self._store.scan(self._bucket, after=token):
            project, dataset, _ = each.key.split("/", 2)
            name = ResourceKey(project=project, id=dataset)
            if names and name == names[-1]:
                continue
            if len(names) == _PAGE:
                return Page(items=names, next_token=f"{names[-1].key}/{_AFTER_DIGESTS}")
            names.append(name)
        return Page(items=names)


def examples_of(data: bytes) -> list[Example]:
    """Return the examples of JSON lines, each a feedback.v1.Example; fields that are unknown here are left out.

    Raises:
        BatchUnusable: naming the line.

    """
    found = []
    # By line feeds alone: other separators may stand unescaped in a JSON string.
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                found.append(_example(line))
            except (ParseError, ValueError, RecursionError) as error:
                raise _invalid(number, "is no Example as JSON") from error
            except TidemillError as error:
                raise _invalid(number, error.message) from error
    return found


def _left_without(data: bytes, subject: ErasedSubject) -> LeftOfPart | None:
    if not _may_hold(data, subject):
        return None
    lines = [line for line in data.split(b"\n") if line.strip()]
    left = [line for line in lines if not _is_of(line, subject)]
    if len(left) == len(lines):
        return None
    return LeftOfPart(lines=b"".join(line + b"\n" for line in left), examples=len(left), erased=len(lines) - len(left))


def _may_hold(data: bytes, subject: ErasedSubject) -> bool:
    """Return whether a part, or a line of it, may have what names the subject: JSON text as `canonical` writes it."""
    return json.dumps(subject.document or subject.end_user, ensure_ascii=False).encode() in data


def _is_of(line: bytes, subject: ErasedSubject) -> bool:
    if not _may_hold(line, subject):
        return False
    example = json.loads(line)
    if subject.end_user:
        return subject.end_user in {example.get("end_user"), example.get("asked_by")}
    return any(passage.get("document") == subject.document for passage in example.get("passages", ()))


def _example(line: bytes) -> Example:
    message = ExampleMessage()
    Parse(line, message, ignore_unknown_fields=True)
    written = MessageToDict(message, preserving_proto_field_name=True)
    written.pop("change_time", None)
    changed = message.change_time if message.HasField("change_time") else message.observe_time
    example = Example(
        id=message.id,
        end_user=message.end_user,
        asked_by=message.asked_by,
        question=message.question,
        answer=text_of(written.get("output", {})),
        passages=tuple(CitedPassage(document=each.document, version=each.version) for each in message.passages),
        observed_at=message.observe_time.ToDatetime(tzinfo=UTC),
        changed_at=changed.ToDatetime(tzinfo=UTC),
        line=canonical(written),
        context=context_of(written),
        rejected=text_of(written.get("rejected", {})),
        good=message.label or not message.HasField("label"),
    )
    said = {"id": example.id, "question": example.question, "output": example.answer}
    if message.kind == EXAMPLE_KIND_PREFERENCE:
        said["rejected"] = example.rejected
    if message.kind == EXAMPLE_KIND_UNPAIRED_PREFERENCE and not message.HasField("label"):
        said["label"] = ""
    for name, value in said.items():
        if not value.strip():
            raise InvalidInput.at(field=name, text="is empty")
    return example


def _invalid(number: int, what: str) -> BatchUnusable:
    return BatchUnusable(reason="BATCH_INVALID", message=f"line {number} of the batch {what}")
