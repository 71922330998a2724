"""How a curation is written down, and where the worker finds curations."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta

from google.protobuf.message import Message

from tidemill_core.aggregate import Event
from tidemill_core.quotas import Quota
from tidemill_feedback.curations.domain.curation import Curation, Rule
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.messages import CURATION_TOPIC, SOURCE, curation_payload
from tidemill_feedback.errors import CurationNotFound
from tidemill_kit.store.aggregates import Identity, MongoAggregates, NewEvents
from tidemill_kit.store.mongo import Collection, Document, translated


class CurationCodec:
    """Curation <-> document, and its events -> messages."""

    schema = 1

    def encode(self, aggregate: Curation) -> Document:
        """Return the state; labels are where those of every aggregate are."""
        rule, every = aggregate.rule, aggregate.rule.at_latest_every
        fields = asdict(rule) | {
            "feedback": list(rule.feedback),
            "at_latest_every": every.total_seconds() if every else None,
        }
        del fields["labels"]
        return {
            "rule": fields,
            "completions": aggregate.completions,
            "since": aggregate.since,
            "epoch": aggregate.epoch,
            "left_out": aggregate.left_out,
            "lives": aggregate.incarnations,
            "deployments": aggregate.deployments,
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Curation:  # noqa: ARG002 - there is one
        """Return the curation."""
        every = state["rule"]["at_latest_every"]
        parts = {
            "feedback": tuple(state["rule"]["feedback"]),
            "at_latest_every": None if every is None else timedelta(seconds=every),
            "labels": dict(identity.labels),
        }
        rest = {name: value for name, value in state.items() if name not in {"lives", "rule"}}
        rule = Rule(**(state["rule"] | parts))
        return Curation(**identity.fields(), **rest, rule=rule, incarnations=state.get("lives", 0))

    def event(self, aggregate: Curation, event: Event, seq: int) -> tuple[str, Message]:
        """Return the ce_type and the payload."""
        return curation_payload(aggregate, event, seq)


def mongo_curations(
    collection: Collection, *, enqueue: Callable[[NewEvents], None], quota: Quota | None = None
) -> MongoAggregates[Curation]:
    """Return the store of curations."""
    return MongoAggregates(
        collection,
        codec=CurationCodec(),
        topic=CURATION_TOPIC,
        source=SOURCE,
        missing=CurationNotFound,
        enqueue=enqueue,
        lists=[("rule.deployment",)],
        quota=quota,
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
