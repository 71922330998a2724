"""Mapping between messages of the contract and derivations."""

from google.protobuf.message import Message

from tidemill.trainer.v1 import derivation_pb2 as pb
from tidemill.trainer.v1 import events_pb2 as events
from tidemill_core.aggregate import Event
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping import to_message
from tidemill_trainer.derivations.crud import DerivationRequest
from tidemill_trainer.derivations.domain import INT8_BITS, Derivation, DerivationHasEnded, Merge, Method, Quantize


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
        quantize=pb.Quantize(bits=method.bits) if isinstance(method, Quantize) else None,
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
        case _:
            raise InvalidInput.at(field="derivation.method", text="must be merge or quantize")
