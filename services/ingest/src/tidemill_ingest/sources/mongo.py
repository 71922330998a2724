"""Sources, and who takes which events, in MongoDB."""

from typing import Any

from tidemill_core.errors import NotFound
from tidemill_ingest.masking.kinds import STRUCTURED, Masking, MaskKind
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_kit.mapping import DocumentCodec, FieldForm, Form
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments


def _masking_stored(masking: Masking) -> list[str] | dict[str, Any]:
    """Return the kinds, and where there is more a structure of it."""
    kinds = list(masking.names)
    more: dict[str, Any] = {"model": masking.model} if masking.model else {}
    more |= {"reject": True} if masking.reject else {}
    more |= {"pseudonyms": True} if masking.pseudonyms else {}
    return {"kinds": kinds, **more} if more else kinds


def _masking_read(stored: list[str] | dict[str, Any]) -> Masking:
    given: dict[str, Any] = stored if isinstance(stored, dict) else {"kinds": stored}
    return Masking(
        kinds=frozenset(map(MaskKind, given["kinds"])),
        model=given.get("model", ""),
        reject=given.get("reject", False),
        pseudonyms=given.get("pseudonyms", False),
    )


_ALL_OF_SCHEMA_1 = frozenset({"credential", "email", "iban", "card", "ip", "phone"})


def _read(state: dict[str, Any], _: Identity, schema: int) -> dict[str, Any]:
    """Let a source that masked everything there was mask the kinds that came since."""
    if schema < 2 and set(state.get("masking", ())) == _ALL_OF_SCHEMA_1:  # noqa: PLR2004 - the schema
        return state | {"masking": sorted(kind.value for kind in STRUCTURED)}
    return state


SOURCES = DocumentCodec(
    Source,
    {Source: Form(sparse={"quality", "quality_changed", "polling", "polling_changed"})},
    schema=2,
    on_read=_read,
    hooks={
        Masking: FieldForm(_masking_stored, _masking_read),
    },
)
EVENT_BINDINGS = DocumentCodec(EventBinding)


def sources_to_judge_by(sources: Collection) -> PendingDocuments:
    """Find the sources whose rules of quality changed since what they withhold was decided."""
    return PendingDocuments(
        sources,
        {"state.quality_changed": True},
        index="state.quality_changed",
        partialFilterExpression={"state.quality_changed": True},
    )


class BindingNotFound(NotFound):
    """No source ever took these events."""
