"""Stored form of derivations, and those that have something to do."""

from tidemill_kit.mapping import DocumentCodec, Tagged
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.derivations.domain import IN_WORK, Derivation
from tidemill_trainer.derivations.messages import derivation_event
from tidemill_trainer.derivations.methods import DropLayers, Merge, Method, PruneMagnitude, PruneWanda, Quantize

METHODS = {
    "merge": Merge,
    "quantize": Quantize,
    "prune_magnitude": PruneMagnitude,
    "prune_wanda": PruneWanda,
    "drop_layers": DropLayers,
}
DERIVATIONS = DocumentCodec(Derivation, event=derivation_event, unions={Method: Tagged(tag="kind", classes=METHODS)})


def pending_derivations(derivations: Collection) -> PendingDocuments:
    """Find the unfinished derivations, oldest first."""
    where = {"state.state": {"$in": sorted(state.value for state in IN_WORK)}, "deleted": False}
    return PendingDocuments(derivations, where, index="state.state", oldest_first=True)
