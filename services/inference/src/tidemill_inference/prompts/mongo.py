"""Prompts as documents."""

from dataclasses import asdict

from google.protobuf.message import Message

from tidemill_core.aggregate import Event
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent, PromptVersion
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document


class PromptCodec:
    """Implements `tidemill_kit.store.aggregates.Codec`."""

    schema = 1

    def encode(self, aggregate: Prompt) -> Document:
        """See `Codec.encode`."""
        return {
            "versions": [asdict(version) for version in aggregate.versions],
            "version_labels": dict(sorted(aggregate.version_labels.items())),
        }

    def decode(self, identity: Identity, state: Document, schema: int) -> Prompt:  # noqa: ARG002 - there is one so far
        """See `Codec.decode`."""
        versions = [
            PromptVersion(**{**version, "content": PromptContent(**version["content"])})
            for version in state["versions"]
        ]
        return Prompt(**identity.fields(), versions=versions, version_labels=state["version_labels"])

    def event(self, aggregate: Prompt, event: Event, seq: int) -> tuple[str, Message]:
        """Never called: prompts publish nothing."""
        raise NotImplementedError(aggregate.id, event, seq)
