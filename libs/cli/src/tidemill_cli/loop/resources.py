"""Maps sections of loop.yaml to protobuf messages, with the fields that the file owns."""

import json

from tidemill.inference.v1.caching_pb2 import CachePolicy, SemanticCachePolicy
from tidemill.inference.v1.conversation_pb2 import ConversationPolicy
from tidemill.inference.v1.deployment_pb2 import Deployment, PromptGoLive, RecordMode
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill.inference.v1.rollout_pb2 import ApprovalPolicy
from tidemill.inference.v1.routing_pb2 import Balance, RoutingPolicy
from tidemill.ingest.v1.source_pb2 import BoilerplatePolicy, DuplicatePolicy, Masking, Quality, Source
from tidemill.rag.v1.collection_pb2 import Chunking, Collection, GoLive, SearchSettings, Sparse
from tidemill_cli.loop import declaration
from tidemill_cli.loop.answering import retrieval_message, sampling_message
from tidemill_cli.loop.declaration import Follow, Loop
from tidemill_cli.loop.desired import OWNER_LABEL, Desired
from tidemill_cli.loop.durations import duration_of
from tidemill_cli.loop.examples import examples_of
from tidemill_cli.loop.experiments import experiment_resource
from tidemill_cli.loop.feedback_metrics import metric_resource
from tidemill_cli.loop.polled import polling_of
from tidemill_cli.loop.protected_labels import protection_of
from tidemill_cli.loop.review_queues import review_resource
from tidemill_cli.loop.spending import spending_resources
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
        *spending_resources(loop.prices, loop.budgets, labels),
        *(metric_resource(name, part, labels) for name, part in loop.metrics.items()),
        *(review_resource(name, part, labels) for name, part in loop.reviews.items()),
        *turning_resources(loop, labels),
        *(experiment_resource(name, part, labels) for name, part in loop.experiments.items()),
    ]


def _source(name: str, part: declaration.Source, labels: dict[str, str]) -> Desired:
    return Desired.of(
        "source",
        Source,
        name,
        (("model", _name(part.names)),) if part.names else (),
        labels=labels,
        events=part.events,
        masking=Masking(
            kinds=[] if part.mask == "none" else part.mask or [],
            none=part.mask == "none",
            model=part.names or "",
            reject=part.reject_personal_data,
            pseudonyms=part.pseudonyms,
        ),
        retention_days=part.retention.days if part.retention else 0,
        quality=_quality(part.quality),
        polling=polling_of(part.s3, part.git),
    )


def _quality(part: declaration.Quality) -> Quality:
    duplicates = f"DUPLICATE_POLICY_{(part.duplicates or 'unspecified').upper()}"
    boilerplate = f"BOILERPLATE_POLICY_{(part.boilerplate or 'unspecified').upper()}"
    return Quality(
        **part.model_dump(exclude={"duplicates", "boilerplate"}),
        duplicates=DuplicatePolicy.Value(duplicates),
        boilerplate=BoilerplatePolicy.Value(boilerplate),
    )


def _collection(name: str, part: declaration.Collection, labels: dict[str, str]) -> Desired:
    chunk = part.chunk
    return Desired.of(
        "collection",
        Collection,
        name,
        (
            *(("source", source) for source in part.sources),
            ("model", _name(part.embedding)),
            *([("model", _name(part.search.rerank.model))] if part.search.rerank else []),
        ),
        labels=labels,
        sources=part.sources,
        embedding=part.embedding,
        chunking=Chunking(by=chunk.by, max_tokens=chunk.max_tokens, overlap_tokens=chunk.overlap_tokens),
        search=SearchSettings(**part.search.model_dump()),
        # What is left out, a collection keeps.
        **({"sparse": _sparse(part.sparse)} if part.sparse else {}),
        **({"go_live": GoLive.Value(f"GO_LIVE_{part.go_live.upper()}")} if part.go_live else {}),
    )


