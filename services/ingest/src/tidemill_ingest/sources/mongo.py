"""Sources, and who takes which events, in MongoDB."""

from tidemill_core.errors import NotFound
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_kit.mapping import DocumentCodec, FieldForm

SOURCES = DocumentCodec(
    Source,
    hooks={
        Masking: FieldForm(
            lambda masking: list(masking.names), lambda names: Masking(kinds=frozenset(map(MaskKind, names)))
        )
    },
)
EVENT_BINDINGS = DocumentCodec(EventBinding)


class BindingNotFound(NotFound):
    """No source ever took these events."""
