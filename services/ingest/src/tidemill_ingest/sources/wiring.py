"""Sources, put together."""

from collections.abc import Callable

from tidemill.ingest.v1.source_service_pb2_grpc import add_SourceServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_ingest.feature import Wired
from tidemill_ingest.polling.ports import SourcePolls
from tidemill_ingest.sources.crud import ManageSources
from tidemill_ingest.sources.event_bindings import BindEvents
from tidemill_ingest.sources.grpc import SourceServicer
from tidemill_ingest.sources.mongo import EVENT_BINDINGS, BindingNotFound
from tidemill_ingest.sources.ports import Forget, Sources
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.service.backend import Backend


def bind_events(backend: Backend, sources: Sources) -> BindEvents:
    """Return what knows which source takes which events."""
    bindings = backend.aggregates("event_bindings", EVENT_BINDINGS, missing=BindingNotFound)
    return BindEvents(sources=sources, bindings=bindings, clock=SystemClock())


def wire_sources(  # noqa: PLR0913 - what sources share with other features
    backend: Backend,
    *,
    sources: Sources,
    events: BindEvents,
    forget: Forget,
    polls: SourcePolls,
    enqueue: Callable[[ResourceKey], None],
    pseudonyms: bool,
) -> Wired:
    """Put SourceService together; `pseudonyms`: whether there is a key for what they stand for."""
    manage = ManageSources(
        sources=sources, events=events, forget=forget, polls=polls, enqueue=enqueue, pseudonyms=pseudonyms
    )
    servicer = SourceServicer(manage)
    of_project = [documents(name.replace("_", " "), backend.database[name]) for name in ("sources", "event_bindings")]
    return Wired(servicer=(add_SourceServiceServicer_to_server, servicer), erasures={Scope.PROJECT: of_project})