def _sparse(part: declaration.Sparse) -> Sparse:
    return Sparse(by=part.by, languages=part.languages if part.by != "none" else [])


def _prompt(name: str, part: declaration.Prompt, labels: dict[str, str]) -> Desired:
    schema = json.dumps(part.variables, sort_keys=True) if part.variables else ""
    content = PromptContent(system=str(part.system), user=str(part.user), variables_schema=schema)
    approval = ApprovalPolicy(role=part.approval.role, count=part.approval.count)
    protection = protection_of(part.protect) if part.protect else None
    return Desired.of(
        "prompt", Prompt, name, labels=labels, content=content, approval=approval, label_protection=protection
    )


def _deployment(name: str, part: declaration.Deployment, labels: dict[str, str]) -> Desired:
    follow = part.model.follow if isinstance(part.model, Follow) else ""
    model = part.model.start_with if isinstance(part.model, Follow) else part.model
    refers_to = [("model", _name(model)), ("prompt", _name(part.prompt_name))]
    equals = part.routing.equal_models if part.routing else {}
    refers_to += [("model", _name(other)) for other in (*part.fallback, *equals)]
    searched = [part.retrieval.collection, *part.retrieval.other_collections] if part.retrieval else []
    refers_to += [("collection", each) for each in searched]
    refers_to += [("model", _name(model)) for model in _working_models(part)]
    refers_to += [("model", _name(part.cache.semantic.embedding))] if part.cache and part.cache.semantic else []
    return Desired.of(
        "deployment",
        Deployment,
        name,
        refers_to,
        labels=labels,
        model=model,
        follow=follow,
        prompt=part.prompt_name,
        prompt_go_live=PromptGoLive.Value(f"PROMPT_GO_LIVE_{'BY_ROLLOUT' if part.followed_prompt else 'WHEN_APPLIED'}"),
        retrieval=retrieval_message(part.retrieval) if part.retrieval else None,
        sampling=sampling_message(part.sampling),
        fallback=part.fallback,
        routing=_routing(part.routing) if part.routing else None,
        cache=_cache(part.cache) if part.cache else None,
        deadline=duration_of(part.deadline),
        record=RecordMode.Value(f"RECORD_MODE_{part.record.upper()}"),
        allow_sampling_override=part.allow_sampling_override,
        record_days=part.record_days,
        conversation=_conversation(part.conversation) if part.conversation else None,
        engine=part.engine,
        examples=examples_of(part.examples) if part.examples else None,
    )


def _working_models(part: declaration.Deployment) -> list[str]:
    """Return the models that do not answer themselves."""
    policy = part.conversation
    named = [part.retrieval.rewrite if part.retrieval else None]
    named += [part.examples.embedding] if part.examples and part.examples.embedding else []
    named += [policy.summary_model, policy.memory_model] if policy else []
    return [model for model in named if model]


def _conversation(part: declaration.Conversation) -> ConversationPolicy:
    return ConversationPolicy(
        max_turns=part.max_turns,
        max_history_tokens=part.max_history_tokens,
        summary_model=part.summary_model or "",
        memory_model=part.memory_model or "",
    )


def _cache(part: declaration.Cache) -> CachePolicy:
    similar = part.semantic
    return CachePolicy(
        ttl=duration_of(part.ttl),
        semantic=SemanticCachePolicy(embedding=similar.embedding, threshold=similar.threshold) if similar else None,
    )


def _routing(part: declaration.Routing) -> RoutingPolicy:
    times = {name: getattr(part, name) for name in ("first_token_timeout", "token_timeout", "hedge_after")}
    return RoutingPolicy(
        retries=part.retries,
        equal_models=part.equal_models,
        weight=part.weight,
        balance=Balance.Value(f"BALANCE_{part.balance.upper()}"),
        **{name: duration_of(time) for name, time in times.items() if time is not None},
    )


def _name(reference: str) -> str:
    return reference.partition("@")[0]
