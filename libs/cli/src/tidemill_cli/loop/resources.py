"""Maps sections of loop.yaml to protobuf messages, with the fields that the file owns."""

import json
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from tidemill.inference.v1.configuration_pb2 import Retrieval, Sampling
from tidemill.inference.v1.deployment_pb2 import Deployment, RecordMode
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill.ingest.v1.source_pb2 import Masking, Source
from tidemill.rag.v1.collection_pb2 import Chunking, Collection
from tidemill_cli.loop import declaration
from tidemill_cli.loop.declaration import Follow, Loop
from tidemill_cli.loop.desired import OWNER_LABEL, Desired
from tidemill_cli.loop.turning import turning_resources


def owned_labels(loop: Loop) -> dict[str, str]:
    """Return the labels of all resources of a loop."""
    return {**loop.metadata.labels, OWNER_LABEL: loop.metadata.name}


def desired_resources(loop: Loop) -> list[Desired]:
    """Return all resources except models and rollouts, in order of dependency."""
    labels = owned_labels(loop)
    return [
        *(_source(name, part, labels) for name, part in loop.sources.items()),
        *(_collection(name, part, labels) for name, part in loop.collections.items()),
        *(_prompt(name, part, labels) for name, part in loop.prompts.items()),
        *(_deployment(name, part, labels) for name, part in loop.deployments.items()),
        *turning_resources(loop, labels),
    ]


def _source(name: str, part: declaration.Source, labels: dict[str, str]) -> Desired:
    masking = Masking(none=True) if part.mask == "none" else Masking(kinds=part.mask or [])
    message = Source(
        id=name,
        labels=labels,
        events=part.events,
        masking=masking,
        retention_days=part.retention.days if part.retention else 0,
    )
    return Desired(kind="source", name=name, message=message, fields=("labels", "events", "masking", "retention_days"))


def _collection(name: str, part: declaration.Collection, labels: dict[str, str]) -> Desired:
    message = Collection(
        id=name,
        labels=labels,
        sources=part.sources,
        embedding=part.embedding,
        chunking=Chunking(by=part.chunk.by, max_tokens=part.chunk.max_tokens, overlap_tokens=part.chunk.overlap_tokens),
    )
    return Desired(
        kind="collection",
        name=name,
        message=message,
        fields=("labels", "sources", "embedding", "chunking"),
        refers_to=(*(("source", source) for source in part.sources), ("model", _name(part.embedding))),
    )


def _prompt(name: str, part: declaration.Prompt, labels: dict[str, str]) -> Desired:
    schema = json.dumps(part.variables, sort_keys=True) if part.variables else ""
    content = PromptContent(system=str(part.system), user=str(part.user), variables_schema=schema)
    return Desired(
        kind="prompt",
        name=name,
        message=Prompt(id=name, labels=labels, content=content),
        fields=("labels", "content"),
    )


def _deployment(name: str, part: declaration.Deployment, labels: dict[str, str]) -> Desired:
    deadline = Duration()
    deadline.FromTimedelta(part.deadline)
    follow = part.model.follow if isinstance(part.model, Follow) else ""
    model = part.model.start_with if isinstance(part.model, Follow) else part.model
    message = Deployment(
        id=name,
        labels=labels,
        model=model,
        follow=follow,
        prompt=part.prompt,
        sampling=Sampling(**part.sampling.model_dump(exclude_none=True)),
        fallback=part.fallback,
        deadline=deadline,
        record=RecordMode.Value(f"RECORD_MODE_{part.record.upper()}"),
        allow_sampling_override=part.allow_sampling_override,
        record_days=part.record_days,
    )
    refers_to = [("model", _name(model)), ("prompt", _name(part.prompt))]
    refers_to += [("model", _name(fallback)) for fallback in part.fallback]
    if part.retrieval:
        message.retrieval.CopyFrom(
            Retrieval(
                collection=part.retrieval.collection,
                top_k=part.retrieval.top_k,
                index=part.retrieval.index or 0,
                metadata_filter=_struct(part.retrieval.filter),
                min_score=part.retrieval.min_score,
                query_turns=part.retrieval.query_turns,
            )
        )
        refers_to.append(("collection", part.retrieval.collection))
    fields = ("labels", "model", "follow", "prompt", "retrieval", "sampling", "fallback", "deadline", "record")
    return Desired(
        kind="deployment",
        name=name,
        message=message,
        fields=(*fields, "allow_sampling_override", "record_days"),
        refers_to=tuple(refers_to),
    )


def _struct(values: dict[str, Any]) -> Struct | None:
    if not values:
        return None
    struct = Struct()
    struct.update(values)
    return struct


def _name(reference: str) -> str:
    return reference.partition("@")[0]
