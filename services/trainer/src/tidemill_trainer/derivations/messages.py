"""Mapping between messages of the contract and derivations."""

from google.protobuf.message import Message

from tidemill.trainer.v1 import derivation_pb2 as pb
from tidemill.trainer.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping import from_message, to_message
from tidemill_trainer.derivations.crud import DerivationRequest
from tidemill_trainer.derivations.domain import Derivation, DerivationHasEnded
from tidemill_trainer.derivations.methods import (
    INT8_BITS,
    DropLayers,
    Merge,
    Method,
    PruneMagnitude,
    PruneWanda,
    Quantize,
)


def derivation_of(message: pb.Derivation) -> DerivationRequest:
    """Return what a request asks for, with defaults for unset fields.

    Raises:
        InvalidInput: it names no method.

    """
    return DerivationRequest(
        source_version=message.source_version,
        model=message.model,
        method=_method_of(message),
        labels=dict(message.labels),
    )


def derivation_message(derivation: Derivation) -> pb.Derivation:
    """Return the derivation message."""
    method = derivation.method
    return to_message(
        pb.Derivation,
        derivation,
        source_version=derivation.source.version,
        base=derivation.source.base,
        authors=list(derivation.authors),
        merge=pb.Merge() if isinstance(method, Merge) else None,
        quantize=to_message(pb.Quantize, method) if isinstance(method, Quantize) else None,
        prune_magnitude=to_message(pb.PruneMagnitude, method) if isinstance(method, PruneMagnitude) else None,
        prune_wanda=to_message(pb.PruneWanda, method) if isinstance(method, PruneWanda) else None,
        drop_layers=to_message(pb.DropLayers, method) if isinstance(method, DropLayers) else None,
    )


def derivation_event(derivation: Derivation, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload."""
    if not isinstance(event, DerivationHasEnded):
        raise TypeError(event)
    given = {"derivation": derivation.id, "seq": seq, "source_version": derivation.source.version}
    return "tidemill.trainer.derivation.ended.v1", to_message(events.DerivationEnded, derivation, **given)


def _method_of(message: pb.Derivation) -> Method:
    match message.WhichOneof("method"):
        case "merge":
            return Merge()
        case "quantize":
            return Quantize(bits=message.quantize.bits or INT8_BITS)
        case "prune_magnitude":
            return from_message(PruneMagnitude, message.prune_magnitude)
        case "prune_wanda":
            return from_message(PruneWanda, message.prune_wanda)
        case "drop_layers":
            return from_message(DropLayers, message.drop_layers)
        case _:
            text = "must be merge, quantize, prune_magnitude, prune_wanda or drop_layers"
            raise InvalidInput.at(field="derivation.method", text=text)
