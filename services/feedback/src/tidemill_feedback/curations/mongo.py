"""How curations are stored, and where their controller finds them."""

from collections.abc import Sequence

from tidemill_core.aggregate import Aggregate
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.messages import curation_payload
from tidemill_kit.mapping import DocumentCodec, Form
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Collection, Document, translated


def _without_labels(_: Aggregate, state: Document) -> Document:
    return state | {"rule": {name: value for name, value in state["rule"].items() if name != "labels"}}


def _with_labels(state: Document, identity: Identity, _: int) -> Document:
    return state | {"rule": state["rule"] | {"labels": dict(identity.labels)}}


CURATIONS = DocumentCodec(
    Curation,
    {Curation: Form(renames={"incarnations": "lives"})},
    event=curation_payload,
    on_write=_without_labels,  # labels are where those of every aggregate are
    on_read=_with_labels,
)


class MongoCurations:
    """Implements `ports.Curations` by reading the names of all projects' curations: there are few."""

    def __init__(self, curations: Collection) -> None:
        self._curations = curations

    async def all(self) -> Sequence[CurationRef]:
        """See `Curations.all`."""
        with translated():
            shown = {"project": True, "id": True, "state.lives": True}
            found = await self._curations.find({"deleted": False}, shown).to_list(None)
        return [CurationRef(each["project"], each["id"], each["state"]["lives"]) for each in found]
