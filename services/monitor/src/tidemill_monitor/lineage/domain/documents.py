"""What events of ingest and rag add to the graph."""

from tidemill_monitor.events import ingest, rag
from tidemill_monitor.events.meta import EventMeta, version_id
from tidemill_monitor.lineage.domain import kinds
from tidemill_monitor.lineage.domain.graph import Ref
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.domain.parts import Updates, curation_ref, event_part, state_part, update, updates_of


@updates_of.register
def _(event: ingest.DocumentIsThere, meta: EventMeta) -> Updates:
    version = event.version
    ref = Ref(Kind.DOCUMENT_VERSION, version_id(event.document, version.number))
    born = EventMeta(type=meta.type, time=version.create_time)
    document = state_part(meta, event, "source", "key", state="present", version=version.number)
    facts = {"media_type": version.media_type, "language": version.language}
    of_version = state_part(born, event, "source", "key", revision=version.revision, **facts)
    return (
        update(Ref(Kind.DOCUMENT, event.document), document),
        update(ref, of_version, (kinds.VERSION_OF, event.document)),
    )


@updates_of.register
def _(event: ingest.DocumentDeleted, meta: EventMeta) -> Updates:
    named = () if event.erased else ("source", "key")
    part = state_part(meta, event, *named, state="erased" if event.erased else "deleted")
    return (update(Ref(Kind.DOCUMENT, event.document), part),)


@updates_of.register
def _(event: ingest.DatasetVersionPublished, meta: EventMeta) -> Updates:
    train, held_out = event.train.examples, event.held_out.examples
    message = f"{event.version} is published: {train} examples to train on, {held_out} held out"
    ref = Ref(Kind.DATASET_VERSION, event.version)
    curation = curation_ref(event.curation, event.curation_seq).id if event.curation else ""
    part = event_part(meta, event, message, "digest", "deployment", train=train, held_out=held_out)
    return (update(ref, part, (kinds.PUBLISHED_AS, curation)),)


@updates_of.register
def _(event: ingest.DatasetVersionWithheld, meta: EventMeta) -> Updates:
    message = f"no new version of {event.dataset}: {event.message or event.reason}"
    part = event_part(meta, event, message, "dataset", withheld=event.reason)
    return (update(curation_ref(event.curation, event.curation_seq), part),)


@updates_of.register
def _(event: rag.IndexBuildStarted, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.index))
    part = event_part(meta, event, "", "embedding", state="building")
    return (update(ref, part, (kinds.EMBEDDED, event.embedding)),)


@updates_of.register
def _(event: rag.IndexWentLive, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.index))
    live = update(ref, event_part(meta, event, "", "documents", state="live"))
    if not event.replaced:
        return (live,)
    before = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.replaced))
    return (live, update(before, event_part(meta, event, "", state="ready" if event.promoted else "retired")))


@updates_of.register
def _(event: rag.IndexBecameReady, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.index))
    return (update(ref, event_part(meta, event, "", "documents", state="ready")),)


@updates_of.register
def _(event: rag.IndexRetired, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.index))
    return (update(ref, event_part(meta, event, "", state="retired")),)
