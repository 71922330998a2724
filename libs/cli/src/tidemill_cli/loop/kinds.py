"""The kinds of resources that a loop declares, and their common methods."""

import importlib
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tidemill_client.connection import Connection
from tidemill_client.pages import every
from tidemill_core.errors import NotFound

PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of resource, and its names in the contract."""

    name: str
    contract: str
    """The module of its requests."""
    stub: str
    """The attribute of `Connection`."""
    noun: str
    """As in `Get<noun>`."""
    field: str
    """As in `GetResponse.<field>`."""

    async def get(self, connection: Connection, name: str) -> Any | None:  # noqa: ANN401 - the kind's message
        """Return the resource, or None."""
        try:
            return await self._call(connection, "Get", id=name)
        except NotFound:
            return None

    async def create(self, connection: Connection, message: Message, *, validate_only: bool) -> None:
        """Create the resource."""
        await self._call(connection, "Create", **{self.field: message}, validate_only=validate_only, request_id=_id())

    async def update(
        self, connection: Connection, message: Message, fields: tuple[str, ...], *, validate_only: bool = False
    ) -> Any:  # noqa: ANN401 - the kind's message
        """Update the named fields and return the resource, or with `validate_only` a preview."""
        requested = {self.field: message, "update_mask": FieldMask(paths=fields)}
        return await self._call(connection, "Update", **requested, validate_only=validate_only, request_id=_id())

    async def delete(self, connection: Connection, name: str) -> None:
        """Delete the resource."""
        await self._call(connection, "Delete", id=name, request_id=_id())

    async def all(self, connection: Connection) -> AsyncIterator[Any]:
        """Yield the project's resources of this kind, oldest first."""
        method = f"List{self.noun}s"
        request = self._request(method)(page_size=PAGE_SIZE)
        async for page in every(getattr(getattr(connection, self.stub), method), request):
            for message in getattr(page, f"{self.field}s"):
                yield message

    async def _call(self, connection: Connection, verb: str, **fields: object) -> Any:  # noqa: ANN401 - the message
        method = f"{verb}{self.noun}"
        answer = await getattr(getattr(connection, self.stub), method)(self._request(method)(**fields))
        return getattr(answer, self.field)

    def _request(self, method: str) -> Any:  # noqa: ANN401 - the class of a request
        return getattr(importlib.import_module(self.contract), f"{method}Request")


def _id() -> str:
    return str(uuid.uuid4())


def _kind(name: str, contract: str, stub: str, noun: str = "") -> Kind:
    noun = noun or name.capitalize()
    return Kind(name=name, contract=f"tidemill.{contract}_pb2", stub=stub, noun=noun, field=_FIELDS.get(name, name))


_FIELDS = {"training": "plan"}

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("source", "ingest.v1.source_service", "sources"),
        _kind("collection", "rag.v1.collection_service", "collections"),
        _kind("prompt", "inference.v1.prompt_service", "prompts"),
        _kind("deployment", "inference.v1.deployment_service", "deployments"),
        _kind("dataset", "ingest.v1.dataset_service", "datasets"),
        _kind("curation", "feedback.v1.curation_service", "curations"),
        _kind("training", "trainer.v1.training_service", "training", "TrainingPlan"),
        _kind("suite", "evaluator.v1.suite_service", "suites"),
        _kind("gate", "evaluator.v1.evaluation_service", "evaluations", "Gate"),
    )
}
"""In order of dependency."""
