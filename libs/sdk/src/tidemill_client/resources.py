"""The resources of one kind in a project, by the RPCs that each kind has: Create, Get, List, Update and Delete."""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tidemill_client.connection import Connection
from tidemill_client.pages import each
from tidemill_core.errors import NotFound

R = TypeVar("R", bound=Message)


class Resources(Generic[R]):
    """The resources of one kind in a project."""

    contract: ModuleType
    """The module of its requests."""
    stub: str
    """The attribute of `Connection`."""
    noun: str
    """As in `Get<noun>`."""
    field: str
    """As in `GetResponse.<field>`."""
    on_update: Mapping[str, object] = MappingProxyType({})
    """Further fields of each Update request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, resource: R, *, validate_only: bool = False) -> R:
        """Create a resource with the id in the message, or with `validate_only` return a preview."""
        return await self._call("Create", **{self.field: resource}, validate_only=validate_only)

    async def get(self, name: str) -> R:
        """Return a resource."""
        return await self._call("Get", id=name)

    async def find(self, name: str) -> R | None:
        """Return a resource, or None."""
        try:
            return await self.get(name)
        except NotFound:
            return None

    def all(self) -> AsyncIterator[R]:
        """Yield the resources, in the order of their list."""
        request = getattr(self.contract, f"List{self.noun}sRequest")()
        return each(self._rpc(f"List{self.noun}s"), request, lambda page: getattr(page, f"{self.field}s"))

    async def update(self, resource: R, *fields: str, validate_only: bool = False) -> R:
        """Update the named fields; a set etag makes the update conditional."""
        requested = {self.field: resource, "update_mask": FieldMask(paths=fields)}
        return await self._call("Update", **requested, **self.on_update, validate_only=validate_only)

    async def delete(self, name: str, *, etag: str = "") -> R:
        """Delete a resource; a set etag makes the deletion conditional."""
        return await self._call("Delete", id=name, etag=etag)

    async def _call(self, verb: str, **fields: object) -> R:
        name = f"{verb}{self.noun}"
        reply = await self._rpc(name)(getattr(self.contract, f"{name}Request")(**fields))
        changed: R = getattr(reply, self.field)
        return changed

    def _rpc(self, name: str) -> Any:  # noqa: ANN401 - generated stubs have no type in common
        return getattr(getattr(self._connection, self.stub), name)
